"""Values in words for messages, and what counts as a text."""

from collections.abc import Mapping
from typing import Any


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
