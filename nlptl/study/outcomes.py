"""Finished runs as small records, kept on disk under a key of all that they depend on."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nlptl.data.files import read_checked, write_checked
from nlptl.stats.bootstrap import Combine, scores_of
from nlptl.study.methods import FINETUNE, identity_of
from nlptl.tasks.base import Task
from nlptl.train.hooks import known_error
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs
from nlptl.train.stem_cache.directory import root

#: Arguments that change nothing about the numbers, or stand in the key in another form.
BESIDES = {"model", "cache", "compile", "gradient_checkpointing", "save_every"}
#: Counts up when nlptl itself trains in another way, so that older runs are not taken for new ones.
FORM = 8
#: Libraries whose release may change a number.
LIBRARIES = ("torch", "transformers", "peft")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run.

    Attributes:
        seed: Seed of head, data order and dropout.
        learning_rate: Peak rate.
        score: Test score under the task's metric; 1 where all is right.
        statistics: Statistics of each test example that the score is made from, ``(examples, k)``.
        validation: Selection metric after each epoch, on the same scale as ``score``; empty without a
            validation set.
        best: Index of the epoch that was kept.
        epochs: Passes over the training set until it stopped.
        seconds: Seconds of training.
        flops: Operations of training.
        peak_memory: Most memory held, in millions of bytes.
        trainable: Number of trained parameters.
        total: Number of all parameters.
        cache_bytes: Size of the cached states of frozen blocks, 0 without.
        upstream: Forgetting, as in the report; None where it was not measured.
        upstream_texts: Hash of the texts that it was measured on.
        error: Standard error of :attr:`chosen`; 0 where it is not known.
        diverged: Whether the loss became infinite; the score is then that of always one answer.
        measured: What the method measured besides, as JSON; empty where it measured nothing.
    """

    seed: int
    learning_rate: float
    score: float
    statistics: tuple[tuple[float, ...], ...]
    validation: tuple[float, ...]
    best: int
    epochs: float
    seconds: float
    flops: float
    peak_memory: float
    trainable: int
    total: int
    cache_bytes: int = 0
    upstream: dict[str, Any] | None = None
    upstream_texts: str = ""
    error: float = 0.0
    diverged: bool = False
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def chosen(self) -> float:
        """Validation score of the epoch that was kept; 0 of a run that chose nothing."""
        return self.validation[self.best] if self.validation else 0.0

    @property
    def kept_the_start(self) -> bool:
        """Whether validation kept the model as it was before the first step of a training with steps."""
        trained = self.epochs > 0 and not self.diverged
        return trained and self.best == 0 and len(self.validation) > self.epochs


def constant_statistics(task: Task, train: Any, test: Any) -> np.ndarray:
    """Compute the statistics of always giving the training set's most frequent answer, ``(examples, k)``."""
    return task.statistics(task.constant_predictions(train, test))


def class_statistics(task: Task, splits: Mapping[str, Any], predicted: Sequence[str]) -> np.ndarray:
    """Compute the statistics of predicted classes of the test texts, ``(examples, k)``.

    Args:
        task: What the examples mean; it has classes.
        splits: ``train`` and ``test``.
        predicted: A class for each test text.
    """
    records = task.constant_predictions(splits["train"], splits["test"])
    sure = [
        {**record, "prediction": name, "scores": {name: 1.0}}
        for record, name in zip(records, predicted, strict=True)
    ]
    return task.statistics(sure)


