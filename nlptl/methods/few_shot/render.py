"""The tables and the picture of a study of few labels: score by labels a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlptl.data.text import escaped, plain
from nlptl.errors import many
from nlptl.methods.few_shot.verdict import some
from nlptl.study.render.comparison_text import versions_line
from nlptl.study.render.study_page import Part
from nlptl.study.render.study_text import study_text
from nlptl.study.render.style import GREY, STYLE, blank, label
from nlptl.study.render.tables import between, markdown_table, more, study_table
from nlptl.study.render.words import NONE, duration, number, p_value, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nlptl.study.render.pages import Table

#: Columns of the table of one number of labels.
COLUMNS = (
    *("", "score", "behind the best", "verdict", "p (Holm)", "95 % of the score"),
    *("sd of draws", "lowest", "pairs", "seconds"),
)
#: Columns that the terminal shows.
SHOWN = ("score", "behind the best", "verdict")
#: Okabe and Ito's (2008) colours, a marker with each.
LINES = (
    *(("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "v"), ("#E69F00", "D")),
    *(("#56B4E9", "P"), ("#000000", "X"), ("#999999", "*")),
)


def cells(name: str, one: Mapping[str, Any]) -> list[str]:
    """Write the cells of a method's row.

    Args:
        name: Name of the method.
        one: Its row.
    """
    return [
        name,
        points(one["mean"]),
        more(one["difference"]),
        one["word"],
        p_value(one["p"]),
        between(one["ci95"][0], one["ci95"][1]),
        number(None if one["sd"] is None else 100 * one["sd"], 1),
        points(one["min"]) if one["labels"] else NONE,
        number(one["measured"].get("pairs"), 0),
        duration(one["seconds"]),
    ]


def heading(level: Mapping[str, Any]) -> str:
    """Write the title of one number of labels."""
    return some(level["shots"]) if level["shots"] else "Without labels"


def level_table(record: Mapping[str, Any], level: Mapping[str, Any]) -> Table:
    """Return the table of one number of labels."""
    rows = [cells(plain(name), one) for name, one in level["rows"].items()]
    return study_table(f"{record['metric']} in points", COLUMNS, rows)


def warnings_of(record: Mapping[str, Any], level: Mapping[str, Any]) -> list[str]:
    """List what the reader of a table must know: which runs learned nothing."""
    said, runs = [], len(record["seeds"])
    for name, one in level["rows"].items():
        if one["labels"] and one["failed"]:
            said.append(
                f"{name}: {one['failed']} of {many(runs, 'run')} {'is' if one['failed'] == 1 else 'are'} no "
                "better than always one answer "
                f"({points(record['floor'])})."
            )
        if one["diverged"]:
            said.append(f"{name}: the loss became infinite in {many(one['diverged'], 'run')}.")
    return said


def notes(record: Mapping[str, Any], level: Mapping[str, Any]) -> list[str]:
    """List what is to be read below a table.

    Args:
        record: From :func:`nlptl.methods.few_shot.few_shot.few_shot`.
        level: One number of labels.
    """
    said = warnings_of(record, level)
    for name, one in level["rows"].items():
        if each := one["measured"].get("templates") if not level["shots"] else None:
            texts = ", ".join(f"“{text}” {points(score)}" for text, score in each.items())
            said.append(
                f"{name}: the average of {many(len(each), 'template')}; each alone: {texts}."
            )
        if number_of := one["measured"].get("pairs"):
            alike, different = one["measured"]["same"], one["measured"]["different"]
            kinds = f"{many(alike, 'pair')} of one class and {different:,}"
            said.append(f"{name}: {many(number_of, 'pair')}, drawn from {kinds} of different ones.")
    return said


def markdown(record: Mapping[str, Any]) -> str:
    """Write the study as Markdown: the sentence, and a table for each number of labels.

    Args:
        record: From :func:`nlptl.methods.few_shot.few_shot.few_shot`.
    """
    lines = [f"**{escaped(record['sentence'])}**", "", escaped(about(record)), ""]
    for level in record["levels"]:
        lines += [f"{heading(level)}:", "", *markdown_table(level_table(record, level)), ""]
        if said := notes(record, level):
            lines += [*(f"- {escaped(note)}" for note in said), ""]
    lines += [record["test"], "", versions_line(record)]
    return "\n".join(lines) + "\n"


def text(record: Mapping[str, Any]) -> str:
    """Write the study for the terminal: a table for each number of labels, and the sentence.

    Args:
        record: From :func:`nlptl.methods.few_shot.few_shot.few_shot`.
    """
    parts = [
        Part(f"{heading(level)}:", level_table(record, level), warnings_of(record, level))
        for level in record["levels"]
    ]
    return study_text(record, about(record), parts, SHOWN)


def about(record: Mapping[str, Any]) -> str:
    """Say in a line what was studied."""
    draws, n = len(record["seeds"]), record["n"]
    chosen = {"none": "no validation labels, so the last epoch counts"}
    held = chosen.get(record["validation"], "as many validation labels, which choose the epoch")
    return (
        f"{record['dataset']}, {record['model']}: {len(record['classes'])} classes, {n['test']} test "
        f"examples, {many(draws, 'draw')}, {held}; {record['metric']} in points. "
        f"Always one answer: {points(record['floor'])}."
    )


def figure(record: Mapping[str, Any]) -> Figure:
    """Draw each method's score by labels a class, with its interval; without labels as a level line.

    Args:
        record: From :func:`nlptl.methods.few_shot.few_shot.few_shot`.
    """
    from matplotlib import rc_context

    names = list(dict.fromkeys(name for level in record["levels"] for name in level["rows"]))
    with rc_context(STYLE):
        made = blank(3.6 + 0.13 * len(names))
        axes = made.subplots()
        for place, name in enumerate(names):
            _line(axes, record["levels"], name, place, len(names))
        axes.axhline(100 * record["floor"], color=GREY, linewidth=0.8, linestyle=":")
        shots = [level["shots"] for level in record["levels"]]
        axes.set_xticks(range(len(shots)), [str(number) for number in shots])
        axes.set_xlabel("labels a class")
        axes.set_ylabel(f"test {label(record['metric'], 24)}, points, 95 %")
        axes.grid(color="#DDDDDD", linewidth=0.6, axis="y")
        axes.set_title(label(record["dataset"], 48))
        made.legend(loc="outside lower center", ncols=2, frameon=False)
    return made


def _line(axes: Axes, levels: Any, name: str, place: int, count: int) -> None:
    colour, marker = LINES[place % len(LINES)]
    at = [number for number, level in enumerate(levels) if name in level["rows"]]
    rows = [levels[number]["rows"][name] for number in at]
    means = [100 * one["mean"] for one in rows]
    ends = [[100 * abs(one["ci95"][side] - one["mean"]) for one in rows] for side in (0, 1)]
    if not rows[0]["labels"]:  # the same everywhere: its interval is drawn once
        ends = [[each[0], *[0.0] * (len(each) - 1)] for each in ends]
    beside = 0.5 * (
        place / max(1, count - 1) - 0.5
    )  # side by side, so that no interval hides another
    axes.errorbar(
        [number + beside for number in at],
        means,
        yerr=ends,
        color=colour,
        marker=marker,
        linestyle="-" if rows[0]["labels"] else "--",
        linewidth=1.2,
        markersize=5,
        capsize=2,
        label=label(name, 28),
        gid=f"method-{place}",
    )
