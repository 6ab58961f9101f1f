"""The picture and the table of a comparison of modes and checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlptl.data.text import escaped
from nlptl.study.render.style import GREY, STYLE, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's (2008) colours, each with a marker of its own.
SERIES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
)


def comparison_figure(record: Mapping[str, Any]) -> Figure:
    """Draw score against training operations, each arm a point with its seeds' spread; forgetting beside it.

    Forgetting in another unit than most arms have does not fit the axis: the table alone has it.

    Args:
        record: From :func:`nlptl.study.comparison.compare`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = record["rows"]
    unit = _unit(rows)
    forgot = {
        name: row
        for name, row in rows.items()
        if row["forgetting"] is not None and row["upstream_unit"] == unit
    }
    with rc_context(STYLE):
        height = max(3.2, 0.42 * len(rows) + 1.6)
        figure = Figure(figsize=(8.6 if forgot else 5.2, height), layout="constrained")
        axes = figure.subplots(
            1, 1 + bool(forgot), width_ratios=[3, 2][: 1 + bool(forgot)], squeeze=False
        )[0]
        _scores(axes[0], rows, record["metric"])
        if forgot:
            _forgetting(axes[1], rows, forgot, unit)
        figure.supxlabel(label(record["dataset"], 40), x=0.99, ha="right", size=8, color=GREY)
    return figure


def _scores(axes: Axes, rows: Mapping[str, Any], metric: str) -> None:
    for number, (name, row) in enumerate(rows.items()):
        colour, marker = SERIES[number % len(SERIES)]
        axes.errorbar(
            row["flops"],
            100 * row["mean"],
            yerr=100 * row["sd"] if row["sd"] else None,
            fmt=marker,
            color=colour,
            markersize=8,
            capsize=3,
            label=label(name, 40),
            gid=f"point-{number}",
        )
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("operations of one training (FLOPs)")
    axes.set_ylabel(f"test {label(metric, 24)}, points, ± sd")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="#DDDDDD")


def _forgetting(
    axes: Axes, rows: Mapping[str, Any], forgot: Mapping[str, Any], unit: str | None
) -> None:
    for number, (name, row) in enumerate(rows.items()):
        if name not in forgot:
            continue
        colour, marker = SERIES[number % len(SERIES)]
        low, high = row["forgetting_ci95"]
        axes.plot([low, high], [number, number], color=colour, linewidth=2)
        axes.plot(
            row["forgetting"], number, marker, color=colour, markersize=8, gid=f"forgot-{number}"
        )
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(rows)), [label(name, 28) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"forgetting, {label(unit, 40)}")


def _unit(rows: Mapping[str, Any]) -> str | None:
    """Return the unit of forgetting: nats, or for a checkpoint without a pretraining head a correlation."""
    units = Counter(row["upstream_unit"] for row in rows.values() if row["forgetting"] is not None)
    return units.most_common(1)[0][0] if units else None


def comparison_markdown(record: Mapping[str, Any]) -> str:
    """Write the comparison as Markdown: the sentence, the arms, and the pairs that were tested.

    Args:
        record: From :func:`nlptl.study.comparison.compare`.
    """
    n, seeds, unit = record["n"], len(record["seeds"]), _unit(record["rows"])
    measured = f", {escaped(unit)}" if unit else ""
    lines = [
        f"**{escaped(record['sentence'])}**",
        "",
        f"{record['task']}, {escaped(record['dataset'])}: {n['train']} training, {n['validation']} validation "
        f"and {n['test']} test examples, {seeds} seeds; {record['metric']} in points.",
        "",
        f"| | score | sd | trained | training | seconds | peak memory | forgetting{measured} (95 %) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in record["rows"].items():
        sd = "" if row["sd"] is None else f"{100 * row['sd']:.1f}"
        forgot = "—"
        if row["forgetting"] is not None:
            low, high = row["forgetting_ci95"]
            forgot = f"{row['forgetting']:+.3f} [{low:+.3f}, {high:+.3f}]"
            if row["upstream_unit"] != unit:
                forgot += f" {escaped(row['upstream_unit'])}"
        lines.append(
            f"| {escaped(name)} | {100 * row['mean']:.1f} | {sd} | {row['trainable'] / row['total']:.1%} | "
            f"{row['flops'] / 1e12:.2f} TFLOP | {row['seconds']:.0f} | "
            f"{row['peak_memory_mb']:.0f} MB | {forgot} |"
        )
    lines += [
        "",
        "| pair | difference (95 %) | p (Holm) | detectable | equal within 0.5, p (Holm) | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for pair in record["pairs"]:
        found = pair["difference"]
        word = (
            f"{escaped(pair['better'])} is better"
            if pair["better"]
            else "equal"
            if pair["equal"]
            else "cannot tell"
        )
        lines.append(
            f"| {escaped(pair['first'])} - {escaped(pair['second'])} | {100 * found['mean']:+.1f} "
            f"[{100 * found['low']:+.1f}, {100 * found['high']:+.1f}] | {pair['p']:.3g} | "
            f"{100 * pair['detectable']:.1f} | {pair['equal_p']:.3g} | {word} |"
        )
    numbers = ", ".join(str(seed) for seed in record["seeds"])
    lines += ["", f"{record['test']} Seeds: {numbers}.", "", versions_line(record)]
    return "\n".join(lines) + "\n"


def versions_line(record: Mapping[str, Any]) -> str:
    """Say in one line what a record was made with."""
    return "Made with " + ", ".join(f"{k} {v}" for k, v in record["versions"].items()) + "."
