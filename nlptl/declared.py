"""Values against the types that a configuration declares: YAML's, and the words of a command line."""

from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from nlptl.errors import listed

#: What a type is called in a message.
IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def declared_types(cls: type) -> dict[str, Any]:
    """Name to type of a dataclass's fields."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def from_yaml(value: Any, declared: Any) -> Any:
    """Read what YAML gave as a field's type: ``str``, ``int``, ``float``, ``bool``, ``Path``, a
    ``Literal`` of texts, ``tuple[str, ...]``, or one of these and None.

    Example:
        >>> from_yaml("1e-4", float | None), from_yaml(["a"], tuple[str, ...])
        (0.0001, ('a',))

    Raises:
        ValueError: Saying what was expected.
    """
    base, optional = _base(declared)
    if value is None and optional:
        return None
    if get_origin(base) is Literal:
        # YAML 1.1 reads off as false, and 2.0 as a number.
        word = {False: "off", True: "on"}[value] if isinstance(value, bool) else str(value)
        if word in get_args(base):
            return word
    elif get_origin(base) is tuple:
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
            return tuple(texts)
    elif base is float and not isinstance(value, bool):
        with suppress(TypeError, ValueError, OverflowError):  # YAML 1.1 reads 1e-4 as text
            return float(value)
    elif base is Path and isinstance(value, str):
        return Path(value)
    elif type(value) is base:
        return value
    raise ValueError(expected(base))


def expected(base: Any) -> str:
    """A type in words."""
    if get_origin(base) is Literal:
        return f"one of {listed(get_args(base))}"
    if get_origin(base) is tuple:
        return "a list of texts"
    return IN_WORDS.get(base, "a path")


def _base(declared: Any) -> tuple[Any, bool]:
    """A type without None, and whether None was in it."""
    kinds = get_args(declared)
    if NoneType not in kinds:
        return declared, False
    (base,) = (kind for kind in kinds if kind is not NoneType)
    return base, True
