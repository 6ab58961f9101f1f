"""EDA's four operations on the words of a text (Wei & Zou, 2019), without a thesaurus.

Where EDA takes a synonym from WordNet, a function gives near words, such as those with the nearest vectors
in a checkpoint (:mod:`nlptl.models.near_words`). Near in that sense are also opposites ("good", "bad").

With tags, a tag goes along with its word. Words change places only with words of the same tag, and are left
out and put in only within a run of words of one tag, so that the order of tags stays one that the scheme
allows: ``B I I`` may become ``B I``, and never ``I I``.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nlptl.data.augment.words import Word, how_many, in_case_of

#: Function from a word to near words; it gives none for a word that is better left alone.
Near = Callable[[str], Sequence[str]]
#: Attempts to find two words to swap, or a place to put one in.
ATTEMPTS = 10


def eda(words: Sequence[Word], alpha: float, *, rng: np.random.Generator, near: Near) -> list[Word]:
    """Change a text by one of the four operations, drawn at random.

    It departs from the paper in this: near words stand in place of synonyms, and the text keeps its capitals
    and punctuation.

    Args:
        words: Words of the text.
        alpha: Share of the words that change, at least one; with 0 nothing does.
        rng: Generator of the draws.
        near: Near words of a word.

    Returns:
        The new words; where nothing could be changed, the old ones.
    """
    if not words or alpha <= 0:
        return list(words)
    operation = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
    return operation(words, alpha, rng, near)


def replace(
    words: Sequence[Word], alpha: float, rng: np.random.Generator, near: Near
) -> list[Word]:
    """Replace words by near words."""
    made = list(words)
    left = how_many(alpha, len(words))
    for place, found in _with_near(words, rng, near):
        if not left:
            break
        own = made[place]
        made[place] = own._replace(text=in_case_of(_one_of(found, rng), own.text))
        left -= 1
    return made


def insert(words: Sequence[Word], alpha: float, rng: np.random.Generator, near: Near) -> list[Word]:
    """Put near words of random words after other random words."""
    made = list(words)
    for _ in range(how_many(alpha, len(words))):
        found = next((found for _, found in _with_near(made, rng, near)), None)
        places = [place for place in range(len(made)) if _within_run(made, place)]
        if found is None or not places:
            break
        place = int(rng.choice(places))
        own = made[place]
        made[place] = own._replace(after="")
        made.insert(place + 1, Word(_one_of(found, rng), " ", own.after, own.tag))
    return made


def swap(words: Sequence[Word], alpha: float, rng: np.random.Generator, near: Near) -> list[Word]:
    """Let pairs of words change places; the punctuation stays where it is."""
    made = list(words)
    for _ in range(how_many(alpha, len(words))):
        for _ in range(ATTEMPTS):
            one, two = (int(place) for place in rng.integers(len(made), size=2))
            if made[one].tag == made[two].tag and made[one].text != made[two].text:
                text = made[one].text
                made[one] = made[one]._replace(text=made[two].text)
                made[two] = made[two]._replace(text=text)
                break
    return made


def delete(words: Sequence[Word], alpha: float, rng: np.random.Generator, near: Near) -> list[Word]:
    """Leave out each word with a probability of ``alpha``; of a text one word stays in any case."""
    draws = rng.random(len(words))
    kept = int(draws.argmax())
    made: list[Word] = []
    for place, word in enumerate(words):
        # In a run that is left, the word before is in the new text, or the next one comes.
        if draws[place] < alpha and place != kept and _within_run(words, place, made):
            continue
        made.append(word if made else word._replace(before=words[0].before))
    return made


#: The operations, each with a function of words, share, generator and near words.
OPERATIONS = (replace, insert, swap, delete)


def _with_near(
    words: Sequence[Word], rng: np.random.Generator, near: Near
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield places in random order with the near words of each, as far as there are any."""
    for place in rng.permutation(len(words)):
        if found := near(words[place].text):
            yield int(place), found


def _one_of(found: Sequence[str], rng: np.random.Generator) -> str:
    return found[int(rng.integers(len(found)))]


def _within_run(words: Sequence[Word], place: int, made: Sequence[Word] | None = None) -> bool:
    """Whether a word has a neighbour with the same tag; without tags all have.

    Args:
        words: The words.
        place: Number of the word.
        made: Words that are kept of those before it, where some are left out; None for all.
    """
    own = words[place].tag
    if own is None:
        return True
    before = words[:place] if made is None else made
    after = words[place + 1 : place + 2]
    return any(word.tag == own for word in (*before[-1:], *after))
