"""The picture of a comparison of modes and checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlptl.errors import many
from nlptl.study.render.point_labels import label_points
from nlptl.study.render.style import GREY, STYLE, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's (2008) colours, and markers; their numbers differ, so that many arms look different.
SHADES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
#: Inches: legible on a telephone's screen, and wide enough for names beside the points.
PICTURE = 5.2
#: Seconds that the axis of time may name.
TICKS = [
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000),
    *(36000, 86400, 172800, 432000),
]


def comparison_figure(record: Mapping[str, Any]) -> Figure:
    """Draw score against training time, each arm a point with its seeds' spread; forgetting below it.

    Forgetting in another unit than most arms have does not fit the axis: the table alone has it.

    Args:
        record: From :func:`nlptl.study.comparison.compare`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = record["rows"]
    unit = unit_of(rows)
    forgot = {
        name: row
        for name, row in rows.items()
        if row["forgetting"] is not None and row["upstream_unit"] == unit
    }
    with rc_context(STYLE):
        heights = [max(3.2, 0.22 * len(rows) + 2.2), 0.26 * len(forgot) + 0.9][: 1 + bool(forgot)]
        figure = Figure(figsize=(PICTURE, sum(heights) + 0.3), layout="constrained")
        panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        if forgot:
            _forgetting(panels[1], rows, forgot, unit)
        figure.suptitle(
            label(f"{record['task']}: {record['metric']} on {record['dataset']}", 64), size=10
        )
        seeds = len(record["seeds"])
        figure.supxlabel(
            f"{many(seeds, 'run')} of each, {record['n']['test']:,} test examples",
            x=0.99,
            ha="right",
            size=8,
            color=GREY,
        )
        _scores(panels[0], rows, record["metric"])
    return figure


def _scores(axes: Axes, rows: Mapping[str, Any], metric: str) -> None:
    points = [(max(row["seconds"], 0.1), 100 * row["mean"]) for row in rows.values()]
    for number, ((x, y), row) in enumerate(zip(points, rows.values(), strict=True)):
        colour, marker = _look(number)
        axes.errorbar(
            x,
            y,
            yerr=100 * row["sd"] if row["sd"] else None,
            fmt=marker,
            color=colour,
            markersize=7,
            capsize=3,
            elinewidth=1,
            gid=f"point-{number}",
        )
    axes.set_xscale("log")
    axes.margins(x=0.3, y=0.12)
    low, high = axes.get_xlim()
    ticks = _ticks(low, high)
    axes.set_xlim(min(low, *ticks), max(high, *ticks))
    axes.set_xticks(ticks, [_time(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title("Score against time")
    axes.set_xlabel("training time of one run (log scale)")
    axes.set_ylabel(f"test {label(metric, 24)}, points, ± sd")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    label_points(axes, list(rows), points)


def _look(number: int) -> tuple[str, str]:
    return SHADES[number % len(SHADES)], SHAPES[number % len(SHAPES)]


def _ticks(low: float, high: float) -> list[float]:
    """Choose at most six times on an axis, or if none lies on it, the nearest ones outside."""
    found = [tick for tick in TICKS if low <= tick <= high]
    if not found:
        below, above = [t for t in TICKS if t < low], [t for t in TICKS if t > high]
        return [*below[-1:], *above[:1]]
    return found[:: -(-len(found) // 6)]


def _time(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def _forgetting(
    axes: Axes, rows: Mapping[str, Any], forgot: Mapping[str, Any], unit: str | None
) -> None:
    numbers = {name: number for number, name in enumerate(rows)}
    for place, (name, row) in enumerate(forgot.items()):
        colour, marker = _look(numbers[name])
        low, high = row["forgetting_ci95"]
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        gid = f"forgot-{numbers[name]}"
        axes.plot(row["forgetting"], place, marker, color=colour, markersize=7, gid=gid)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(forgot)), [label(name, 28) for name in forgot])
    axes.set_ylim(len(forgot) - 0.5, -0.5)
    axes.set_title("What was forgotten of the pretraining")
    axes.set_xlabel(f"forgetting, {label(unit, 40)} (more is worse)")


def unit_of(rows: Mapping[str, Any]) -> str | None:
    """Return the unit of forgetting: nats, or for a checkpoint without a pretraining head a correlation."""
    units = Counter(row["upstream_unit"] for row in rows.values() if row["forgetting"] is not None)
    return units.most_common(1)[0][0] if units else None
