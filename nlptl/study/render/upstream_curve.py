"""The picture and the table of downstream score against upstream loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from nlptl.data.text import escaped
from nlptl.errors import many
from nlptl.stats.bootstrap import JOINT
from nlptl.study.render.comparison_text import versions_line
from nlptl.study.render.style import COLOURS, GREY, STYLE, blank, label
from nlptl.study.render.terminal import paragraph, terminal_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How slope and correlation are computed, for the reader of a curve.
HOW = (
    f"Slope: least squares; differences are {JOINT}, and so is its interval. Rank correlation: Spearman. "
    "Held-out loss ± standard error."
)


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
        drawn = axes.errorbar(
            [point["upstream_loss"] for point in points],
            [100 * point["downstream_mean"] for point in points],
            yerr=[100 * (point["sd"] or 0) for point in points],
            fmt="o-",
            color=COLOURS["pre"],
            markersize=7,
            capsize=3,
        )
        drawn.lines[0].set_gid("points")  # an id must be unique, so not of all that is drawn
        axes.invert_xaxis()
        axes.set_xlabel("held-out loss, nats a predicted token (better to the right)")
        axes.set_ylabel(f"test {label(record['metric'], 24)}, points, ± sd")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.set_title(f"One nat less of loss: {record['slope_points_per_nat']:+.1f} points")
        figure.supxlabel(label(record["dataset"], 40), x=0.99, ha="right", size=8, color=GREY)
    return figure


def upstream_sentence(record: Mapping[str, Any]) -> str:
    """Say how the score goes with the loss.

    Args:
        record: From :func:`nlptl.study.upstream_curve.upstream_curve`.
    """
    interval = record["slope_ci95"]
    ranks = "—" if record["spearman"] is None else f"{record['spearman']:.2f}"
    how = f" (95 % interval {interval[0]:+.1f} to {interval[1]:+.1f})" if interval else ""
    return (
        f"One nat less of held-out loss goes with {record['slope_points_per_nat']:+.1f} points of "
        f"{record['metric']}{how}; rank correlation {ranks} over {many(len(record['points']), 'checkpoint')}."
    )


def upstream_text(record: Mapping[str, Any]) -> str:
    """Write the curve for the terminal: a row a checkpoint, and the sentence.

    Args:
        record: From :func:`nlptl.study.upstream_curve.upstream_curve`.
    """
    columns = ("checkpoint", "held-out loss, nats", f"{record['metric']} ± sd", "")
    rows = [(*row, "") for row in cells(record["points"])]
    return f"{terminal_table(columns, rows)}\n\n{paragraph(upstream_sentence(record))}"


def cells(points: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Write each checkpoint's row: its name, held-out loss ± standard error, and score ± sd in points.

    Where all checkpoints lie in one folder, the folder is left out of their names.

    Args:
        points: From the record.
    """
    paths = [PurePath(str(point["checkpoint"])) for point in points]
    beside = len({path.parent for path in paths}) == 1 and len({*paths}) == len(paths)
    names = [path.name if beside else str(path) for path in paths]
    return [(name, *_numbers(point)) for name, point in zip(names, points, strict=True)]


def _numbers(point: Mapping[str, Any]) -> tuple[str, str]:
    sd = "" if point["sd"] is None else f" ± {100 * point['sd']:.1f}"
    loss = f"{point['upstream_loss']:.3f} ± {point['upstream_se']:.3f}"
    return loss, f"{100 * point['downstream_mean']:.1f}{sd}"


def upstream_markdown(record: Mapping[str, Any]) -> str:
    """Write the curve as Markdown: the sentence, and a row a checkpoint.

    Args:
        record: From :func:`nlptl.study.upstream_curve.upstream_curve`.
    """
    lines = [
        f"**{escaped(upstream_sentence(record))}**",
        "",
        f"{escaped(record['dataset'])}, --mode {record['mode']}, {record['n']['train']} training, "
        f"{record['n']['validation']} validation and {record['n']['test']} test examples, "
        f"{many(len(record['seeds']), 'seed')}.",
        "",
        "| checkpoint | held-out loss, nats | score ± sd |",
        "|---|---:|---:|",
    ]
    lines += [f"| {' | '.join(map(escaped, row))} |" for row in cells(record["points"])]
    numbers = ", ".join(str(seed) for seed in record["seeds"])
    lines += [
        "",
        f"{HOW} Seeds: {numbers}.",
        "",
        versions_line(record),
    ]
    return "\n".join(lines) + "\n"
