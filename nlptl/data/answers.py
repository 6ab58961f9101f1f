"""Answers as SQuAD files, tables and spreadsheets write them, read into texts and offsets."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from nlptl.data.text import can_be_written, in_words
from nlptl.data.written import WHOLE, read_written
from nlptl.errors import listed, many, shortened

#: Words for a truth value, in lower case.
WORDS = {
    **dict.fromkeys(("true", "yes", "t", "y", "1"), True),
    **dict.fromkeys(("false", "no", "f", "n", "0"), False),
}
EXPECTED = "expected a list of {text, answer_start}"
#: Offsets beyond this are no characters of a passage, and arrow cannot hold them.
FARTHEST = 2**53

#: Texts of the answers to a question, and the offset of each; None where it is not given.
Answers = tuple[list[str], list[int | None]]


def truth_of(value: Any, *, cell: bool = False) -> bool | None:
    """Read a truth value in the usual writings; None if it is not given.

    Args:
        value: true or false, 0 or 1, or a word for them.
        cell: Whether it is from a table, where a cell with nothing in it is one that is not given.

    Example:
        >>> truth_of("False"), truth_of(1), truth_of(None), truth_of("", cell=True)
        (False, True, None, None)

    Raises:
        ValueError: For anything else, such as nan, which is true in Python.
    """
    if value is None or (cell and isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in WORDS:
        return WORDS[value.strip().lower()]
    raise ValueError(f"is {shortened(repr(value), 40)}; expected true or false")


def answers_of(value: Any) -> Answers:
    """Read the answers of a question in SQuAD's json: a list of objects, one object, or an object of lists.

    A question without an answer has an empty list, null, or only blank texts.

    Raises:
        ValueError: For any other form; the message goes on after "answers of question q0".
    """
    if value is None:
        return [], []
    each = [value] if isinstance(value, Mapping) else value
    if not isinstance(each, list | tuple):
        raise ValueError(f"is {in_words(value)}; {EXPECTED}")
    texts: list[Any] = []
    starts: list[Any] = []
    for answer in each:
        if not isinstance(answer, Mapping):
            raise ValueError(f"is a list with {in_words(answer)} in it; {EXPECTED}")
        if "text" not in answer:
            raise ValueError(f"has an object with {_keys(answer)}; {EXPECTED}")
        own, begins = answer["text"], answer.get("answer_start")
        if isinstance(own, list | tuple):
            begins = [] if begins is None and not own else begins
            if not isinstance(begins, list | tuple) or len(begins) != len(own):
                found = len(begins) if isinstance(begins, list | tuple) else in_words(begins)
                raise ValueError(
                    f"has {many(len(own), 'text')} and {found} as answer_start; {EXPECTED}"
                )
            texts, starts = [*texts, *own], [*starts, *begins]
        elif own is not None or begins is not None:
            texts, starts = [*texts, own], [*starts, begins]
    return _checked(texts, starts, needed=True)


def answers_in_cell(
    value: Any, starts: Any = None, *, beside: bool = False, passage: str = ""
) -> Answers:
    """Read the answers of a question in a table: as in json, or plain texts, or json or Python in a cell.

    What stands in the passage just as in the cell is a text, also ``[1]``. A blank cell, null or nan has no
    answer. What stands in a cell as ``{'text': array(['Ada'], dtype=object), …}`` is what pandas writes of a
    data set; it is read, and never run.

    Args:
        value: The cell of the answers.
        starts: The cell of the offsets.
        beside: Whether there is such a cell.
        passage: The passage, which tells a text from what writes a list.

    Raises:
        ValueError: For any other form; the message says what was found.
    """
    if isinstance(value, str) and value.strip()[:1] in ("{", "[") and not _quotes(value, passage):
        value = _written(value)
    if isinstance(value, float) and math.isnan(value):
        value = None
    if isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value)
    ):
        return answers_of(value)
    texts = [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
    texts = [_as_text(one) for one in texts]
    if isinstance(starts, str) and starts.strip()[:1] == "[":
        starts = _written(starts)
    given = list(starts) if isinstance(starts, list | tuple) else [starts] * min(1, len(texts))
    if beside and len(given) != len(texts) and any(str(text or "").strip() for text in texts):
        raise ValueError(
            f"has {many(len(texts), 'text')} and {many(len(given), 'offset')}; expected as many"
        )
    return _checked(texts, given if beside else [None] * len(texts), needed=False)


def _quotes(cell: str, passage: Any) -> bool:
    """Whether a cell has words or numbers and stands in the passage; an empty list is no answer."""
    return isinstance(passage, str) and cell in passage and any(map(str.isalnum, cell))


def _as_text(value: Any) -> Any:
    """Return a number from a spreadsheet as it was typed; anything else as it is."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if number else value


def _checked(texts: Sequence[Any], starts: Sequence[Any], *, needed: bool) -> Answers:
    """Check texts and offsets; only blank texts are no answer.

    Args:
        texts: What should be texts.
        starts: What should be offsets, as many.
        needed: Whether a text needs an offset.
    """
    for text in texts:
        if text is not None and not (isinstance(text, str) and can_be_written(text)):
            raise ValueError(f"has {in_words(text)} as a text; {EXPECTED}")
    if all(text is None or not text.strip() for text in texts):
        return [], []
    if any(text is None or not text.strip() for text in texts):
        raise ValueError(f"has an empty text beside others; {EXPECTED}")
    offsets = [_offset(start) for start in starts]
    if needed and None in offsets:
        raise ValueError(f"has a text without answer_start; {EXPECTED}")
    return list(texts), offsets


def _offset(value: Any) -> int | None:
    """Read an offset: a whole number, also as a float or in digits; None if it is not given."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        if not value.strip():
            return None
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):  # noqa: SIM102
        if abs(value) < FARTHEST and value == int(value):
            return int(value)
    raise ValueError(
        f"has {shortened(repr(value), 40)} as answer_start; expected a whole number of characters"
    )


def _keys(thing: Mapping[Any, Any]) -> str:
    names = [shortened(str(key), 40) for key in thing]
    return f"the fields {listed(names, 5)}" if thing else "no fields"


def _written(cell: str) -> Any:
    """Read a cell that begins as a list or an object does; a plain text stays as it is.

    Raises:
        ValueError: If it names ``answer_start`` and is no whole object, or numpy left out items of it.
    """
    try:
        value = read_written(cell)
    except ValueError:
        if "answer_start" in cell:
            raise ValueError(
                f"is {shortened(repr(cell), 80)}, which is no whole object; {EXPECTED}"
            ) from None
        return cell
    if not isinstance(value, Mapping) and ... in value:
        raise ValueError(f"is {shortened(repr(cell), 80)}; {WHOLE}")
    fits = isinstance(value, Mapping) or all(
        isinstance(one, str | int | float | Mapping) for one in value
    )
    return value if fits else cell
