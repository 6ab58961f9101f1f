"""Accuracy, macro-F1 and Matthews' correlation, each with a standard error, all offline.

``evaluate.load("accuracy")`` fetches a script from the hub; these classes compute the same figures,
and ``evaluate.combine`` takes them. The standard error is the jackknife's: leaving out one example
changes the confusion matrix by one count, so there are at most K x K different values and the
estimate is exact, fast and without random draws.
"""

from collections.abc import Callable
from typing import Any

import datasets
import evaluate
import numpy as np

Statistic = Callable[[np.ndarray], float]


def confusion(gold: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count labels by prediction, shape ``(classes, classes)``: rows are gold labels, columns predictions."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (gold, predicted), 1)
    return table


def accuracy(table: np.ndarray) -> float:
    """Compute the share of examples on the diagonal."""
    return float(np.trace(table) / table.sum())


def macro_f1(table: np.ndarray) -> float:
    """Compute the mean of the classes' F1; a class that is neither in the gold nor predicted is left out."""
    hits = np.diag(table).astype(float)
    both = table.sum(axis=0) + table.sum(axis=1)
    present = both > 0
    return float((2 * hits[present] / both[present]).mean())


def matthews(table: np.ndarray) -> float:
    """Correlate gold and predicted classes (Gorodkin, 2004); 0 where one of them is constant."""
    n, hits = float(table.sum()), float(np.trace(table))
    gold, predicted = table.sum(axis=1).astype(float), table.sum(axis=0).astype(float)
    spread = (n * n - (predicted**2).sum()) * (n * n - (gold**2).sum())
    return float((n * hits - gold @ predicted) / np.sqrt(spread)) if spread > 0 else 0.0


def jackknife(table: np.ndarray, statistic: Statistic) -> float:
    """Compute the standard error of a statistic of a confusion matrix (Efron & Stein, 1981).

    sqrt((n - 1) / n * sum_i (t_i - mean t)^2), where t_i leaves example i out. NaN for n < 2.
    """
    n = int(table.sum())
    if n < 2:
        return float("nan")
    values, counts = [], []
    for cell in np.argwhere(table):
        less = table.copy()
        less[tuple(cell)] -= 1
        values.append(statistic(less))
        counts.append(table[tuple(cell)])
    left_out, weight = np.asarray(values), np.asarray(counts)
    mean = (left_out * weight).sum() / n
    return float(np.sqrt((n - 1) / n * (weight * (left_out - mean) ** 2).sum()))


class _ConfusionMetric(evaluate.Metric):
    """The parts that the three metrics share: integer labels in, ``{name, name_se}`` out."""

    name_: str
    statistic_: Statistic

    def __init__(self, num_classes: int | None = None, **settings: Any) -> None:
        self.num_classes = num_classes
        super().__init__(keep_in_memory=True, **settings)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=(self.__class__.__doc__ or "").strip(),
            citation="",
            inputs_description="predictions, references: integer class labels",
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        gold, guess = np.asarray(references), np.asarray(predictions)
        classes = self.num_classes or int(max(gold.max(), guess.max())) + 1
        return _figures(confusion(gold, guess, classes), type(self))


class Accuracy(_ConfusionMetric):
    """Share of correct predictions."""

    name_ = "accuracy"
    statistic_ = staticmethod(accuracy)


class MacroF1(_ConfusionMetric):
    """Unweighted mean of the classes' F1."""

    name_ = "macro_f1"
    statistic_ = staticmethod(macro_f1)


class Matthews(_ConfusionMetric):
    """Matthews' correlation coefficient."""

    name_ = "matthews"
    statistic_ = staticmethod(matthews)


def _figures(table: np.ndarray, metric: type[_ConfusionMetric]) -> dict[str, float]:
    name, statistic = metric.name_, metric.statistic_
    return {name: statistic(table), f"{name}_se": jackknife(table, statistic)}


def classification_scores(gold: Any, predicted: Any, classes: int) -> dict[str, float]:
    """Compute the three metrics with their standard errors at once.

    The figures are those of :func:`classification_metrics`, without an Arrow table for each, which took
    longer to write than an epoch of a head on cached states.

    Args:
        gold: Gold class numbers.
        predicted: Predicted class numbers.
        classes: Number of classes.
    """
    table = confusion(np.asarray(gold), np.asarray(predicted), classes)
    found: dict[str, float] = {}
    for metric in (Accuracy, MacroF1, Matthews):
        found |= _figures(table, metric)
    return found


def classification_metrics(num_classes: int) -> Any:
    """Combine the three metrics by ``evaluate.combine``."""
    return evaluate.combine([metric(num_classes) for metric in (Accuracy, MacroF1, Matthews)])
