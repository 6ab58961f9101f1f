"""The table and the picture of several tasks: each one's arms beside the task alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlptl.data.text import escaped, plain
from nlptl.methods.multi_task.options import CHAIN
from nlptl.methods.multi_task.verdict import called, compared
from nlptl.study.render.comparison_text import versions_line
from nlptl.study.render.study_page import Part
from nlptl.study.render.study_text import study_text
from nlptl.study.render.style import GREY, STYLE, blank, label
from nlptl.study.render.tables import (
    between,
    counted,
    draw_difference,
    markdown_table,
    more,
    study_table,
)
from nlptl.study.render.words import NONE, duration, p_value, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nlptl.study.render.pages import Table

#: Columns of the table; that of one task begins with the second one.
COLUMNS = (
    *("task", "how", "score", "against alone", "verdict", "p (Holm)", "95 % of the score"),
    *("share of the mix", "seconds"),
)
#: Columns that the terminal shows.
SHOWN = ("score", "against alone", "verdict")


def cells(name: str, arm: str, task: Mapping[str, Any], share: float | None) -> list[str]:
    """Write the cells of one row.

    Args:
        name: Name of the task.
        arm: Name of the arm.
        task: Record of the task.
        share: Its share of the mix; None for another arm.
    """
    one = task["rows"][arm]
    return [
        f"{name} ({task['metric']})",
        f"after {task['first']}" if arm == CHAIN else arm,
        points(one["mean"]),
        more(one["difference"]),
        one.get("word") or "bound",
        p_value(one["p"]) if "p" in one else NONE,
        between(one["ci95"][0], one["ci95"][1]),
        NONE if share is None else f"{100 * share:.0f} %",
        duration(one["seconds"]),
    ]


def rows_of(record: Mapping[str, Any], name: str) -> list[list[str]]:
    """List the rows of a task."""
    mixture, task = record["mixture"], record["tasks"][name]
    rows = []
    for arm in task["rows"]:
        share = mixture[0]["shares"][name] if arm == "mixed" and mixture else None
        rows.append([plain(cell) for cell in cells(name, arm, task, share)])
    return rows


def whole_table(record: Mapping[str, Any]) -> Table:
    """Return the table, the arms of each task below one another."""
    rows = [row for name in record["tasks"] for row in rows_of(record, name)]
    caption = "Each task alone, with the others and after another one, in points"
    return study_table(caption, COLUMNS, rows)


def text(record: Mapping[str, Any]) -> str:
    """Write the study for the terminal: a table for each task, and the sentence.

    Args:
        record: From :func:`nlptl.methods.multi_task.multi_task.multi_task`.
    """
    parts = []
    for name, task in record["tasks"].items():
        rows = [row[1:] for row in rows_of(record, name)]
        title = f"{name} ({task['metric']}):"
        parts.append(Part(title, study_table(title, COLUMNS[1:], rows), task["warnings"]))
    return study_text(record, about(record), parts, SHOWN)


def about(record: Mapping[str, Any]) -> str:
    """Say in a line what was studied."""
    where = f"{record['model']}, {record['mode']}, {counted(record['seeds'])}"
    return f"{where}; scores in points."


def notes(record: Mapping[str, Any]) -> list[str]:
    """List what is to be read below the table."""
    said = []
    for name, task in record["tasks"].items():
        n, floor = task["n"], task["floors"]
        words = f", a bag of words {points(floor['bag_of_words'])}" if floor["bag_of_words"] else ""
        said.append(
            f"{name}: {task['kind']}, {n['train']:,} training, {n['validation']:,} validation and "
            f"{n['test']:,} test examples; always one answer {points(floor['majority'])}{words}."
        )
    if record["mixture"]:
        each = ", ".join(
            f"{name} {count:,}" for name, count in record["mixture"][0]["batches"].items()
        )
        said.append(
            f"Batches of the mix as they were (seed {record['mixture'][0]['seed']}, temperature "
            f"{record['temperature']}): {each}. Alone, each task has as many steps. Of the mix's seconds each "
            "task has its share."
        )
    if record["first"]:
        said.append(
            f"After {record['first']}: these runs have that task's steps and seconds in addition."
        )
    return [*said, *(one for task in record["tasks"].values() for one in task["warnings"])]


def markdown(record: Mapping[str, Any]) -> str:
    """Write the study as Markdown: the sentence, the table, the notes.

    Args:
        record: From :func:`nlptl.methods.multi_task.multi_task.multi_task`.
    """
    lines = [
        f"**{escaped(record['sentence'])}**",
        "",
        escaped(about(record)),
        "",
        *markdown_table(whole_table(record)),
        "",
        *(f"- {escaped(note)}" for note in notes(record)),
        "",
        record["test"],
        "",
        versions_line(record),
    ]
    return "\n".join(lines) + "\n"


def figure(record: Mapping[str, Any]) -> Figure:
    """Draw each arm's difference to the task alone, with its interval.

    Args:
        record: From :func:`nlptl.methods.multi_task.multi_task.multi_task`.
    """
    from matplotlib import rc_context

    rows = {
        called(name, arm, task["first"]): one
        for name, task in record["tasks"].items()
        for arm, one in task["rows"].items()
        if not one["bound"]
    }
    assert len(rows) == len(compared(record["tasks"]))
    with rc_context(STYLE):
        made = blank(0.46 * len(rows) + 1.2)
        axes = made.subplots()
        axes.axvline(0, color=GREY, linewidth=1)
        for place, one in enumerate(rows.values()):
            draw_difference(axes, place, one)
        names = [f"{label(name, 24)}\n{one['word']}" for name, one in rows.items()]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("points more than the task alone;\nbars: 95 % of the difference")
        axes.set_title(label(f"{len(record['tasks'])} tasks on one body", 48))
    return made
