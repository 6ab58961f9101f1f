"""A comparison as one HTML file that loads nothing: verdict, picture, tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptl.data.text import plain
from nlptl.study.render.comparison_text import PAIRS, data_line, tables, versions_line
from nlptl.study.render.pages import Answer, inline, write_page


def comparison_page(record: Mapping[str, Any], svg: str) -> str:
    """Write a comparison as a page.

    Args:
        record: From :func:`nlptl.study.comparison.compare`.
        svg: Its picture, from :func:`nlptl.study.render.style.as_svg`.

    Returns:
        The file's text.
    """
    found = tables(record)
    return write_page(
        "compare.html",
        Path(__file__).parent,
        data=data_line(record),
        verdict=verdict(record),
        metric=plain(record["metric"]),
        figure=inline(svg, "compare"),
        picture="Score of each against its training time, and what each forgot",
        arms=[one for one in found if one.caption != PAIRS],
        pairs=[one for one in found if one.caption == PAIRS],
        test=plain(record["test"]),
        seeds=", ".join(str(seed) for seed in record["seeds"]),
        versions=versions_line(record),
    )


def verdict(record: Mapping[str, Any]) -> Answer:
    """Say which arm to take; where no test says so, that none does.

    Args:
        record: From :func:`nlptl.study.comparison.compare`.
    """
    question, said = "Which one to take?", plain(record["sentence"])
    if record["take"] is None:
        return Answer(question, "No test says which", said, "?")
    return Answer(question, f"Take {plain(record['take'])}", said, "▲", "good")
