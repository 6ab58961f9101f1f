"""What a task is: everything that differs between sentiment, question answering and your own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from nlptl.records import Collate


@dataclass(frozen=True)
class Features:
    """Examples as the model sees them.

    Attributes:
        rows: Random access by index to ``{"input_ids": [...], …}``; one or more an example.
        lengths: Tokens of each row, shape ``(rows,)``.
        cut: How many texts were longer than the model takes.
    """

    rows: Sequence[Mapping[str, Any]]
    lengths: np.ndarray
    cut: int


class Task(Protocol):
    """A supervised task. Adding one is one file; CONTRIBUTING.md has the checklist."""

    @property
    def name(self) -> str:
        """Name in the run record."""
        ...

    @property
    def selection(self) -> str:
        """The metric that chooses the epoch; more is better."""
        ...

    @property
    def scale(self) -> float:
        """Value of :attr:`selection` where all is right: 1, or 100 of a metric in percent."""
        ...

    @property
    def peft_type(self) -> str | None:
        """Peft's name of the task, for its auto classes."""
        ...

    @property
    def usual_length(self) -> int:
        """Tokens an input where the user sets none and the model takes as many."""
        ...

    @property
    def too_long(self) -> str:
        """What :attr:`Features.cut` counts: the beginning of a sentence, with ``{limit}`` for tokens."""
        ...

    @property
    def calibrates(self) -> bool:
        """Whether :meth:`calibrate` chooses anything."""
        ...

    @property
    def pooled(self) -> bool:
        """Whether the head reads one token of a text only, the one that its family pools.

        If so, nothing else of the last block is computed (:mod:`nlptl.models.one_token`) or cached.
        """
        ...

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of an example to predict, each a string."""
        ...

    @property
    def auto_class(self) -> Any:
        """The transformers auto class that has the head."""
        ...

    @property
    def head(self) -> Mapping[str, Any]:
        """Configuration of the head: ``num_labels``, ``id2label``, ``label2id``; may be empty."""
        ...

    def encode(self, table: Any, tokenizer: Any, max_length: int) -> Features:
        """Turn the rows of a dataset into features."""
        ...

    def collator(self, tokenizer: Any) -> Collate:
        """A function that pads features to tensors; labels stand under ``labels`` or the like."""
        ...

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the model; per-feature tensors, shape ``(batch, …)``. Inputs may lack labels."""
        ...

    def loss(
        self, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, float]:
        """Mean loss, and what it is a mean over."""
        ...

    def predictions(
        self, table: Any, features: Features, outputs: Mapping[str, Sequence[np.ndarray]]
    ) -> list[dict[str, Any]]:
        """One record an example: ``id``, ``prediction``, ``scores``, ``gold``."""
        ...

    def shown(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """What a user wants of a prediction's record: ``prediction``, ``score`` in [0, 1], and more."""
        ...

    def calibrate(self, predictions: Sequence[Mapping[str, Any]]) -> "Task":
        """The task with what is chosen on validation predictions, such as a threshold."""
        ...

    def example_scores(self, predictions: Sequence[Mapping[str, Any]]) -> list[float]:
        """Score of each example under :attr:`selection`, in [0, 1]; higher is better."""
        ...

    def texts(self, table: Any) -> list[str]:
        """The text of each example, for measures of the body that need no labels."""
        ...

    def classes(self, table: Any) -> list[str] | None:
        """The class of each text; None where examples have none, so that no probe can be fitted."""
        ...

    def groups(self, table: Any) -> list[str] | None:
        """What each example belongs to, such as its passage; None where all are independent."""
        ...

    def constant_scores(self, train: Any, test: Any) -> list[float]:
        """:meth:`example_scores` of always giving the training set's most frequent answer."""
        ...

    def score(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Metrics, each with its standard error under ``<name>_se``."""
        ...
