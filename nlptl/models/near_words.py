"""Near words: the neighbours of a word among a checkpoint's word vectors, which stand in for a thesaurus."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nlptl.errors import ConfigError
from nlptl.models.tokenizer import word_tokens

#: Neighbours of a word, and the letters that it has at least.
NEIGHBOURS, LETTERS = 5, 3
#: Fewest whole words of a vocabulary that has words.
WORDS = 200
#: Words whose similarities are held at a time.
CHUNK = 512


def near_words(name: str, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Find the neighbours of words among the input embeddings of a checkpoint's whole words.

    Vectors are compared by their cosine after their mean is taken away, which all share and which says
    nothing (Mu & Viswanath, 2018). English function words, such as "the" and "not", have no near words, as in
    EDA (Wei & Zou, 2019); a word that is no token of the vocabulary has none either.

    Args:
        name: The checkpoint.
        words: Words in any case.

    Returns:
        Mapping from words in small letters to their nearest ones, the nearest first; words without any are not
        in it.

    Raises:
        ConfigError: If the vocabulary has no words, as of a checkpoint that reads bytes.
    """
    from transformers import AutoModel

    from nlptl.models.loading import load_with_head

    loaded = load_with_head(name, auto_class=AutoModel, head={}, pooling=None)
    known = check_words(name, loaded.tokenizer)
    table = loaded.model.get_input_embeddings().weight.detach().float().numpy()
    return nearest(table, known, words)


def check_words(name: str, tokenizer: Any) -> dict[int, str]:
    """Return the words of a vocabulary, by the numbers of their tokens (:func:`word_tokens`).

    Args:
        name: The checkpoint.
        tokenizer: Its tokenizer.

    Raises:
        ConfigError: If there are hardly any.
    """
    known = word_tokens(tokenizer)
    if len(known) < WORDS:
        raise ConfigError(
            f"--augment eda: the vocabulary of {name} has {len(known):,} whole words; expected {WORDS} or "
            "more to find near words among. Take typos, or mlm."
        )
    return known


def nearest(
    table: np.ndarray, known: dict[int, str], words: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Find the nearest of known words for each word; see :func:`near_words`.

    Args:
        table: Vectors, shape ``(vocabulary, width)``.
        known: Numbers of the tokens that are words, and the words.
        words: Words in any case.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    places: dict[str, int] = {}
    for token, word in known.items():
        if len(word) >= LETTERS and word.lower() not in ENGLISH_STOP_WORDS:
            places.setdefault(word.lower(), token)
    names = list(places)
    vectors = table[list(places.values())].astype(np.float64)
    vectors -= vectors.mean(0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    number = {word: row for row, word in enumerate(names)}
    asked = sorted({word.lower() for word in words} & set(names))
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(asked), CHUNK):
        part = asked[start : start + CHUNK]
        own = [number[word] for word in part]
        likeness = vectors[own] @ vectors.T
        likeness[np.arange(len(own)), own] = -np.inf  # itself
        order = np.argsort(-likeness, axis=1, kind="stable")[:, :NEIGHBOURS]
        for word, row in zip(part, order, strict=True):
            found[word] = tuple(names[int(place)] for place in row if names[int(place)] != word)
    return found


def as_near(found: dict[str, tuple[str, ...]]) -> Any:
    """Return the function from a word in any case to its near words."""

    def near(word: str) -> Sequence[str]:
        return found.get(word.lower(), ())

    return near
