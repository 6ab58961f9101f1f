"""The record of a finished run, whatever it trained; files, printed lines and comparisons are made from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nlptl.metrics.by_class import scores_by_class, weakest_class
from nlptl.records import Batch
from nlptl.train.losses import Loss


@dataclass(repr=False)
class Run:
    """A finished training with its model and its figures.

    Attributes:
        task: The task or the pretraining objective; has ``name``, ``version`` and ``auto_class``.
        model: The trained model, the epoch that was kept, below Accelerate's wrappers (LoRA: peft's stays).
        tokenizer: Its tokenizer.
        judge: Function that puts the task's own loss around a model; it compares saved and trained model.
        check_batch: A batch of held-out examples, for that comparison.
        metrics: Metrics of the test split or of held-out text, each with its standard error ``<name>_se``.
        num_examples: Number of examples of each split.
        history: A line for each time that the model was scored.
        timing: Seconds, and examples per second.
        settings: Settings of the training, with every value filled in, as JSON.
        lr_history: Learning rate of each step.
        manifest: Counts of what trained; None if the caller knows it.
        newly_initialized: Parameters that the checkpoint did not have.
        args: The arguments of a fine-tuning; None for another run.
        splits: The labelled splits, for :attr:`floors`; None if there are none.
        predictions: One record per test example, with the row that it came from, its texts and the file's
            other columns (:func:`nlptl.data.rows.with_rows`); None if there are none.
        best: Index in ``history`` of the epoch that was kept; None if none was chosen.
        searches: Range tests for the learning rate; empty if the rate was given.
        truncated: Number of texts of each split that were longer than the model takes.
        notes: Sentences for the user about what the model cannot learn or sees less of.
        cache: Record of the cache of frozen blocks; None if there was none.
        padding: Share of padding in training.
        flops: Operations of the training (:func:`nlptl.models.flops.training_flops`).
        peak_memory: Most memory held meanwhile, in millions of bytes.
        compared: Name of the outputs that are compared after reloading.
        head: Record of the convex fit that the head started from; None if it started otherwise.
        temperature: Number that the outputs were divided by after training; None if they were left alone.
        identity: Identity of the training loss (:meth:`nlptl.train.losses.Loss.identity`).
        measured: What the method measured besides, as JSON.
        like: Checkpoint whose declared pooling the saved model declares too, as after a pretraining; None
            where the model's own head says how it pools.
        copies: Record of the changed copies of training texts; None if there were none.
    """

    task: Any
    model: Any
    tokenizer: Any
    judge: Any
    check_batch: Batch
    metrics: dict[str, float]
    num_examples: dict[str, int]
    history: list[dict[str, Any]]
    timing: dict[str, float]
    settings: dict[str, Any]
    lr_history: list[float]
    manifest: Any = None
    newly_initialized: frozenset[str] = frozenset()
    args: Any = None
    splits: Mapping[str, Any] | None = None
    predictions: list[dict[str, Any]] | None = None
    best: int | None = None
    searches: list[dict[str, Any]] = field(default_factory=list)
    truncated: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cache: dict[str, Any] | None = None
    padding: float = 0.0
    flops: float = 0.0
    peak_memory: float = 0.0
    compared: str = "logits"
    head: dict[str, Any] | None = None
    temperature: float | None = None
    identity: str = ""
    measured: dict[str, Any] = field(default_factory=dict)
    like: Path | None = None
    copies: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """Say what was trained and how it scores, in a line."""
        scores = ", ".join(
            f"{name} {value:.4f}" for name, value in self.metrics.items() if name[-3:] != "_se"
        )
        about = f", {self.args.model}, mode {self.args.mode.name}" if self.args is not None else ""
        return f"<Run: {self.task.name}{about}: {scores}>"

    @cached_property
    def floors(self) -> dict[str, Any]:
        """Scores of always one answer and of a bag of words (:func:`nlptl.train.floors.floors`).

        They are computed when they are first asked for, which may take seconds; empty without labelled splits.
        """
        from nlptl.train.floors import floors

        return floors(self.task, self.splits) if self.splits is not None else {}

    @cached_property
    def per_class(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and number of each class (:func:`nlptl.metrics.by_class.scores_by_class`)."""
        form = getattr(self.task, "gold_form", None)
        if form is None or not self.predictions:
            return []
        return scores_by_class(self.predictions, self.task.labels, form)

    @cached_property
    def weakest(self) -> dict[str, Any] | None:
        """Class that fares worst, and what it is taken for (:func:`nlptl.metrics.by_class.weakest_class`)."""
        if not self.per_class:
            return None
        return weakest_class(self.per_class, self.predictions or [], self.task.gold_form)

    def outputs(self, model: Any) -> Mapping[str, Any]:
        """Compute what a model makes of the check batch, each ``(batch, …)``; the model in eval mode."""
        judge: Loss = self.judge(model)
        return judge.eval()(**self.check_batch.inputs)["outputs"]
