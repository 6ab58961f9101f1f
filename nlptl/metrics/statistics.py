"""Scores as contributions of the examples, and functions that combine the contributions.

``statistics`` has shape ``(examples, k)``, float64; a score is a function of its (weighted) mean over
examples, shape ``(…, k)`` in and ``(…)`` out. So the bootstrap, a comparison and a standard error need
nothing else of a metric: accuracy is the mean itself, F1 a ratio of sums, a correlation a function of moments.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

Combine = Callable[[np.ndarray], Any]
#: Variances and spreads below this are rounding.
NOTHING = 1e-12
#: Least values of the known scores, of which 1 is the most.
LEAST = {
    **dict.fromkeys(("accuracy", "macro_f1", "micro_f1", "entity_f1", "f1", "exact_match"), 0.0),
    **dict.fromkeys(("matthews", "pearson", "spearman"), -1.0),
}


def within_range(name: str, interval: Sequence[float]) -> list[float]:
    """Cut an interval of a score to what the score can be: with few seeds Student's t goes beyond.

    Args:
        name: Name of the metric; of an unknown one the least value is not known.
        interval: Its ends, where 1 is the score if all is right.

    Example:
        >>> within_range("accuracy", [-0.1, 1.2]), within_range("matthews", [-0.1, 1.2])
        ([0.0, 1.0], [-0.1, 1.0])
    """
    least = LEAST.get(name, float("-inf"))
    return [min(max(end, least), 1.0) for end in interval]


def jackknife_error(statistics: np.ndarray, combine: Combine) -> float:
    """Compute the standard error of a score (Efron & Stein, 1981).

    sqrt((n - 1) / n * sum_i (t_i - mean t)^2), where t_i leaves example i out. NaN for n < 2.

    Args:
        statistics: Contributions of the examples, shape ``(n, k)``.
        combine: Function from means, shape ``(…, k)``, to scores, shape ``(…)``.
    """
    n = len(statistics)
    if n < 2:
        return float("nan")
    left_out = np.asarray(combine((statistics.sum(axis=0) - statistics) / (n - 1)))
    return float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))


def scored(
    name: str, statistics: np.ndarray, combine: Combine, *, scale: float = 1.0
) -> dict[str, float]:
    """Return a score and its standard error (:func:`jackknife_error`), ``{name, name_se}``, scaled."""
    value = float(combine(statistics.mean(axis=0)))
    return {name: scale * value, f"{name}_se": scale * jackknife_error(statistics, combine)}


def _one_hot(codes: np.ndarray, classes: int) -> np.ndarray:
    return (codes[:, None] == np.arange(classes)).astype(float)


def class_counts(gold: Sequence[int], predicted: Sequence[int], classes: int) -> np.ndarray:
    """Count contributions to :func:`macro_f1_of` and :func:`matthews_of`, shape ``(n, 3 * classes)``.

    They are three numbers for each class: whether the example is of this class and predicted as such, whether
    it is of this class, and whether it is predicted as such.

    Args:
        gold: Gold class numbers.
        predicted: Predicted class numbers.
        classes: Number of classes.
    """
    ours, theirs = (_one_hot(np.asarray(codes), classes) for codes in (gold, predicted))
    return np.concatenate([ours * theirs, ours, theirs], axis=1)


def macro_f1_of(sums: np.ndarray) -> Any:
    """Compute the mean of the classes' F1; a class that is neither in the gold nor predicted is left out."""
    hits, gold, predicted = np.split(sums, 3, axis=-1)
    both = gold + predicted
    present = both > 0
    each = np.divide(2 * hits, both, out=np.zeros_like(both), where=present)
    return each.sum(axis=-1) / np.maximum(1, present.sum(axis=-1))


def matthews_of(sums: np.ndarray) -> Any:
    """Correlate gold and predicted classes (Gorodkin, 2004); 0 where one of them is constant."""
    hits, gold, predicted = np.split(sums, 3, axis=-1)
    covariance = hits.sum(axis=-1) - (gold * predicted).sum(axis=-1)
    spread = (1 - (gold**2).sum(axis=-1)) * (1 - (predicted**2).sum(axis=-1))
    return _ratio(covariance, np.sqrt(np.maximum(spread, 0)))


