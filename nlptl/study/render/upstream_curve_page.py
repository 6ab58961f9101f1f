"""A curve of downstream score against upstream loss as one HTML file that loads nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptl.data.text import plain
from nlptl.study.render.comparison_text import data_line, versions_line
from nlptl.study.render.pages import Answer, Table, inline, write_page
from nlptl.study.render.upstream_curve import HOW, cells, upstream_sentence


def upstream_page(record: Mapping[str, Any], svg: str) -> str:
    """Write a curve as a page.

    Args:
        record: From :func:`nlptl.study.upstream_curve.upstream_curve`.
        svg: Its picture, from :func:`nlptl.study.render.style.as_svg`.

    Returns:
        The file's text.
    """
    metric = plain(record["metric"])
    rows = tuple((plain(name), *rest) for name, *rest in cells(record["points"]))
    return write_page(
        "upstream_curve.html",
        Path(__file__).parent,
        data=f"{data_line(record)}, --mode {record['mode']}",
        verdict=verdict(record),
        lead=f"{metric} on the test split, in points; the loss is in nats for a predicted token of held-out "
        "text.",
        figure=inline(svg, "curve"),
        picture="Score of each checkpoint against its held-out loss",
        points=Table("Loss and score", ("checkpoint", "held-out loss", f"{metric} ± sd"), rows),
        test=HOW,
        seeds=", ".join(str(seed) for seed in record["seeds"]),
        versions=versions_line(record),
    )


def verdict(record: Mapping[str, Any]) -> Answer:
    """Say whether checkpoints with a lower loss score higher; where the interval does not say, nothing does.

    Args:
        record: From :func:`nlptl.study.upstream_curve.upstream_curve`.
    """
    question, said = "Do better pretrained checkpoints score higher?", upstream_sentence(record)
    interval = record["slope_ci95"]
    if interval is None:
        return Answer(question, "One run of each: no test", plain(said), "?")
    low, high = interval
    if low > 0:
        return Answer(question, "Yes, on this task", plain(said), "▲", "good")
    if high < 0:
        return Answer(question, "No, they score lower here", plain(said), "▼", "bad")
    return Answer(question, "Cannot tell", plain(said), "?")
