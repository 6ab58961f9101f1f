"""Finished fine-tunings as small records, kept on disk under a key of all that they depend on."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nlptl.data.files import write_whole
from nlptl.tasks.base import Task
from nlptl.train.hooks import known_error
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs
from nlptl.train.stem_cache.directory import root

#: FinetuneArgs that change nothing about the numbers, or stand in the key in another form.
BESIDES = {"model", "cache", "compile", "gradient_checkpointing"}
#: Counts up when nlptl itself trains in another way, so that older runs are not taken for new ones.
FORM = 5
#: Libraries whose release may change a number.
LIBRARIES = ("torch", "transformers", "peft")


@dataclass(frozen=True)
class Outcome:
    """One fine-tuning's outcome.

    Attributes:
        seed: Of head, order and dropout.
        learning_rate: Peak rate.
        scores: Of each test example under the task's metric, in [0, 1].
        validation: Selection metric after each epoch, in [0, 1].
        best: Epoch that was kept, from 0.
        epochs: Passes over the training set until it stopped.
        seconds: Of training.
        flops: Of training.
        peak_memory: Millions of bytes.
        trainable: Trained parameters.
        total: All parameters.
        cache_bytes: Size of the cached states of frozen blocks, 0 without.
        upstream: Forgetting, as in the report; None where it was not measured.
        upstream_texts: Hash of what it was measured on.
        error: Standard error of :attr:`chosen`; 0 where it is not known.
        diverged: Whether the loss became infinite; the scores are then those of always one answer.
    """

    seed: int
    learning_rate: float
    scores: tuple[float, ...]
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

    @property
    def score(self) -> float:
        """Mean over the test examples."""
        return sum(self.scores) / len(self.scores)

    @property
    def chosen(self) -> float:
        """Validation score of the epoch that was kept."""
        return self.validation[self.best]


def cell_of(run: Run) -> Outcome:
    """The outcome of a fine-tuning."""
    name = f"validation_{run.task.selection}"
    return Outcome(
        seed=run.args.seed,
        learning_rate=run.args.learning_rate,
        scores=tuple(run.task.statistics(run.predictions)[:, 0].tolist()),
        validation=validation_scores(run.task, run.history),
        best=run.best,
        epochs=run.history[-1]["epoch"],
        seconds=run.timing["train_seconds"],
        flops=run.flops,
        peak_memory=run.peak_memory,
        trainable=run.manifest.trainable,
        total=run.manifest.total,
        cache_bytes=int((run.cache or {}).get("bytes", 0)),
        error=known_error(run.history[run.best], name) / run.task.scale,
    )


def validation_scores(task: Task, history: Sequence[Mapping[str, float]]) -> tuple[float, ...]:
    """Selection metric after each epoch, in [0, 1].

    Args:
        task: What the examples mean.
        history: A line an epoch.
    """
    return tuple(line[f"validation_{task.selection}"] / task.scale for line in history)


def texts_hash(texts: Sequence[str], most: int) -> str:
    """Hash of the texts that forgetting is measured on, and of how many pieces are taken."""
    return sha256(json.dumps([most, *texts]).encode()).hexdigest()


def folder() -> Path:
    """``$NLPTL_CACHE/arms``, by default in ``~/.cache/nlptl``."""
    return root() / "arms"


def load(key: str) -> Outcome | None:
    """The cell of a key, if it is there and whole."""
    try:
        values: dict[str, Any] = json.loads((folder() / f"{key}.json").read_text("utf-8"))
        for name in ("scores", "validation"):
            values[name] = tuple(values[name])
        return Outcome(**values)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(key: str, cell: Outcome) -> None:
    """Write a cell so that it is never seen half-written."""
    folder().mkdir(parents=True, exist_ok=True)
    write_whole(folder() / f"{key}.json", json.dumps(dataclasses.asdict(cell)))


def cell_key(
    start: str, task: Task, data: str, settings: FinetuneArgs, *, processes: int, device: str
) -> str:
    """Hash of everything that a fine-tuning's numbers depend on.

    Args:
        start: :func:`nlptl.models.identity.checkpoint_hash`, or for random weights ``architecture_hash``.
        task: What the examples mean.
        data: :func:`nlptl.data.encoding.splits_hash`.
        settings: All but the checkpoint's name count.
        processes: Dropout differs with their number.
        device: Its type; costs differ with it, and the last digits.
    """
    values = {k: v for k, v in dataclasses.asdict(settings).items() if k not in BESIDES}
    given = {
        "start": start,
        "task": task.identity(),
        "data": data,
        "settings": values,
        # An uncached run costs more: its seconds and operations must not stand for a cached one's.
        "uncached": settings.cache == "off" and settings.mode.has_frozen_stem,
        "device": device,
        "processes": processes,
        "precision": os.environ.get("ACCELERATE_MIXED_PRECISION", "no"),
        "libraries": {name: version(name) for name in LIBRARIES},
        "form": FORM,
    }
    return sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()[:40]
