"""Multi-label classification: texts, or pairs of texts, with any number of labels each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.columns import find_column, values_of
from nlptl.data.label_lists import with_indicators, with_label_columns, with_lists
from nlptl.data.sources import DataRequest
from nlptl.data.text import in_words
from nlptl.errors import DataError, UserError, shortened
from nlptl.metrics.statistics import (
    label_counts,
    labels_by_name,
    macro_f1_of,
    micro_f1_of,
    scored,
)
from nlptl.tasks.base import Task
from nlptl.tasks.options import MultiLabelOptions
from nlptl.tasks.preparing import kind_record

#: Thresholds that are tried on validation data, in the order in which they are taken of equally good ones.
THRESHOLDS = tuple(
    sorted((round(0.01 * step, 2) for step in range(5, 96)), key=lambda t: abs(t - 0.5))
)


@dataclass(frozen=True)
class MultiLabelClassification(Task):
    """Classification of texts or pairs of texts with any number of labels each, also none.

    Each label is a question of its own, answered yes or no: the loss is the mean binary cross-entropy over all
    of them, as that of Hugging Face's heads with ``problem_type="multi_label_classification"``.

    Attributes:
        threshold: Probability from which on a label is given; None for one that is chosen on validation data.
    """

    threshold: float | None = None

    name: ClassVar[str] = "multi-label-classification"
    selection: ClassVar[str] = "micro_f1"
    label_dtype: ClassVar[torch.dtype] = torch.float
    not_encoded: ClassVar[tuple[str, ...]] = ("threshold",)
    options: ClassVar[type] = MultiLabelOptions

    @property
    def calibrates(self) -> bool:  # type: ignore[override]
        """Whether the threshold is chosen on validation data."""
        return self.threshold is None

    @property
    def head_fit(self) -> Literal["labels"]:
        """Kind of the convex fit: a logistic regression for each label."""
        return "labels"

    def gold_of(self, value: Any) -> list[float]:
        """Return a one for each label that a list has, and a zero for every other."""
        return [float(name in value) for name in self.labels]

    def loss(
        self, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, float]:
        """Compute the mean binary cross-entropy over labels and examples, and the number of examples."""
        logits, labels = outputs["logits"], inputs["labels"]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        return loss, float(inputs["size"])

    def decode(self, logits: np.ndarray) -> dict[str, Any]:
        """Decode one text's outputs: the labels over the threshold, and the probability of each."""
        shares = torch.from_numpy(logits).double().sigmoid().tolist()
        scores = dict(zip(self.labels, shares, strict=True))
        return {"prediction": self.decided(scores), "scores": scores}

    def decided(self, scores: Mapping[str, float]) -> list[str]:
        """List the labels whose probability reaches the threshold, which is 0.5 before it is chosen."""
        least = 0.5 if self.threshold is None else self.threshold
        return [name for name, share in scores.items() if share >= least]

    def calibrate(self, predictions: Sequence[Mapping[str, Any]]) -> "MultiLabelClassification":
        """Choose the threshold with the best micro-F1 on these (validation) predictions."""
        if not self.calibrates:
            return self
        return replace(self, threshold=best_threshold(self.labels, predictions))

    def statistics(self, predictions: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Count each text's labels that are right, gold and predicted, shape ``(examples, 3)``."""
        return label_counts(*_sides(predictions))

    def combine(self, sums: np.ndarray) -> Any:
        """Compute micro-F1: F1 over all labels of all texts."""
        return micro_f1_of(sums)

    def score(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Compute micro-F1, macro-F1 and the share of texts whose labels are all right."""
        by_name = labels_by_name(*_sides(predictions), self.labels)
        right = [[float({*p["gold"]} == {*p["prediction"]})] for p in predictions]
        return {
            **super().score(predictions),
            **scored("macro_f1", by_name, macro_f1_of),
            **scored("exact_match", np.asarray(right), lambda means: means[..., 0]),
        }

    def constant_predictions(self, train: Any, test: Any) -> list[dict[str, Any]]:
        """Predict always the same labels: as many of the most frequent as score best on the training set."""
        gold = self.gold(train)
        answer = best_constant(gold)
        return [
            {"id": i, "prediction": answer, "gold": true} for i, true in enumerate(self.gold(test))
        ]

    def strata(self, table: Any) -> list[str]:
        """List the rarest label of each text, so that splits hold equal shares of it."""
        gold = self.gold(table)
        counts = Counter(name for each in gold for name in each)
        return [min(each, key=lambda name: (counts[name], name), default="") for each in gold]

    @classmethod
    def prepare_tables(
        cls, raw: Mapping[str, Any], origin: Mapping[str, Any], request: DataRequest
    ) -> tuple["MultiLabelClassification", dict[str, Any], dict[str, Any]]:
        """Check the tables as every task does, once the labels are lists.

        Raises:
            UserError: With everything that is wrong with the data.
        """
        made, own, told = with_one_column(raw, request)
        task, splits, record = super().prepare_tables(made, origin, own)
        assert isinstance(task, MultiLabelClassification)
        named = list(getattr(request, "label_column", None) or ())
        if len(named) > 1:
            record = {**record, "columns": {**record["columns"], "label": named}}
        if asked := getattr(request, "kind", None):  # what the file has shows the kind
            record = {**record, "kind": kind_record(cls.name, asked, raw["train"], request)}
        counts = Counter(name for each in task.gold(splits["train"]) for name in each)
        record = {**record, "notes": [*told, *record["notes"]]}
        return task, splits, {**record, "train_counts": {n: counts[n] for n in task.labels}}


def with_one_column(raw: Mapping[str, Any], request: Any) -> tuple[dict[str, Any], Any, list[str]]:
    """Bring labels into one column of lists, where they are columns of zeros and ones, or texts.

    Args:
        raw: Splits with the columns of the user.
        request: Request with ``label_column`` and ``label_separator``.

    Returns:
        The splits, the request for that column, and what was done, in sentences.
    """
    asked = tuple(getattr(request, "label_column", None) or ())
    if len(asked) > 1:
        raw = with_label_columns(raw, asked)
        request = copy(request)
        object.__setattr__(request, "label_column", asked[:1])
        return dict(raw), request, []
    try:
        column = find_column({"train": raw["train"]}, "label", asked[0] if asked else None)
    except UserError:  # reported with everything else
        return dict(raw), request, []
    separator = getattr(request, "label_separator", None)
    made = {
        split: with_lists(table, column, separator) if column in table.column_names else table
        for split, table in raw.items()
    }
    values = (value for value in values_of(made["train"], column) if value is not None)
    if not isinstance(first := next(values, []), list):
        raise DataError(
            f"The column '{column}' holds {in_words(first)} in a row, such as {shortened(repr(first), 80)}; "
            "expected a list of labels. Say what stands between the labels of a row with --label-separator, "
            "or name the columns of zeros and ones with --label-column."
        )
    made, told = with_indicators(made, column)
    return made, request, told


def _sides(predictions: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[Any]]:
    """List gold and predicted labels."""
    return [p["gold"] for p in predictions], [p["prediction"] for p in predictions]


def best_threshold(labels: Sequence[str], predictions: Sequence[Mapping[str, Any]]) -> float:
    """Find the probability from which on a label is given that has the best micro-F1.

    Of several equally good ones the nearest to 0.5 is taken.

    Args:
        labels: Names of the labels.
        predictions: Records with ``scores`` and ``gold``.
    """
    shares = np.asarray([[p["scores"][name] for name in labels] for p in predictions])
    gold = np.asarray([[name in p["gold"] for name in labels] for p in predictions])

    def f1(threshold: float) -> float:
        given = shares >= threshold
        return 2 * float((given & gold).sum()) / max(1, int(given.sum() + gold.sum()))

    return max(THRESHOLDS, key=f1)


def best_constant(gold: Sequence[Sequence[str]]) -> list[str]:
    """List the labels that, given to every text, have the best micro-F1; the most frequent first.

    Args:
        gold: Labels of the training texts.

    Example:
        >>> best_constant([["a", "b"], ["a"], ["a", "c"]])
        ['a']
    """
    counts = Counter(name for each in gold for name in each)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    total, hits, best = sum(counts.values()), 0, (0.0, 0)
    for number, name in enumerate(names, 1):
        hits += counts[name]
        best = max(best, (2 * hits / (number * len(gold) + total), -number))
    return names[: -best[1]]
