"""Values in words for messages, what counts as a text, and texts of others made safe to show."""

import unicodedata
from collections.abc import Mapping
from typing import Any

#: Characters that turn the direction of writing: a name could make what follows it read backwards.
TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F}
#: What means something in Markdown or HTML, and how it is written as itself in Markdown.
ESCAPES = {c: f"\\{c}" for c in "\\`*_[]|~$"} | {"<": "&lt;", "&": "&amp;"}


def is_text(value: Any) -> bool:
    """Whether a value is a string with something in it that can be written as UTF-8."""
    return isinstance(value, str) and bool(value.strip()) and can_be_written(value)


def can_be_written(text: str) -> bool:
    r"""Whether UTF-8 has bytes for a string: it has none for half of a pair, such as ``"\ud83d"``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_words(value: Any) -> str:
    """Name the kind of a value from JSON.

    Example:
        >>> in_words("q0"), in_words(None), in_words(["a"]), in_words(True)
        ('a text', 'null', 'a list', 'a truth value')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, str):
        return "a text" if can_be_written(value) else "a text with half of a surrogate pair"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "an object"
    return f"a {type(value).__name__}"


def plain(text: object) -> str:
    """Make one line of printable characters: no control codes of a terminal, no turned writing.

    Args:
        text: Anything from the record.

    Returns:
        The text with white space as single spaces.
    """
    kept = (
        " " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c
        for c in str(text)
        if ord(c) not in TURNING
    )
    return " ".join("".join(kept).split())


def escaped(text: object) -> str:
    """Write a text within a line of Markdown, each character standing for itself."""
    return "".join(ESCAPES.get(c, c) for c in plain(text))


def code(text: object) -> str:
    """Write a text as code within a line of Markdown."""
    return f"`{plain(text).replace('`', chr(39))}`"


def printable(text: object) -> str:
    r"""Replace what would steer a terminal, in each line of a text: control codes, and turns of the writing.

    Example:
        >>> printable("a\x1b[2Jb\nc")
        'a [2Jb\nc'
    """
    lines = str(text).split("\n")
    return "\n".join("".join(_shown(c) for c in line) for line in lines)


def _shown(character: str) -> str:
    steers = unicodedata.category(character) in ("Cc", "Cs") or ord(character) in TURNING
    return " " if steers and character != "\t" else character
