"""The report as one HTML file that loads nothing: style and pictures are inside."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from nlptl.data.text import plain
from nlptl.report.render.sections import sections
from nlptl.report.render.tables import evidence
from nlptl.study.render.words import (
    NONE,
    duration,
    estimate,
    interval,
    known,
    labels_needed,
    missing,
    number,
    p_phrase,
    points,
    score,
    shorten,
    si,
    times,
    verdict,
)

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
#: A flag of the command line, or a mode; a line must not end at one of its hyphens.
HYPHENATED = re.compile(r"--[a-z][a-z-]*|\b(?:head-only|freeze-lower-\d+|lora-[a-z0-9-]+)")
#: A sign of each verdict besides its colour, and the colour's name in the page's style.
SIGNS = {
    "positive": ("▲", "good"),
    "neutral": ("≈", "open"),
    "negative": ("▼", "bad"),
    "negative (material)": ("▼▼", "bad"),
    "inconclusive": ("?", "open"),
}


def page(record: Mapping[str, Any], svgs: Mapping[str, str]) -> str:
    """Write the report as a page that needs no other file, no script and no network.

    Args:
        record: The report's record.
        svgs: Section name to picture, from :func:`nlptl.study.render.style.as_svg`.

    Returns:
        The file's text.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["unbroken"] = lambda text: Markup(  # noqa: S704
        HYPHENATED.sub(r'<span class="unbroken">\g<0></span>', str(escape(text)))
    )
    template = environment.from_string(Path(__file__).with_name("page.html").read_text("utf-8"))
    ident, found, shown = record["id"], record["negative"], sections(record)
    sign, tone = SIGNS.get(found["verdict"], ("?", "open"))
    word = verdict(record)
    pictures = {s.name: Markup(_inline(svgs[s.name], s.name)) for s in shown if s.name in svgs}  # noqa: S704
    return template.render(
        title=f"{shorten(ident['upstream'], 60)} on {shorten(ident['dataset'], 60)}, {plain(ident['mode'])}",
        word=word[:1].upper() + word[1:],
        sign=sign,
        tone=tone,
        sentence=plain(found["sentence"] or ""),
        advice=plain(found["advice"] or ""),
        version=plain(ident["versions"].get("nlptl", "")),
        tiles=_tiles(record),
        sections=shown,
        pictures=pictures,
        evidence=evidence(record),
        warnings=[plain(warning) for warning in record["warnings"]],
    )


def _tiles(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    downstream, ident, cost = record["downstream"], record["id"], record["cost"]
    labels = f"{number(ident['n_train'], 0)} + {number(ident['n_validation'], 0)} labels"
    metric = f"{plain(ident['metric'])} with {labels}"
    tiles = [
        _arm_tile("Pretrained", downstream["pre"], f"{metric}, {plain(ident['mode'])}"),
        _arm_tile("From scratch", downstream["scratch"], metric),
        _gain_tile(record),
        _labels_tile(record),
        _forgetting_tile(record["upstream"]),
    ]
    spent = f"{number(cost['runs'], 0)} runs, {si(cost['flops'], 'FLOP')}"
    return [*tiles, ("Training behind it", duration(cost["seconds"]), spent)]


def _arm_tile(title: str, arm: Mapping[str, Any], note: str) -> tuple[str, str, str]:
    return (title, score(arm), note) if known(arm["mean"]) else _no(title, arm["missing"])


def _no(title: str, reason: object | None = None) -> tuple[str, str, str]:
    return title, NONE, missing(reason).removeprefix(f"{NONE} (").removesuffix(")")


def _gain_tile(record: Mapping[str, Any]) -> tuple[str, str, str]:
    gain = record["gain"]
    if not gain or not known(gain["abs"]):
        return _no("Gain", "one of the two arms is missing")
    note = f"points, 95 % interval {interval(gain['ci95'])}, {p_phrase(gain['p_two_sided'])}"
    return "Gain", points(gain["abs"], signed=True), note


def _labels_tile(record: Mapping[str, Any]) -> tuple[str, str, str]:
    found = record["sample_eff"]
    if not found or not known(found["label_multiplier"]):
        return _no("Labels")
    every = number(max(point["n"] for point in found["points"] or [found]), 0)
    needs = labels_needed(found, f"more than {every}")
    note = f"at {number(found['n'], 0)} labels scratch needs {needs}{estimate(record)}"
    return "Labels", times(found["label_multiplier"], found["censored"], found["at_most"]), note


def _forgetting_tile(found: Mapping[str, Any]) -> tuple[str, str, str]:
    if not known(found["before"]):
        return _no("Forgotten", found["missing"])
    ends = f"{number(found['before'])} before, {number(found['after'])} after"
    return "Forgotten", number(found["forgetting"], signed=True), f"{plain(found['unit'])}, {ends}"


def _inline(svg: str, name: str) -> str:
    """Turn an SVG file into an element of a page: ids of its own, no size, hidden style or metadata."""
    for prefix, space in (("", SVG), ("xlink", XLINK)):
        ElementTree.register_namespace(prefix, space)
    root = ElementTree.fromstring(svg.encode())  # noqa: S314  our own drawing
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{XLINK}}}href":
                element.set(key, value.replace("#", f"#{name}-", 1))
            else:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("aria-hidden", "true")  # the figure around it says what it shows
    return ElementTree.tostring(root, encoding="unicode")
