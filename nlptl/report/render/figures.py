"""The report's pictures: pure matplotlib, no pyplot, no state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from nlptl.report.render.strips import bars, draw_costs, draw_shift, strips
from nlptl.study.render.style import BAND, COLOURS, GREY, MARKERS, STYLE, blank, label
from nlptl.study.render.words import arms, known, number, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figures(record: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw what the record has numbers for.

    Args:
        record: The report's record.

    Returns:
        ``arms``, ``curve``, ``shift`` and ``costs``, where they are known.
    """
    from matplotlib import rc_context

    drawn: dict[str, Figure] = {}
    with rc_context(STYLE):
        if any(known(arm["mean"]) for _, _, arm in arms(record)):
            drawn["arms"] = _arms(record)
        if record["curve"] and record["curve"]["n"]:
            drawn["curve"] = _curve(record)
        if shown := strips(record):
            drawn["shift"] = draw_shift(record, shown)
        if compared := bars(record):
            drawn["costs"] = draw_costs(compared)
        ident = record["id"]
        what = f"{label(ident['upstream'], 26)} on {label(ident['dataset'], 26)}"
        for figure in drawn.values():
            figure.supxlabel(what, x=0.99, ha="right", size=8, color=GREY)
    return drawn


def _arms(record: Mapping[str, Any]) -> Figure:
    shown = [arm for arm in arms(record) if known(arm[2]["mean"])]
    differences = _differences(record)
    heights = [0.34 * len(shown), 0.34 * max(1, len(differences)) + 0.1]
    figure = blank(sum(heights[: 1 + bool(differences)]) + (1.7 if differences else 0.9))
    if differences:
        upper, lower = figure.subplots(2, 1, height_ratios=heights)
        _draw_differences(lower, differences, record["negative"]["margin"])
    else:
        upper = figure.subplots()
    compared = [row for row, (name, _, _) in enumerate(shown) if name in COLOURS]
    for row in compared:
        upper.axhspan(row - 0.5, row + 0.5, color=BAND, linewidth=0, zorder=0)
    for row, (name, _, arm) in enumerate(shown):
        _draw_arm(upper, row, name, arm)
    titles = [fill(label(title, 48), 18, break_on_hyphens=False) for _, title, _ in shown]
    upper.set_yticks(range(len(shown)), titles)
    for row in compared:
        upper.get_yticklabels()[row].set_fontweight("bold")
    upper.set_ylim(len(shown) - 0.5, -0.5)
    upper.tick_params(axis="y", length=0)
    upper.set_xlabel(f"test {label(record['id']['metric'], 24)}, points")
    return figure


def _draw_arm(axes: Axes, row: int, name: str, arm: Mapping[str, Any]) -> None:
    colour, main = COLOURS.get(name, GREY), name in COLOURS
    mean, sd = 100 * arm["mean"], 100 * (arm["sd"] or 0)
    drawn = axes.errorbar(
        mean,
        row,
        xerr=sd or None,
        fmt=MARKERS.get(name, "o"),
        color=colour,
        markersize=8 if main else 6,
        linewidth=2 if main else 1.2,
        capsize=3,
    )
    drawn[0].set_gid(f"arm-{name}")
    for kind, marker in (("seeds", "|"), ("failed", "x")):
        scores = [
            100 * s
            for seed, s in zip(arm["seeds"], arm["scores"], strict=True)
            if (seed in arm["failed"]) == (kind == "failed") and known(s)
        ]
        if len(arm["seeds"]) > 1 and scores:
            low = [row + 0.32] * len(scores)
            axes.plot(scores, low, marker, color=colour, markersize=5, gid=f"{kind}-{name}")
    axes.text(1.02, row, points(arm["mean"]), transform=axes.get_yaxis_transform(), va="center")


def _differences(record: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    gain = record["gain"] or {}
    found = [("bag of words", gain.get("vs_bow") or {}), ("from scratch", gain)]
    return [(title, one) for title, one in found if known(one.get("abs"))]


def _draw_differences(
    axes: Axes, found: Sequence[tuple[str, Mapping]], margin: float | None
) -> None:
    if known(margin):
        axes.axvspan(-100 * (margin or 0), 100 * (margin or 0), color="#CCCCCC", linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1)
    for row, (_, one) in enumerate(found):
        low, high = one["ci95"] or (one["abs"], one["abs"])
        axes.plot(
            [100 * low, 100 * high], [row, row], color="black", linewidth=2, gid=f"interval-{row}"
        )
        axes.plot(100 * one["abs"], row, "d", color="black", markersize=7, gid=f"difference-{row}")
        shown = points(one["abs"], signed=True)
        axes.text(1.02, row, shown, transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(range(len(found)), [title for title, _ in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_title("Pretrained minus …, with 95 % interval")
    axes.set_xlabel("points")


def _curve(record: Mapping[str, Any]) -> Figure:
    curve, mode = record["curve"], record["id"]["mode"]
    figure = blank(3.3)
    axes = figure.subplots()
    sizes = np.asarray(curve["n"], dtype=float)
    titles = {"pre": f"pretrained, {label(mode, 24)}", "scratch": "from scratch"}
    for name, dashes in (("pre", "-"), ("scratch", "--")):
        runs = [[100 * s for s in scores if known(s)] for scores in curve[name]]
        held = [(n, scores) for n, scores in zip(sizes, runs, strict=False) if scores]
        for n, scores in held:
            style = {"color": COLOURS[name], "alpha": 0.35, "markersize": 3}
            axes.plot([n] * len(scores), scores, MARKERS[name], **style)
        axes.plot(
            [n for n, _ in held],
            [np.mean(scores) for _, scores in held],
            MARKERS[name] + dashes,
            color=COLOURS[name],
            linewidth=2,
            label=titles[name],
            gid=f"mean-{name}",
        )
    axes.set_xscale("log")
    axes.set_xticks(sizes, _sparse(sizes))
    axes.minorticks_off()
    axes.set_xlabel("labelled examples (log scale)")
    axes.set_ylabel(f"test {label(record['id']['metric'], 24)}, points")
    axes.locator_params(axis="y", nbins=6, steps=[1, 2, 5, 10])
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return figure


def _sparse(sizes: np.ndarray) -> list[str]:
    # labels nearer to the next one than a twelfth of the axis would touch it
    logs = np.log(sizes)
    gap = np.ptp(logs) / 12
    wide = [*(np.diff(logs) > gap), True]
    return [number(n, 0) if keep else "" for n, keep in zip(sizes, wide, strict=True)]
