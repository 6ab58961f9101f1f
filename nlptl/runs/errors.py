"""What a run gets wrong: pure functions of its predictions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from nlptl.data.rows import beside
from nlptl.metrics.calibration import reliability
from nlptl.metrics.classification import confusion as count_confusion

Prediction = Mapping[str, Any]
#: What a mistake is measured by; its column in a list of mistakes.
Measure = Literal["confidence", "error", "wrong_words"]


def confusion(predictions: Sequence[Prediction], labels: Sequence[str]) -> np.ndarray:
    """Count the examples of each gold class by the class that is predicted.

    Lists with one class a word count word by word. Examples whose gold class is unknown do not count.

    Args:
        predictions: Records with ``gold`` and ``prediction``.
        labels: Names of the classes.

    Returns:
        Counts, shape ``(classes, classes)``: rows are gold classes, columns predicted ones, as in ``labels``.
    """
    index = {name: number for number, name in enumerate(labels)}
    pairs = [
        (index[gold], index[guess])
        for record in predictions
        for gold, guess in _decisions(record)
        if gold in index and guess in index
    ]
    gold, guess = np.asarray(pairs, int).reshape(-1, 2).T
    return count_confusion(gold, guess, len(labels))


def _decisions(record: Prediction) -> list[tuple[str, str]]:
    """List gold and predicted class of an example or of each word; none of several labels at once."""
    gold, guess = record["gold"], record["prediction"]
    several = isinstance(record.get("scores"), Mapping) and isinstance(gold, list)
    both = isinstance(gold, list) and isinstance(guess, list) and not several
    pairs: Any = zip(gold, guess, strict=False) if both else [(gold, guess)]
    return [pair for pair in pairs if all(isinstance(name, str) for name in pair)]


def frequent_confusions(
    predictions: Sequence[Prediction], n: int = 15
) -> list[tuple[str, str, int]]:
    """List the most frequent mistakes: gold class, predicted class, number of examples."""
    pairs = Counter(
        pair for record in predictions for pair in _decisions(record) if pair[0] != pair[1]
    )
    most = sorted(pairs.items(), key=lambda item: (-item[1], str(item[0])))
    return [(gold, guess, count) for (gold, guess), count in most[:n]]


def is_wrong(record: Prediction) -> bool:
    """Whether a prediction is not what the gold value says; an answer must be one of several gold texts."""
    gold, guess = record["gold"], record["prediction"]
    if gold is None:
        return False
    if isinstance(gold, list) and isinstance(guess, str):  # an answer
        return guess not in gold if gold else guess != ""
    if "scores" in record and isinstance(gold, list):  # several labels, in any order
        return set(gold) != set(guess)
    return gold != guess


def confidence_of(record: Prediction) -> float | None:
    """Return how sure a model is of its prediction; None where its record does not say.

    For a class or an answer it is its probability, for several labels the mean over the labels of the
    probability of what is said of each.
    """
    scores, guess = record.get("scores"), record["prediction"]
    if not scores:
        return None
    if isinstance(guess, list):
        each = [p if name in guess else 1 - p for name, p in scores.items()]
        return float(np.mean(each))
    if guess in scores:
        return float(scores[guess])
    name = "answer" if guess else "none"
    return float(scores[name]) if name in scores else None


def measured(record: Prediction) -> tuple[Measure, float | None]:
    """Say by what a mistake is measured, and how large it is.

    Returns:
        For numbers ``error``, the prediction minus the gold value; for tags ``wrong_words``, the number of
        words whose tag is wrong; else ``confidence``, which is None where the record does not say it.
    """
    gold, guess = record["gold"], record["prediction"]
    if isinstance(gold, int | float) and isinstance(guess, int | float):
        return "error", guess - gold
    if isinstance(gold, list) and isinstance(guess, list) and not record.get("scores"):
        return "wrong_words", sum(a != b for a, b in zip(gold, guess, strict=False))
    return "confidence", confidence_of(record)


def size_of_error(record: Prediction) -> float:
    """Say how bad a mistake is: the distance of numbers, the number of wrong words, else the confidence."""
    return abs(measured(record)[1] or 0.0)


def most_confident_mistakes(predictions: Sequence[Prediction], n: int = 20) -> list[dict[str, Any]]:
    """List the mistakes that the model is surest of, which often show wrong labels.

    Of numbers the largest errors come first, of tags the sentences with the most wrong words.

    Args:
        predictions: Records with ``gold`` and ``prediction``.
        n: Most mistakes to list.

    Returns:
        Copies of the records with what :func:`measured` says under its name; a column of that name is called
        ``<name>_in_file``.
    """
    return [_with_size(record) for record in worst(predictions, n)]


def worst(predictions: Sequence[Prediction], n: int = 20) -> list[Prediction]:
    """List the records of the largest mistakes, as :func:`most_confident_mistakes` orders them."""
    wrong = [record for record in predictions if is_wrong(record)]
    wrong.sort(key=size_of_error, reverse=True)
    return wrong[:n]


def _with_size(record: Prediction) -> dict[str, Any]:
    name, size = measured(record)
    return {**dict(zip(beside([*record], [name]), record.values(), strict=True)), name: size}


def calibration(predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """Compare confidence with being right (:func:`nlptl.metrics.calibration.reliability`).

    For a class, one pair an example; for several labels, one for each label that is said or not.

    Returns:
        None where predictions are no classes with probabilities.
    """
    sure: list[float] = []
    right: list[bool] = []
    for record in predictions:
        gold, guess, scores = record["gold"], record["prediction"], record.get("scores")
        if gold is None or not scores:
            continue
        if isinstance(guess, list) and isinstance(gold, list):
            sure += [p if name in guess else 1 - p for name, p in scores.items()]
            right += [(name in guess) == (name in gold) for name in scores]
        elif guess in scores and isinstance(gold, str):
            sure.append(scores[guess])
            right.append(gold == guess)
    return reliability(sure, right) if sure else None
