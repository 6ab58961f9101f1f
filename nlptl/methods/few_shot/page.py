"""The study as one HTML file that loads nothing."""

from collections.abc import Mapping
from typing import Any

from nlptl.data.text import plain
from nlptl.methods.few_shot.render import about, heading, level_table, notes
from nlptl.methods.few_shot.verdict import LEADS, some
from nlptl.study.render.pages import Answer
from nlptl.study.render.study_page import Part, study_page


def page(record: Mapping[str, Any], svg: str) -> str:
    """Write the study as a page.

    Args:
        record: From :func:`nlptl.methods.few_shot.few_shot.few_shot`.
        svg: Its picture.
    """
    parts = []
    for level in record["levels"]:
        said = [plain(note) for note in notes(record, level)]
        parts.append(Part(heading(level), level_table(record, level), said))
    sign, colour = ("▲", "good") if any(map(leader, record["levels"])) else ("?", "open")
    answer = Answer(
        "Which method leads, from how many labels on?",
        plain(headline(record)),
        plain(record["sentence"]),
        sign,
        colour,
    )
    what = {name: one["what"] for level in record["levels"] for name, one in level["rows"].items()}
    return study_page(
        record,
        "few_shot",
        plain(about(record)),
        answer,
        ("Score by number of labels", "Score of each method by labels a class"),
        svg,
        parts,
        what,
    )


def leader(level: Mapping[str, Any]) -> str | None:
    """Return the method that leads; None where the best is not shown to be better than another."""
    best = level["best"]
    return best if level["rows"][best]["word"] == LEADS else None


def headline(record: Mapping[str, Any]) -> str:
    """Say in a few words who leads where."""
    found = [(level["shots"], leader(level)) for level in record["levels"]]
    leading = [
        f"{name} with {some(shots) if shots else 'no label'}" for shots, name in found if name
    ]
    return (
        f"Leading: {', '.join(leading)}"
        if leading
        else "At no number of labels does one method lead"
    )
