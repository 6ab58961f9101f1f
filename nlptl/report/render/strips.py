"""Pictures with a row for each thing measured: heat strips over the blocks, bars of the costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nlptl.report.render.tables import best_part
from nlptl.study.render.style import COLOURS, GREY, blank, label
from nlptl.study.render.words import duration, known, number, percent, points, si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Columns of a heat strip up to which its numbers stand upright, and up to which there are any.
UPRIGHT, NUMBERED = 14, 40


@dataclass(frozen=True)
class Strip:
    """A row of the heat picture.

    Attributes:
        title: Above it.
        values: One a part, nan where there is none.
        ends: What the darkest and the lightest colour stand for.
        show: How a value is written.
    """

    title: str
    values: np.ndarray
    ends: tuple[float, float]
    show: Callable[[float], str]


def strips(record: Mapping[str, Any]) -> list[Strip]:
    """List the rows of the heat picture that have a number.

    Args:
        record: The report's record.

    Returns:
        CKA, weight change and probe, as far as they are known.
    """
    shift = record["shift"]
    count = len(shift["parts"] or ())
    wanted = (
        ("cka", "CKA of the states, before and after", (0.0, 1.0), number),
        ("rel_weight_change", "Relative weight change, %", (0.0, None), percent),
        ("probe_curve", "Probe score, points", (None, None), points),
    )
    found = []
    for name, title, (low, high), show in wanted:
        # T5: states and probes are the encoder's alone, so their lists end before the parts do
        given = [v if known(v) else np.nan for v in (shift[name] or ())][:count]
        values = np.asarray(given + [np.nan] * (count - len(given)), dtype=float)
        if np.isfinite(values).any():
            least, most = float(np.nanmin(values)), float(np.nanmax(values))
            ends = (least if low is None else min(low, least), most if high is None else high)
            found.append(Strip(title, values, ends, show))
    return found


def draw_shift(record: Mapping[str, Any], shown: Sequence[Strip]) -> Figure:
    """Draw heat strips over the blocks, the best probe marked.

    Args:
        record: The report's record.
        shown: From :func:`strips`.

    Returns:
        A figure.
    """
    from matplotlib.patches import Rectangle

    parts, best = record["shift"]["parts"], best_part(record["shift"])
    figure = blank(0.75 * len(shown) + 0.55)
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, strip in zip(panels, shown, strict=True):
        _draw_strip(axes, strip)
    names, axis = _part_names(parts), "parts, from the input upwards"
    if best is not None:
        box = {"fill": False, "edgecolor": "black", "linewidth": 2, "clip_on": False}
        panels[-1].add_patch(Rectangle((best, 0), 1, 1, gid="best", **box))
        names[best] += "\n★"
        axis += "; ★ best on validation"
    panels[-1].set_xticks(np.arange(len(parts)) + 0.5, names)
    panels[-1].set_xlabel(axis)
    return figure


def _draw_strip(axes: Axes, strip: Strip) -> None:
    low, high = strip.ends
    axes.pcolormesh(
        np.arange(len(strip.values) + 1),
        [0, 1],
        np.ma.masked_invalid(strip.values[None]),
        cmap="cividis",
        vmin=low,
        vmax=high if high > low else low + 1,
        edgecolors="white",
        linewidth=0.5,
    )
    axes.set_facecolor("#E6E6E6")
    axes.set_title(strip.title)
    axes.set_title(
        f"dark {strip.show(low)}, light {strip.show(high)}", loc="right", size=8, color=GREY
    )
    axes.set(yticks=[], xticks=[])
    axes.spines[:].set_visible(False)
    if len(strip.values) > NUMBERED:
        return
    turned = 0 if len(strip.values) <= UPRIGHT else 90
    for column, value in enumerate(strip.values):
        if np.isfinite(value):
            style = {"size": 8, "color": "white" if value - low < 0.55 * (high - low) else "black"}
            place = {"ha": "center", "va": "center", "rotation": turned}
            axes.text(column + 0.5, 0.5, strip.show(value), **style, **place)


def _part_names(parts: Sequence[str]) -> list[str]:
    short = [label(part.replace("embeddings", "emb").replace("block ", ""), 8) for part in parts]
    every = -(-len(short) // 20)
    return [name if row % every == 0 else "" for row, name in enumerate(short)]


@dataclass(frozen=True)
class Bars:
    """Two bars, one an arm.

    Attributes:
        title: Above them.
        pre: Length of the pretrained arm's, or None.
        scratch: Length of the other.
        show: How a length is written.
        censored: Whether scratch would take more than its bar shows.
    """

    title: str
    pre: float | None
    scratch: float | None
    show: Callable[[float | None], str]
    censored: bool = False


def bars(record: Mapping[str, Any]) -> list[Bars]:
    """List what both arms took, as far as it is known.

    Args:
        record: The report's record.

    Returns:
        Compute and time.
    """
    costs = record["compute_eff"]
    if not costs:
        return []
    pre, scratch, ratio = (costs[k] for k in ("flops_pre", "flops_scratch_to_match", "ratio"))
    if not known(scratch) and known(pre) and known(ratio):
        scratch = pre * ratio  # a lower bound: all that scratch was given
    wall = costs["wall_s"] or {}
    target = points(costs["target_score"])
    found = [
        Bars(
            f"Compute to reach {target} points",
            pre,
            scratch,
            lambda v: si(v, "FLOP"),
            costs["censored"],
        ),
        Bars("Training time of a run", wall.get("pre"), wall.get("scratch"), duration),
    ]
    return [one for one in found if known(one.pre) or known(one.scratch)]


def draw_costs(shown: Sequence[Bars]) -> Figure:
    """Draw bars of compute and time.

    Args:
        shown: From :func:`bars`.

    Returns:
        A figure.
    """
    figure = blank(1.15 * len(shown) + 0.1)
    for axes, one in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
        longest = max(v for v in (one.pre, one.scratch, 0.0) if v is not None) or 1.0
        for row, (name, value) in enumerate((("pre", one.pre), ("scratch", one.scratch))):
            bound = ">" if name == "scratch" and one.censored and known(value) else ""
            style = {"color": COLOURS[name], "hatch": "///" if name == "scratch" else None}
            axes.barh(row, value or 0, 0.7, edgecolor="white", **style)
            axes.text((value or 0) + 0.02 * longest, row, bound + one.show(value), va="center")
        axes.set(ylim=(1.5, -0.5), xlim=(0, 1.35 * longest), xticks=[])
        axes.set_yticks([0, 1], ["pretrained", "from scratch"])
        axes.tick_params(axis="y", length=0)
        axes.spines["bottom"].set_visible(False)
        axes.set_title(one.title)
    return figure