def _ratio(above: Any, below: Any) -> Any:
    """Divide two arrays; 0 where the divisor is 0."""
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    return np.divide(above, below, out=np.zeros_like(above), where=below > NOTHING)


def correlation_moments(
    gold: Sequence[float], predicted: Sequence[float], *, ranked: bool = False
) -> np.ndarray:
    """Compute contributions to :func:`correlation_of`, shape ``(n, 5)``: values, squares and product.

    Args:
        gold: Gold numbers.
        predicted: Predicted numbers.
        ranked: Whether to take the values' ranks within the whole set, which makes Pearson's correlation
            Spearman's.
            Ranks stay as they are when an example is left out or drawn twice.
    """
    pair = []
    for values in (gold, predicted):
        numbers = np.asarray(values, dtype=float)
        if ranked:
            numbers = ranks(numbers)
        numbers = numbers - numbers.mean()  # a correlation does not depend on place and scale
        pair.append(numbers / (numbers.std() or 1.0))
    x, y = pair
    return np.stack([x, y, x * x, y * y, x * y], axis=1)


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank values from 0; equal values get their mean rank."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[codes]


def correlation_of(sums: np.ndarray) -> Any:
    """Compute Pearson's correlation from :func:`correlation_moments`; 0 where one side is constant."""
    x, y, xx, yy, xy = np.moveaxis(np.asarray(sums), -1, 0)
    spread = np.maximum(xx - x * x, 0) * np.maximum(yy - y * y, 0)
    return _ratio(xy - x * y, np.sqrt(spread))


def label_counts(
    gold: Sequence[Collection[Any]], predicted: Sequence[Collection[Any]]
) -> np.ndarray:
    """Count contributions to :func:`micro_f1_of`, shape ``(n, 3)``: common, gold and predicted labels."""
    both = [(set(g), set(p)) for g, p in zip(gold, predicted, strict=True)]
    return np.asarray([[len(g & p), len(g), len(p)] for g, p in both], dtype=float).reshape(-1, 3)


def micro_f1_of(sums: np.ndarray) -> Any:
    """Compute F1 over all labels of all examples; 0 where there are none at all."""
    common, gold, predicted = np.moveaxis(np.asarray(sums), -1, 0)
    return _ratio(2 * common, gold + predicted)


def labels_by_name(
    gold: Sequence[Collection[Any]], predicted: Sequence[Collection[Any]], labels: Sequence[Any]
) -> np.ndarray:
    """Count contributions to :func:`macro_f1_of` of several labels each, shape ``(n, 3 * labels)``.

    Args:
        gold: Gold labels of each example.
        predicted: Predicted labels of each example.
        labels: Names of all labels.
    """
    ours, theirs = (
        np.asarray([[name in each for name in labels] for each in part], dtype=float)
        for part in (gold, predicted)
    )
    return np.concatenate([ours * theirs, ours, theirs], axis=1)