def combine_of(task: Task) -> Combine | None:
    """Return the function that makes a score of mean statistics; None for a mean over examples.

    Where the metric is not defined, such as a correlation with always one answer, the score is 0.
    """
    if task.linear:
        return None

    def combine(means: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(task.combine(means), nan=0.0, posinf=0.0, neginf=0.0)

    return combine


def scored(task: Task, statistics: np.ndarray) -> dict[str, Any]:
    """Make the fields ``score`` and ``statistics`` of an :class:`Outcome`."""
    return {
        "score": float(scores_of(statistics, combine_of(task))),
        "statistics": tuple(map(tuple, statistics.tolist())),
    }


def outcome_of(run: Run, args: FinetuneArgs) -> Outcome:
    """Make the outcome of a run.

    Args:
        run: The finished run, with predictions of the test split.
        args: The arguments that it was made with.
    """
    if run.predictions is None:
        raise ValueError(
            "expected a run with predictions of the test split, found none: a method scores on it"
        )
    name, best = f"validation_{run.task.selection}", run.best or 0
    last = run.history[-1]["epoch"] if run.history else (args.epochs if run.lr_history else 0.0)
    error = known_error(run.history[best], name) / run.task.scale if run.history else 0.0
    own = list(run.model.parameters()) if run.manifest is None else []
    return Outcome(
        **scored(run.task, run.task.statistics(run.predictions)),
        seed=args.seed,
        learning_rate=args.learning_rate,
        validation=validation_scores(run.task, run.history),
        best=best,
        epochs=last,
        seconds=run.timing["train_seconds"],
        flops=run.flops,
        peak_memory=run.peak_memory,
        trainable=run.manifest.trainable
        if run.manifest
        else sum(p.numel() for p in own if p.requires_grad),
        total=run.manifest.total if run.manifest else sum(p.numel() for p in own),
        cache_bytes=int((run.cache or {}).get("bytes", 0)),
        error=error,
        measured=run.measured,
    )


def diverged_outcome(task: Task, splits: Mapping[str, Any], args: FinetuneArgs) -> Outcome:
    """Make the outcome of a run whose loss became infinite: it scores as always one answer does."""
    return Outcome(
        **scored(task, constant_statistics(task, splits["train"], splits["test"])),
        seed=args.seed,
        learning_rate=args.learning_rate,
        validation=(0.0,),
        best=0,
        epochs=0.0,
        seconds=0.0,
        flops=0.0,
        peak_memory=0.0,
        trainable=0,
        total=0,
        diverged=True,
    )


def validation_scores(task: Task, history: Sequence[Mapping[str, float]]) -> tuple[float, ...]:
    """List the selection metric after each epoch; 1 where all is right.

    Args:
        task: What the examples mean.
        history: A line an epoch.
    """
    return tuple(line[f"validation_{task.selection}"] / task.scale for line in history)


def texts_hash(texts: Sequence[str], most: int) -> str:
    """Hash the texts that forgetting is measured on, and how many pieces are taken."""
    return sha256(json.dumps([most, *texts]).encode()).hexdigest()


def folder() -> Path:
    """Return the folder of kept outcomes, ``$NLPTL_CACHE/arms``; by default in ``~/.cache/nlptl``."""
    return root() / "arms"


def load(key: str) -> Outcome | None:
    """Read the outcome of a key, if it is there and whole."""
    try:
        values: dict[str, Any] = read_checked(folder() / f"{key}.json")
        values["statistics"] = tuple(map(tuple, values["statistics"]))
        values["validation"] = tuple(values["validation"])
        return Outcome(**values)
    except (TypeError, KeyError):
        return None


def keep(key: str, outcome: Outcome) -> None:
    """Write an outcome so that it is never seen half-written."""
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    write_checked(folder() / f"{key}.json", dataclasses.asdict(outcome))


class Identified(Protocol):
    """What says what it computes: a method, or a task's place in a run of several."""

    def identity(self) -> str:
        """Say what its numbers depend on besides task, data and arguments."""
        ...


def outcome_key(
    start: str,
    task: Task,
    data: str,
    args: FinetuneArgs,
    *,
    method: Identified = FINETUNE,
    processes: int,
    device: str,
) -> str:
    """Hash everything that a run's numbers depend on.

    Args:
        start: :func:`nlptl.models.identity.checkpoint_hash`, or for random weights ``architecture_hash``.
        task: What the examples mean; its identity counts, its class's code included.
        data: :func:`nlptl.data.encoding.splits_hash`.
        args: Hyper-parameters; all but the checkpoint's name count.
        method: The way of training; its identity counts, that of its loss and hooks included.
        processes: Number of processes; dropout differs with it.
        device: Type of the device; costs differ with it, and the last digits.
    """
    values = {
        field.name: getattr(args, field.name)
        for field in dataclasses.fields(args)
        if field.name not in BESIDES
    }
    given = {
        "start": start,
        "task": task.identity(),
        "data": data,
        "args": {name: identity_of(value) for name, value in values.items()},
        "method": method.identity(),
        # An uncached run costs more: its seconds and operations must not stand for a cached one's.
        "uncached": args.cache == "off" and args.mode.has_frozen_stem,
        "device": device,
        "processes": processes,
        "precision": os.environ.get("ACCELERATE_MIXED_PRECISION", "no"),
        "libraries": {name: version(name) for name in LIBRARIES},
        "form": FORM,
    }
    return sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:40]
