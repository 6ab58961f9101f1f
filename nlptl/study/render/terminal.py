"""Tables for the terminal: aligned, and at most 80 characters wide."""

import io
import textwrap
from collections.abc import Sequence

from nlptl.data.text import plain
from nlptl.study.render.words import shorten

#: Characters of a line.
WIDTH = 80
#: Characters of the first column at most; what is longer loses its middle.
LONGEST = 24


def terminal_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as aligned lines: the first column and the last to the left, the others to the right.

    Args:
        columns: Names of the columns.
        rows: A text for each column.

    Returns:
        Lines without a final line break; a cell that is too long goes on in the next line.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for number, name in enumerate(columns):
        last = number == len(columns) - 1
        side = "right" if number and not last else "left"
        table.add_column(Text(name), justify=side, no_wrap=not last, overflow="fold")
    for first, *others in rows:
        table.add_row(Text(shorten(first, LONGEST)), *(Text(plain(cell)) for cell in others))
    with io.StringIO() as file:
        Console(file=file, width=WIDTH, color_system=None, legacy_windows=False).print(table)
        return "\n".join(line.rstrip() for line in file.getvalue().rstrip().split("\n"))


def paragraph(text: object) -> str:
    """Break a text into lines of at most 80 characters, between words.

    Args:
        text: From the record.
    """
    return textwrap.fill(plain(text), WIDTH, break_long_words=False, break_on_hyphens=False)