def example_f1(gold: Sequence[Collection[Any]], predicted: Sequence[Collection[Any]]) -> np.ndarray:
    """Compute F1 of each example's labels, shape ``(n, 1)``; 1 where there are none and none is predicted."""
    common, ours, theirs = label_counts(gold, predicted).T
    empty = ours + theirs == 0
    return np.where(empty, 1.0, 2 * common / np.where(empty, 1, ours + theirs))[:, None]


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Find the entities of a sentence in BIO: their kind, first word and last word, as ``conlleval`` does.

    An entity begins at ``B-``, and also at an ``I-`` that continues none of its kind.

    Example:
        >>> sorted(entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
        [('LOC', 3, 3), ('LOC', 4, 4), ('PER', 0, 1)]
    """
    found: set[tuple[str, int, int]] = set()
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        mark, _, own = tag.partition("-")
        if kind and (mark != "I" or own != kind):
            found.add((kind, start, place - 1))
            kind = ""
        if mark in ("B", "I") and not kind:
            kind, start = own, place
    return found


def entity_counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> np.ndarray:
    """Count each sentence's contributions to :func:`micro_f1_of`, which makes it the F1 of whole entities.

    An entity counts as found if kind, first and last word agree (Tjong Kim Sang & De Meulder, 2003). Words
    that were cut off, after the last tag that was predicted, have no entity.
    """
    return label_counts([entities(tags) for tags in gold], [entities(tags) for tags in predicted])


#: Marks of other writings of a tag, by that of BIOES: BILOU's last and unit word, BMES' middle one.
MARKS = {"L": "E", "U": "S", "M": "I"}


def split_tag(tag: str) -> tuple[str, str]:
    """Return the mark of a tag (B, I, O, E or S) and the kind of its entity.

    Example:
        >>> split_tag("B-PER"), split_tag("U-LOC"), split_tag("O")
        (('B', 'PER'), ('S', 'LOC'), ('O', ''))
    """
    mark, _, kind = tag.partition("-")
    return MARKS.get(mark, mark), kind


def strict_entities(tags: Sequence[str], *, closed: bool = False) -> set[tuple[str, int, int]]:
    """Find the entities that a sentence's tags write without a mistake, as seqeval's strict mode does.

    An entity begins at ``B-`` (or is an ``S-``) and goes on through each ``I-`` of its kind; an ``I-`` that
    continues nothing is no entity. Where the tags mark ends too, it has to end at an ``E-`` of its kind.

    Args:
        tags: Tags of a sentence's words.
        closed: Whether the tags mark ends (BIOES, BILOU), and not beginnings alone (BIO).

    Returns:
        Kind, first and last word of each entity.

    Example:
        >>> sorted(strict_entities(["I-PER", "B-PER", "I-PER", "I-LOC"]))
        [('PER', 1, 2)]
    """
    found: set[tuple[str, int, int]] = set()
    marks = [*map(split_tag, tags), ("O", "")]
    for start, (mark, kind) in enumerate(marks):
        if mark == "S":
            found.add((kind, start, start))
        if mark != "B":
            continue
        end = start
        while marks[end + 1] == ("I", kind):
            end += 1
        if closed and marks[end + 1] == ("E", kind):
            found.add((kind, start, end + 1))
        elif not closed:
            found.add((kind, start, end))
    return found


def marks_ends(labels: Collection[str]) -> bool:
    """Whether a set of tags marks the ends of entities (BIOES, BILOU) and not their beginnings alone."""
    return bool({"E", "S"} & {split_tag(tag)[0] for tag in labels if "-" in tag})


def strict_entity_counts(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, closed: bool = False
) -> np.ndarray:
    """Count each sentence's contributions to :func:`micro_f1_of` of whole entities, strictly read.

    An entity counts as found if kind, first and last word agree (Tjong Kim Sang & De Meulder, 2003).

    Args:
        gold: Gold tags of each sentence.
        predicted: Predicted tags of each sentence.
        closed: Whether the tags mark ends, see :func:`strict_entities`.
    """
    both = ([strict_entities(tags, closed=closed) for tags in part] for part in (gold, predicted))
    return label_counts(*both)


def word_counts(gold: Sequence[Sequence[Any]], predicted: Sequence[Sequence[Any]]) -> np.ndarray:
    """Count contributions to :func:`share_of`, shape ``(n, 2)``: words that are right, and all words."""
    rows = [
        [sum(g == p for g, p in zip(ours, theirs, strict=False)), len(ours)]
        for ours, theirs in zip(gold, predicted, strict=True)
    ]
    return np.asarray(rows, dtype=float).reshape(-1, 2)


def share_of(sums: np.ndarray) -> Any:
    """Compute the share of the words that are right; 0 where there are none."""
    right, words = np.moveaxis(np.asarray(sums), -1, 0)
    return _ratio(right, words)


def most_frequent(values: Sequence[Any]) -> Any:
    """Return the most frequent value, or of several the first in order; lists are values too."""
    keys = [json.dumps(value) if isinstance(value, list) else value for value in values]
    counts = Counter(keys)
    return values[keys.index(min(counts, key=lambda key: (-counts[key], key)))]
