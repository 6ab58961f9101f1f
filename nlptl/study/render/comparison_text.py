"""A comparison in words: its tables for the terminal, for Markdown and for the page."""

from collections.abc import Mapping
from typing import Any

from nlptl.data.text import escaped, plain
from nlptl.errors import many
from nlptl.study.render.comparison import unit_of
from nlptl.study.render.pages import Table
from nlptl.study.render.terminal import paragraph, terminal_table
from nlptl.study.render.words import NONE, duration, number, p_value, points, si

#: Names of better arms that a cell holds.
SHOWN = 3
#: Caption of the table of pairs.
PAIRS = "Every pair"


def comparison_text(record: Mapping[str, Any]) -> str:
    """Write the comparison for the terminal: a table, and the sentence.

    Args:
        record: From :func:`nlptl.study.comparison.compare`.
    """
    columns = ["", f"{plain(record['metric'])} ± sd", "time", "trained"]
    unit = unit_of(record["rows"])
    rows = [
        [
            *(name, _score(row), duration(row["seconds"]), _trained(row)),
            *([_forgot(row, unit)] if unit else []),
            _worse(record, name),
        ]
        for name, row in record["rows"].items()
    ]
    columns += ["forgot"] * bool(unit) + ["worse than"]
    forgetting = f" forgot: {plain(unit)}, more is worse." if unit else ""
    notes = f"time: training of one run.{forgetting} worse than: as the test shows."
    return "\n".join(
        (
            paragraph(f"{data_line(record)}; {plain(record['metric'])} in points."),
            "",
            terminal_table(columns, rows),
            "",
            paragraph(notes),
            "",
            paragraph(record["sentence"]),
        )
    )


def data_line(record: Mapping[str, Any]) -> str:
    """Say what was compared, on how much data.

    Args:
        record: From :func:`nlptl.study.comparison.compare`.
    """
    n, seeds = record["n"], len(record["seeds"])
    return (
        f"{plain(record['task'])}, {plain(record['dataset'])}: {n['train']:,} training, {n['validation']:,} "
        f"validation and {n['test']:,} test examples, {many(seeds, 'run')} of each"
    )


def tables(record: Mapping[str, Any]) -> list[Table]:
    """List scores, costs and forgetting of the arms, and last the pairs that were tested.

    Args:
        record: From :func:`nlptl.study.comparison.compare`.
    """
    rows, unit = record["rows"], unit_of(record["rows"])
    scores = tuple(
        (plain(name), _score(row), duration(row["seconds"]), _worse(record, name))
        for name, row in rows.items()
    )
    costs = tuple(
        (plain(name), _trained(row), si(row["flops"], "FLOP"), _memory(row))
        for name, row in rows.items()
    )
    lost = tuple((plain(name), _forgot(row, unit, interval=True)) for name, row in rows.items())
    pairs = tuple(
        (
            f"{plain(pair['first'])} - {plain(pair['second'])}",
            _difference(pair["difference"]),
            p_value(pair["p"]),
            points(pair["detectable"]),
            p_value(pair["equal_p"]),
            word(pair),
        )
        for pair in record["pairs"]
    )
    titles = ("pair", "difference (95 %)", "p", "detectable", "equal within 0.5, p", "")
    found = [
        Table("Scores", ("", f"{plain(record['metric'])} ± sd", "time", "worse than"), scores),
        Table("Cost", ("", "trained", "compute", "memory"), costs),
    ]
    if unit:
        found.append(Table("Forgetting, more is worse", ("", f"{plain(unit)} (95 %)"), lost))
    if pairs:
        found.append(Table(PAIRS, titles, pairs, folded=len(pairs) > 6))
    return found


def comparison_markdown(record: Mapping[str, Any]) -> str:
    """Write the comparison as Markdown: the sentence, the arms, and the pairs that were tested.

    Args:
        record: From :func:`nlptl.study.comparison.compare`.
    """
    lines = [
        f"**{escaped(record['sentence'])}**",
        "",
        f"{escaped(data_line(record))}; {escaped(record['metric'])} in points.",
    ]
    for table in tables(record):
        marks = ["---", *["---:"] * (len(table.columns) - 1)]
        lines += [
            "",
            f"**{escaped(table.caption)}**",
            "",
            _line(table.columns),
            f"|{'|'.join(marks)}|",
            *map(_line, table.rows),
        ]
    numbers = ", ".join(str(seed) for seed in record["seeds"])
    lines += ["", f"{record['test']} Seeds: {numbers}.", "", versions_line(record)]
    return "\n".join(lines) + "\n"


def versions_line(record: Mapping[str, Any]) -> str:
    """Say in one line what a record was made with."""
    return "Made with " + ", ".join(f"{k} {v}" for k, v in record["versions"].items()) + "."


def word(pair: Mapping[str, Any]) -> str:
    """Say what the test of a pair shows.

    Args:
        pair: One of the record's ``pairs``.
    """
    if pair["better"]:
        return f"{plain(pair['better'])} is better"
    return "equal" if pair["equal"] else "cannot tell"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"


def _score(row: Mapping[str, Any]) -> str:
    return points(row["mean"]) + (f" ± {points(row['sd'])}" if row["sd"] is not None else "")


def _trained(row: Mapping[str, Any]) -> str:
    return f"{row['trainable'] / row['total']:.1%}"


def _memory(row: Mapping[str, Any]) -> str:
    return f"{row['peak_memory_mb']:,.0f} MB"


def _forgot(row: Mapping[str, Any], unit: str | None, *, interval: bool = False) -> str:
    """Write the forgetting of an arm, with its unit where most arms have another one."""
    if row["forgetting"] is None:
        return NONE
    ends = ""
    if interval:
        ends = " [{}, {}]".format(*(number(end, 3, signed=True) for end in row["forgetting_ci95"]))
    own = "" if row["upstream_unit"] == unit else f" {plain(row['upstream_unit'])}"
    return number(row["forgetting"], 3, signed=True) + ends + own


def _worse(record: Mapping[str, Any], name: str) -> str:
    """List the arms that the test shows to be better than one, the best first."""
    better = [
        pair["better"]
        for pair in record["pairs"]
        if pair["better"] not in (None, name) and name in (pair["first"], pair["second"])
    ]
    better.sort(key=lambda one: -record["rows"][one]["mean"])
    more = f" and {len(better) - SHOWN} more" if len(better) > SHOWN else ""
    return ", ".join(map(plain, better[:SHOWN])) + more


def _difference(found: Mapping[str, Any]) -> str:
    mean, low, high = (points(found[name], signed=True) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
