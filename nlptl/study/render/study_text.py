"""A study of methods in words for the terminal: small tables of at most 80 columns, and the sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from nlptl.study.render.study_page import Part
from nlptl.study.render.terminal import paragraph, terminal_table

#: What the table does not say of itself.
BRACKETS = "In brackets: the 95 % interval of the difference. The other columns are in the files."


def study_text(
    record: Mapping[str, Any], about: str, parts: Sequence[Part], columns: Sequence[str]
) -> str:
    """Write a study for the terminal: a table for each part, what must be known of it, and the sentence.

    Args:
        record: What the study's JSON holds; ``sentence`` is read here.
        about: What was studied, in a line.
        parts: Tables; their notes are what the reader must know.
        columns: Names of the columns that are shown beside the first one; a line has no place for all.
    """
    blocks = [paragraph(about)]
    for part in parts:
        kept = [
            place for place, name in enumerate(part.table.columns) if not place or name in columns
        ]
        rows = [[row[place] for place in kept] for row in part.table.rows]
        table = terminal_table([part.table.columns[place] for place in kept], rows)
        blocks += [*[paragraph(part.title)] * bool(part.title), table]
        blocks += [paragraph(f"note: {note}") for note in part.notes]
    return "\n\n".join([*blocks, paragraph(BRACKETS), paragraph(record["sentence"])])
