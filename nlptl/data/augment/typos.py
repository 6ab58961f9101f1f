"""Slips of the keyboard: natural noise of single characters (Belinkov & Bisk, 2018)."""

from collections.abc import Sequence

import numpy as np

from nlptl.data.augment.words import Word, how_many, some_of

#: Keys beside each key of an English keyboard.
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
#: Fewest letters of a word that gets a slip, of which the first and the last stay.
LETTERS = 4


def _neighbours() -> dict[str, str]:
    found: dict[str, str] = {}
    for line, row in enumerate(ROWS):
        for place, key in enumerate(row):
            beside = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            above = ROWS[line - 1][place : place + 2] if line else ""
            below = ROWS[line + 1][max(0, place - 1) : place + 1] if line + 1 < len(ROWS) else ""
            found[key] = beside + above + below
    return found


NEIGHBOURS = _neighbours()


def typos(words: Sequence[Word], alpha: float, *, rng: np.random.Generator) -> list[Word]:
    """Put one slip each into some words of at least :data:`LETTERS` letters.

    A slip swaps two letters, leaves one out, doubles one or hits the key beside one, each with the same
    probability; the first and the last letter stay (Belinkov & Bisk, 2018, section 4.2). A letter that the
    keyboard does not have is doubled.

    Args:
        words: Words of the text.
        alpha: Share of the words, at least one; with 0 nothing changes.
        rng: Generator of the draws.

    Returns:
        The new words, with the same tags.
    """
    long = [n for n, word in enumerate(words) if sum(map(str.isalpha, word.text)) >= LETTERS]
    made = list(words)
    for place in some_of(long, how_many(alpha, len(words)), rng):
        made[place] = words[place]._replace(text=with_slip(words[place].text, rng))
    return made


def with_slip(word: str, rng: np.random.Generator) -> str:
    """Put one slip into the inside of a word."""
    place = int(rng.integers(1, len(word) - 1))
    slip = int(rng.integers(4))
    own, head, tail = word[place], word[:place], word[place + 1 :]
    if slip == 0:
        other = place + 1 if place + 2 < len(word) else place - 1
        first, second = sorted((place, other))
        if first > 0:
            return word[:first] + word[second] + word[first] + word[second + 1 :]
    if slip == 1:
        return head + tail
    near = NEIGHBOURS.get(own.lower(), "")
    if slip == 2 or not near:
        return head + own + own + tail
    hit = near[int(rng.integers(len(near)))]
    return head + (hit.upper() if own.isupper() else hit) + tail
