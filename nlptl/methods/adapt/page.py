"""The study as one HTML file that loads nothing."""

from collections.abc import Mapping
from typing import Any

from nlptl.data.text import plain
from nlptl.methods.adapt.render import notes, overall_table, pair_table
from nlptl.study.render.study_page import Part, judged_answer, study_page


def page(record: Mapping[str, Any], svg: str) -> str:
    """Write the study as a page.

    Args:
        record: From :func:`nlptl.methods.adapt.adapt.adapt`.
        svg: Its picture.
    """
    parts = []
    if record["overall"]:
        parts.append(Part("All pairs", overall_table(record)))
    for pair in record["pairs"]:
        said = [plain(note) for note in notes(record, pair)]
        parts.append(Part(plain(pair["pair"]), pair_table(record, pair), said))
    own = (record["overall"] or record["pairs"][0])["rows"]
    words = [one["word"] for one in own.values() if one.get("word")]
    answer = judged_answer("Did a method help on the target?", words, "methods", record["sentence"])
    return study_page(
        record,
        "adapt",
        f"{record['pairs'][0]['pair']}, {record['model']}, {record['mode']}",
        answer,
        ("Between the bounds", "Score of each method between its bounds"),
        svg,
        parts,
        {name: one["what"] for name, one in record["pairs"][0]["rows"].items()},
    )
