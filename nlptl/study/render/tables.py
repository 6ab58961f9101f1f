"""Cells and tables that the pages of studies share."""

from collections.abc import Mapping, Sequence
from typing import Any

from nlptl.data.text import escaped, plain
from nlptl.errors import many
from nlptl.study.render.pages import Table
from nlptl.study.render.style import GREY
from nlptl.study.render.words import NONE, number, points

#: Colours of the verdicts (Okabe & Ito, 2008), each with a marker of its own.
TONES = {
    "helped": ("#0072B2", "^"),
    "hurt": ("#D55E00", "v"),
    "alike": ("#009E73", "s"),
    "cannot tell": (GREY, "o"),
}


def between(low: float, high: float, *, signed: bool = False, digits: int = 1) -> str:
    """Write the ends of an interval in hundredths."""
    ends = (number(100 * end, digits, signed=signed) for end in (low, high))
    return " to ".join(ends)


def more(difference: Mapping[str, Any] | None) -> str:
    """Write a difference with its interval, in points.

    Args:
        difference: ``mean``, ``low`` and ``high``; None for an arm that is not compared.
    """
    if difference is None:
        return NONE
    ends = between(difference["low"], difference["high"], signed=True)
    return f"{points(difference['mean'], signed=True)} [{ends}]"


def draw_difference(axes: Any, place: int, one: Mapping[str, Any]) -> None:
    """Draw a judged difference in points with its interval, in the colour and form of its word.

    Args:
        axes: Where to draw.
        place: Row of the picture.
        one: ``word`` and ``difference`` (``mean``, ``low``, ``high``).
    """
    colour, marker = TONES[one["word"]]
    mean, low, high = (100 * one["difference"][key] for key in ("mean", "low", "high"))
    axes.plot([low, high], [place, place], color=colour, linewidth=2)
    axes.plot(mean, place, marker, color=colour, markersize=8, gid=f"arm-{place}")


def counted(seeds: Sequence[int]) -> str:
    """Write the number of seeds."""
    return many(len(seeds), "seed")


def study_table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table of those columns that have a value in some row; the first one names the row.

    Args:
        caption: What it holds.
        columns: Names of the columns, the most important first: a narrow screen shows no more than those.
        rows: A text for each column.
    """
    kept = [
        place
        for place in range(len(columns))
        if not place or any(row[place] != NONE for row in rows)
    ]
    shown = tuple(tuple(row[place] for place in kept) for row in rows)
    return Table(plain(caption), tuple(columns[place] for place in kept), shown)


def markdown_table(table: Table) -> list[str]:
    """Write a table as lines of Markdown; the first column names the row, the others stand to the right."""
    rule = "|---|" + "---:|" * (len(table.columns) - 1)
    return [_line(table.columns), rule, *(_line(row) for row in table.rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"
