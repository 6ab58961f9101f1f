"""Lines that a run prints, once, whatever the number of processes: wrapped and coloured on a terminal only."""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from nlptl.data.progress import is_main_process, is_terminal
from nlptl.data.text import printable

__all__ = ["Block", "fitted", "is_main_process", "muted", "painted", "say", "width"]

_MUTED = [False]
#: Style of a line by its beginning, and of the names of a block's rows.
STYLES = {"note: ": "yellow"}
NAMES = "bold cyan"
#: Characters of a line: where no terminal is, and at most.
USUAL, WIDEST = 80, 120


@dataclass(frozen=True)
class Block:
    """Rows of a name and a text, the texts in one column; :func:`say` prints it.

    Attributes:
        rows: Names and texts; a row without a name goes on with the one before.
        apart: Whether an empty line comes before it.
    """

    rows: Sequence[tuple[str, str]]
    apart: bool = False

    def __str__(self) -> str:
        return "\n".join(name + text for name, text in laid_out(self.rows, USUAL))


def say(text: object, style: str = "") -> None:
    """Write lines to standard output, above a progress bar if there is one.

    Args:
        text: The lines, or a :class:`Block`; what would steer the terminal is taken out.
        style: Style of all of it in rich's words, such as ``bold``, on a terminal that has colours; by default
            notes are yellow.
    """
    if not is_main_process() or _MUTED[0]:
        return
    if isinstance(text, Block):
        lines = [
            painted(one, NAMES) + painted(two, style) for one, two in laid_out(text.rows, width())
        ]
        return _write("\n".join([*[""] * text.apart, *lines]))
    plain = printable(text)
    style = style or next((look for begin, look in STYLES.items() if plain.startswith(begin)), "")
    _write(painted(fitted(plain), style))


def laid_out(rows: Sequence[tuple[str, str]], columns: int) -> Iterator[tuple[str, str]]:
    """Yield the lines of a block, each as the part with the name, padded, and the part with the text.

    Args:
        rows: Names and texts, maybe of several lines; long words, such as paths, stay whole.
        columns: Characters of a line.
    """
    indent = max(len(name) for name, _ in rows) + 2
    for name, text in rows:
        wrapped = [
            part for line in printable(text).split("\n") for part in _wrap(line, columns - indent)
        ]
        for number, line in enumerate(wrapped):
            yield f"{name if not number else '':<{indent}}", line


def width() -> int:
    """Count the characters of a line: the terminal's, at most :data:`WIDEST`; :data:`USUAL` without one."""
    return min(WIDEST, shutil.get_terminal_size((USUAL, 24)).columns)


def _wrap(line: str, columns: int, after: str = "") -> list[str]:
    if len(line) <= columns:
        return [line]
    return textwrap.wrap(
        line,
        max(20, columns),
        subsequent_indent=after,
        break_long_words=False,
        break_on_hyphens=False,
    )


def in_lines(text: str, after: int = 0) -> list[str]:
    """Break a line at words into lines of :data:`USUAL` characters, whatever it is written to.

    Args:
        text: The line; long words, such as paths, stay whole.
        after: Characters that the lines after the first begin with.
    """
    return _wrap(text, USUAL, " " * after)


def fitted(text: str, stream: Literal["stdout", "stderr"] = "stdout") -> str:
    """Wrap long lines at words on a terminal; lines in a file stay whole.

    Args:
        text: The lines.
        stream: Name of the stream that they go to.
    """
    if not is_terminal(stream):
        return text
    columns = shutil.get_terminal_size((USUAL, 24)).columns
    return "\n".join(part for line in text.split("\n") for part in _wrap(line, columns, "  "))


def painted(text: str, style: str) -> str:
    """Put a text in a style, if standard output is a terminal with colours and ``NO_COLOR`` is not set.

    Args:
        text: A text that is safe to print.
        style: Style in rich's words; empty for none.
    """
    if not (style and text.strip() and has_colours()):
        return text
    from rich.color import ColorSystem
    from rich.style import Style

    parts = (
        Style.parse(style).render(line, color_system=ColorSystem.STANDARD)
        for line in text.split("\n")
    )
    return "\n".join(parts)


def has_colours() -> bool:
    """Whether standard output is a terminal with colours, which nobody has switched off."""
    if not is_terminal("stdout"):  # the usual case of a log, without importing anything
        return False
    from rich.console import Console

    console = Console(file=sys.stdout)
    return console.is_terminal and console.color_system is not None and not console.no_color


def _write(text: str) -> None:
    from tqdm import tqdm  # the bars are of a subclass, and all are known to it

    tqdm.write(text)


@contextmanager
def muted() -> Iterator[None]:
    """Print nothing within, for runs that are parts of something that prints its own lines."""
    was, _MUTED[0] = _MUTED[0], True
    try:
        yield
    finally:
        _MUTED[0] = was
