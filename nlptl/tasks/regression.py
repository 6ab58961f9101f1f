"""Regression: a number for a text, or for a pair of texts, such as how alike they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.sources import DataRequest
from nlptl.metrics.statistics import correlation_moments, correlation_of, scored
from nlptl.tasks.base import Task
from nlptl.tasks.options import RegressionOptions

#: Parts of the scale that splits hold equal shares of.
PARTS = 10


@dataclass(frozen=True)
class Regression(Task):
    """Regression of a number on a text or a pair of texts.

    While it trains, the model's output is the number's distance from the training set's mean, in its standard
    deviations: the rates that suit classification suit it then, whatever the unit. The saved model gives the
    numbers in their own unit (:func:`nlptl.train.units.in_own_unit`). The loss is the mean squared error, in
    squared deviations: 1 for a model that always says the mean.

    Attributes:
        mean: Number that an output of 0 stands for.
        deviation: Number that an output of 1 is above it.
    """

    mean: float = 0.0
    deviation: float = 1.0

    name: ClassVar[str] = "regression"
    selection: ClassVar[str] = "spearman"
    version: ClassVar[int] = 2  # the last layer computes in float32 under autocast
    label_dtype: ClassVar[torch.dtype] = torch.float
    options: ClassVar[type] = RegressionOptions

    @property
    def head_fit(self) -> Literal["numbers"]:
        """Kind of the convex fit: a ridge regression."""
        return "numbers"

    def gold_of(self, value: Any) -> float:
        """Return a number as the model's output is to be; nan for a missing one."""
        return (super().gold_of(value) - self.mean) / self.deviation

    def loss(
        self, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, float]:
        """Compute the mean squared error, in squared standard deviations, and the number of examples."""
        loss = nn.functional.mse_loss(outputs["logits"][:, 0], inputs["labels"])
        return loss, float(inputs["size"])

    def decode(self, logits: np.ndarray) -> dict[str, Any]:
        """Decode one text's output: the number, in its own unit."""
        return {"prediction": self.mean + self.deviation * float(logits[0])}

    def statistics(self, predictions: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Give moments of the ranks of gold and predicted numbers, shape ``(examples, 5)``."""
        return correlation_moments(*_sides(predictions), ranked=True)

    def combine(self, sums: np.ndarray) -> Any:
        """Compute Spearman's rank correlation."""
        return correlation_of(sums)

    def score(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Compute Spearman's and Pearson's correlation and the mean absolute error, in the numbers' unit."""
        gold, predicted = _sides(predictions)
        apart = np.abs(gold - predicted)[:, None]
        return {
            **super().score(predictions),
            **scored("pearson", correlation_moments(gold, predicted), correlation_of),
            **scored("mae", apart, lambda means: means[..., 0]),
        }

    def strata(self, table: Any) -> list[int]:
        """List the tenth of the scale that each example's number is in, so that splits hold equal shares."""
        gold = np.asarray(self.gold(table), dtype=float)
        return np.digitize(gold, np.quantile(gold, np.arange(1, PARTS) / PARTS)).tolist()

    @classmethod
    def prepare_tables(
        cls, raw: Mapping[str, Any], origin: Mapping[str, Any], request: DataRequest
    ) -> tuple["Regression", dict[str, Any], dict[str, Any]]:
        """Check the tables as every task does, and measure mean and deviation of the training set."""
        task, splits, record = super().prepare_tables(raw, origin, request)
        assert isinstance(task, Regression)
        gold = np.asarray(task.gold(splits["train"]), dtype=float)
        numbers = {"mean": float(gold.mean()), "deviation": float(gold.std())}
        task = replace(task, mean=numbers["mean"], deviation=numbers["deviation"] or 1.0)
        ends = {"least": float(gold.min()), "most": float(gold.max())}
        return task, splits, {**record, "numbers": {**numbers, **ends}}


def _sides(predictions: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """Return gold and predicted numbers."""
    gold, predicted = ([p[key] for p in predictions] for key in ("gold", "prediction"))
    return np.asarray(gold, dtype=float), np.asarray(predicted, dtype=float)
