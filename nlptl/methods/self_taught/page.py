"""The study as one HTML file that loads nothing."""

from collections.abc import Mapping
from typing import Any

from nlptl.data.text import plain
from nlptl.methods.self_taught.render import arms_table, notes
from nlptl.study.render.study_page import Part, judged_answer, study_page


def page(record: Mapping[str, Any], svg: str) -> str:
    """Write the study as a page.

    Args:
        record: From :func:`nlptl.methods.self_taught.self_taught.self_taught`.
        svg: Its picture.
    """
    rows = record["rows"]
    words = [one["word"] for one in rows.values() if one.get("word") and not one["bound"]]
    answer = judged_answer(
        "Did texts without labels help?", words, "first stages", record["sentence"]
    )
    said = [plain(note) for note in notes(record)]
    return study_page(
        record,
        "self_taught",
        f"{', '.join(record['texts']['same']['names'])}, {record['model']}, {record['mode']}",
        answer,
        ("Beside the checkpoint as it is", "Score of each first stage beside none"),
        svg,
        [Part("First stages", arms_table(record), said)],
        {name: one["what"] for name, one in rows.items()},
    )
