"""The report as one HTML file that loads nothing: style and pictures are inside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptl.data.text import plain
from nlptl.report.render.answers import commands, data_line, pretraining, worth
from nlptl.report.render.sections import sections, unmeasured
from nlptl.report.render.tables import Section, evidence
from nlptl.study.render.pages import inline, write_page
from nlptl.study.render.words import (
    duration,
    estimate,
    interval,
    known,
    labels_needed,
    number,
    p_phrase,
    points,
    score,
    shorten,
    si,
    times,
)


def page(record: Mapping[str, Any], svgs: Mapping[str, str]) -> str:
    """Write the report as a page that needs no other file, no script and no network.

    Args:
        record: The report's record.
        svgs: Section name to picture, from :func:`nlptl.study.render.style.as_svg`.

    Returns:
        The file's text.
    """
    ident, shown = record["id"], sections(record)
    return write_page(
        "page.html",
        Path(__file__).parent,
        title=f"{shorten(ident['upstream'], 60)} on {shorten(ident['dataset'], 60)}, {plain(ident['mode'])}",
        data=data_line(record),
        answers=[worth(record), pretraining(record)],
        advice=plain(record["negative"]["advice"] or ""),
        typed=commands(record),
        version=plain(ident["versions"].get("nlptl", "")),
        tiles=_tiles(record),
        rows=_side_by_side(shown),
        noted=[section for section in shown if section.method],
        pictures={s.name: inline(svgs[s.name], s.name) for s in shown if s.name in svgs},
        evidence=evidence(record),
        unmeasured=unmeasured(record),
        warnings=[plain(warning) for warning in record["warnings"]],
    )


def _side_by_side(shown: Sequence[Section]) -> list[list[Section]]:
    """Put neighbours that are half as wide into one row."""
    rows: list[list[Section]] = []
    for section in shown:
        if section.half and rows and len(rows[-1]) == 1 and rows[-1][0].half:
            rows[-1].append(section)
        else:
            rows.append([section])
    return rows


def _tiles(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List title, value and note of each figure that is known."""
    downstream, ident, cost = record["downstream"], record["id"], record["cost"]
    labels = f"{number(ident['n_train'], 0)} + {number(ident['n_validation'], 0)} labels"
    metric = plain(ident["metric"])
    spent = f"{number(cost['runs'], 0)} runs, {si(cost['flops'], 'FLOP')}"
    tiles = [
        _arm_tile("This model", downstream["pre"], f"{metric} with {labels}"),
        _arm_tile("Bag of words", downstream["bow"], f"{metric}, trained in seconds"),
        _arm_tile("From scratch", downstream["scratch"], f"{metric}, without pretraining"),
        _gain_tile(record),
        _labels_tile(record),
        _forgetting_tile(record["upstream"]),
        ("Training behind it", duration(cost["seconds"]), spent),
    ]
    return [tile for tile in tiles if tile]


def _arm_tile(title: str, arm: Mapping[str, Any], note: str) -> tuple[str, str, str] | None:
    return (title, score(arm), note) if known(arm["mean"]) else None


def _gain_tile(record: Mapping[str, Any]) -> tuple[str, str, str] | None:
    gain = record["gain"]
    if not gain or not known(gain["abs"]):
        return None
    note = f"points, 95 % interval {interval(gain['ci95'])}, {p_phrase(gain['p_two_sided'])}"
    return "Gain by pretraining", points(gain["abs"], signed=True), note


def _labels_tile(record: Mapping[str, Any]) -> tuple[str, str, str] | None:
    found = record["sample_eff"]
    if not found or not known(found["label_multiplier"]):
        return None
    every = number(max(point["n"] for point in found["points"] or [found]), 0)
    needs = labels_needed(found, f"more than {every}")
    note = f"at {number(found['n'], 0)} labels scratch needs {needs}{estimate(record)}"
    return (
        "Labels saved",
        times(found["label_multiplier"], found["censored"], found["at_most"]),
        note,
    )


def _forgetting_tile(found: Mapping[str, Any]) -> tuple[str, str, str] | None:
    if not known(found["before"]):
        return None
    ends = f"{number(found['before'])} before, {number(found['after'])} after"
    return "Forgotten", number(found["forgetting"], signed=True), f"{plain(found['unit'])}, {ends}"
