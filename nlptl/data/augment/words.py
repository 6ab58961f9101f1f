"""A text as words that can be exchanged, left out and put in, while what stands between them stays."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np


class Word(NamedTuple):
    """A word with what stands around it.

    Attributes:
        text: The word.
        before: White space and opening punctuation before it.
        after: Closing punctuation after it.
        tag: Its label, where each word has one.
    """

    text: str
    before: str = ""
    after: str = ""
    tag: Any = None


def split_words(text: str) -> tuple[list[Word], str]:
    """Cut a text into words: its runs without white space, without punctuation at their ends.

    A text in a script without spaces is one long word.

    Returns:
        The words, and what stands after the last of them.

    Example:
        >>> split_words('A "good" film.')[0][1]
        Word(text='good', before=' "', after='"', tag=None)
    """
    words, rest = [], ""
    for found in re.finditer(r"(\s*)(\S+)", text):
        space, run = found.groups()
        begin, end = 0, len(run)
        while begin < end and _is_mark(run[begin]):
            begin += 1
        while begin < end and _is_mark(run[end - 1]):
            end -= 1
        if begin == end:  # punctuation alone
            rest += space + run
            continue
        words.append(Word(run[begin:end], rest + space + run[:begin], run[end:]))
        rest = ""
    return words, rest + text[len(text.rstrip()) :]


@cache
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def join_words(words: Sequence[Word], rest: str = "") -> str:
    """Put a text together again; the first word has no white space before it that the text did not have."""
    return "".join(part for word in words for part in (word.before, word.text, word.after)) + rest


def tagged_words(words: Sequence[str], tags: Sequence[Any] | None) -> list[Word]:
    """Return the words of a tagged sentence, with a space between them.

    Args:
        words: The words.
        tags: Their tags; None for a sentence without.
    """
    each = [None] * len(words) if tags is None else tags
    return [
        Word(word, " " * (number > 0), "", tag)
        for number, (word, tag) in enumerate(zip(words, each, strict=True))
    ]


def how_many(alpha: float, words: int) -> int:
    """Count the words to change: a share of them, rounded down, and at least one (Wei & Zou, 2019).

    Example:
        >>> how_many(0.1, 25), how_many(0.1, 5), how_many(0.0, 25)
        (2, 1, 0)
    """
    return max(1, int(alpha * words)) if alpha > 0 and words else 0


def some_of(places: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Draw at most so many of some places, without order."""
    return sorted(int(place) for place in rng.permutation(np.asarray(places, int))[:count])


def in_case_of(word: str, like: str) -> str:
    """Write a word in capitals where another one is.

    Example:
        >>> in_case_of("great", "Good"), in_case_of("great", "GOOD"), in_case_of("Paris", "good")
        ('Great', 'GREAT', 'Paris')
    """
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word
