"""Text classification: texts, or pairs of texts, with one class each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.sources import DataRequest
from nlptl.metrics.statistics import class_counts, macro_f1_of, matthews_of
from nlptl.records import Collate
from nlptl.tasks.base import Task
from nlptl.tasks.options import TextClassificationOptions

#: Metrics that are not means over examples.
COMBINED = {"macro_f1": macro_f1_of, "matthews": matthews_of}


def balanced_weights(labels: Sequence[str], classes: Sequence[str]) -> tuple[float, ...]:
    """Weight classes by n / (K * n_k), so that all count alike (King & Zeng, 2001; scikit-learn).

    Args:
        labels: Class names of the training examples.
        classes: Class names in the order of the weights.
    """
    counts = {name: 0 for name in classes}
    for label in labels:
        counts[label] += 1
    return tuple(len(labels) / (len(classes) * max(1, counts[name])) for name in classes)


@cache
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Copy weights to a device once, because each copy waits for a GPU."""
    return torch.tensor(values, device=device)


@dataclass(frozen=True)
class TextClassification(Task):
    """Classification of texts into any number of classes; with other ``fields``, of pairs of texts.

    A subclass may choose the epoch by another metric: ``selection`` is ``accuracy``, ``macro_f1`` or
    ``matthews``.

    Attributes:
        class_weights: Weight of each class in the loss; None for equal weights.
    """

    class_weights: tuple[float, ...] | None = None

    name: ClassVar[str] = "text-classification"
    not_encoded: ClassVar[tuple[str, ...]] = ("class_weights",)
    options: ClassVar[type] = TextClassificationOptions
    architecture: ClassVar[str | None] = "ForSequenceClassification"

    @classmethod
    def from_run(cls, config: Any, settings: Mapping[str, Any]) -> "Task":
        """Make the task of a finished run, or of a checkpoint alone, whose configuration names the classes."""
        names = tuple(config.id2label[i] for i in range(config.num_labels))
        return super().from_run(config, {"labels": names, **settings})

    def collator(self, tokenizer: Any) -> Collate:
        """Return a function as for every task, with the sum of the labels' weights as ``size``."""
        plain = super().collator(tokenizer)
        if self.class_weights is None:
            return plain
        weights = torch.tensor(self.class_weights)

        def collate(
            rows: Sequence[Mapping[str, Any]], rng: np.random.Generator
        ) -> Mapping[str, Tensor]:
            batch = dict(plain(rows, rng))
            if "labels" in batch:
                labels = batch["labels"]
                batch["size"] = weights[labels[labels >= 0]].sum()
            return batch

        return collate

    def loss(
        self, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, float]:
        """Compute the cross-entropy, weighted by class if asked for; its size is the sum of the weights."""
        logits, labels, weights = outputs["logits"], inputs["labels"], None
        if self.class_weights is not None:
            weights = _on_device(self.class_weights, logits.device)
        return nn.functional.cross_entropy(logits, labels, weights), float(inputs["size"])

    @property
    def linear(self) -> bool:
        """Whether the metric is the mean over examples of one statistic: for accuracy."""
        return self.selection not in COMBINED

    def statistics(self, predictions: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Give 1 for a text that is right and 0 for one that is wrong; for other metrics, counts by class."""
        if self.linear:
            return super().statistics(predictions)
        return class_counts(*self._codes(predictions), len(self.labels))

    def combine(self, sums: np.ndarray) -> Any:
        """Compute accuracy, macro-F1 or Matthews' correlation, as :attr:`selection` says."""
        return super().combine(sums) if self.linear else COMBINED[self.selection](sums)

    def _codes(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[int]]:
        """List the class numbers of gold values and predictions."""
        index = {name: i for i, name in enumerate(self.labels)}
        gold, predicted = (
            [index[record[key]] for record in predictions] for key in ("gold", "prediction")
        )
        return gold, predicted

    def score(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Compute accuracy, macro-F1 and Matthews' correlation."""
        from nlptl.metrics.classification import classification_scores

        return classification_scores(*self._codes(predictions), len(self.labels))

    @classmethod
    def prepare_tables(
        cls, raw: Mapping[str, Any], origin: Mapping[str, Any], request: DataRequest
    ) -> tuple["TextClassification", dict[str, Any], dict[str, Any]]:
        """Check the tables as every task does, and weight the classes if ``class_weights`` says so."""
        task, splits, record = super().prepare_tables(raw, origin, request)
        assert isinstance(task, TextClassification)
        weights = None
        if getattr(request, "class_weights", "none") == "balanced":
            weights = balanced_weights(task.gold(splits["train"]), task.labels)
        task = replace(task, class_weights=weights)
        return task, splits, {**record, "class_weights": weights}
