"""The picture and the table of downstream score against upstream loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlptl.data.text import escaped
from nlptl.stats.bootstrap import JOINT
from nlptl.study.render.comparison import versions_line
from nlptl.study.render.style import COLOURS, GREY, STYLE, blank, label

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def upstream_figure(record: Mapping[str, Any]) -> Figure:
    """Draw each checkpoint as a point with its seeds' spread, the better upstream the further right.

    Args:
        record: From :func:`nlptl.study.upstream_curve.upstream_curve`.
    """
    from matplotlib import rc_context

    points = record["points"]
    with rc_context(STYLE):
        figure = blank(3.4)
        axes = figure.subplots()
        axes.errorbar(
            [point["upstream_loss"] for point in points],
            [100 * point["downstream_mean"] for point in points],
            yerr=[100 * (point["sd"] or 0) for point in points],
            fmt="o-",
            color=COLOURS["pre"],
            markersize=7,
            capsize=3,
            gid="points",
        )
        axes.invert_xaxis()
        axes.set_xlabel("held-out loss, nats a predicted token (better to the right)")
        axes.set_ylabel(f"test {label(record['metric'], 24)}, points, ± sd")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.set_title(f"{record['slope_points_per_nat']:+.1f} points a nat")
        figure.supxlabel(label(record["dataset"], 40), x=0.99, ha="right", size=8, color=GREY)
    return figure


def upstream_markdown(record: Mapping[str, Any]) -> str:
    """Write the curve as Markdown: the sentence, and a row a checkpoint.

    Args:
        record: From :func:`nlptl.study.upstream_curve.upstream_curve`.
    """
    interval = record["slope_ci95"]
    ranks = "—" if record["spearman"] is None else f"{record['spearman']:.2f}"
    how = f" (95 % interval {interval[0]:+.1f} to {interval[1]:+.1f})" if interval else ""
    lines = [
        f"**One nat less of held-out loss goes with {record['slope_points_per_nat']:+.1f} points of "
        f"{record['metric']}{how}; rank correlation {ranks} over {len(record['points'])} "
        "checkpoints.**",
        "",
        f"{escaped(record['dataset'])}, --mode {record['mode']}, {record['n']['train']} training, "
        f"{record['n']['validation']} validation and {record['n']['test']} test examples, "
        f"{len(record['seeds'])} seeds.",
        "",
        "| checkpoint | held-out loss, nats | score | sd |",
        "|---|---:|---:|---:|",
    ]
    for point in record["points"]:
        sd = "" if point["sd"] is None else f"{100 * point['sd']:.1f}"
        lines.append(
            f"| {escaped(point['checkpoint'])} | {point['upstream_loss']:.3f} ± {point['upstream_se']:.3f} | "
            f"{100 * point['downstream_mean']:.1f} | {sd} |"
        )
    numbers = ", ".join(str(seed) for seed in record["seeds"])
    lines += [
        "",
        f"Slope: least squares; differences are {JOINT}, and so is its interval. Rank "
        f"correlation: Spearman. Held-out loss ± standard error. Seeds: {numbers}.",
        "",
        versions_line(record),
    ]
    return "\n".join(lines) + "\n"
