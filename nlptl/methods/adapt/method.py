"""An arm of the study as a method: one way of adapting, and what is measured of its model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.methods.adapt.domains import DOMAIN
from nlptl.methods.adapt.features import MOST, proxy_a_distance, reverse_accuracy
from nlptl.methods.adapt.ways import WAYS, Cell, Trained, plain
from nlptl.stats.bootstrap import scores_of
from nlptl.study.outcomes import combine_of
from nlptl.tasks.base import Task
from nlptl.train.finetune import finished
from nlptl.train.learner import Learner
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs

#: Settings that the numbers of a method depend on.
READS: dict[str, tuple[str, ...]] = {
    "coral": ("shrinkage",),
    **dict.fromkeys(("deep-coral", "mmd", "dann"), ("weight",)),
    "self-training": ("threshold", "rounds"),
    "udalm": ("mix",),
    **dict.fromkeys(("dapt", "tapt"), ("lm_epochs",)),
}
#: Counts up when a method computes something else.
VERSION = 1


@dataclass(frozen=True)
class Adapt:
    """A method of adaptation, or one of its bounds.

    Attributes:
        name: Name of the method or bound.
        weight: Weight of the term between domains.
        shrinkage: Ridge of coral.
        threshold: Least probability of a label that self-training learns from.
        rounds: Rounds of self-training.
        mix: Share of the masked-LM loss in udalm.
        lm_epochs: Passes of dapt and tapt over their texts.
    """

    name: str
    weight: float = 1.0
    shrinkage: float = 1.0
    threshold: float = 0.9
    rounds: int = 1
    mix: float = 0.5
    lm_epochs: float = 5.0

    @property
    def settings(self) -> dict[str, Any]:
        """Name and settings that the method reads."""
        return {name: getattr(self, name) for name in ("name", *READS.get(self.name, ()))}

    def __call__(
        self,
        task: Task,
        splits: Mapping[str, Any],
        args: FinetuneArgs,
        *,
        accelerator: Any,
        home: Path | None = None,
    ) -> Run:
        """Train, measure what needs no label of the target, and score on the target's test set at the end.

        Args:
            task: Task of the examples.
            splits: What the arm sees (:class:`nlptl.methods.adapt.domains.Sees`).
            args: Checkpoint, mode and hyper-parameters.
            accelerator: Accelerator of the run.
            home: Directory of the checkpoints, from which the run goes on; None writes none.
        """
        seen = {name: table for name, table in splits.items() if name != "test"}
        cell = Cell(task, seen, args, accelerator, home)
        trained = WAYS.get(self.name, plain)(cell, self.settings)
        measured = {**trained.noted, **measure(trained, seen, args.seed)}
        run = finished(trained.learner, trained.state, splits, measured=measured)
        if trained.folder is not None:
            trained.folder.cleanup()
        return run

    def identity(self) -> str:
        """Name the method, its version and its settings."""
        return f"adapt {VERSION} {json.dumps(self.settings, sort_keys=True)}"


def measure(trained: Trained, splits: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Measure a trained model on both domains without labels of the target.

    Args:
        trained: The learner after its fit.
        splits: What the arm sees, without ``test``.
        seed: Seed of the samples.

    Returns:
        ``source``, statistics of the source's test examples under the task's metric; ``source_score``;
        ``source_validation``; ``proxy_a_distance`` of the states (None of a bound that learned from
        the target); ``reverse``, the reverse validation's score
        (None where there are no classes).
    """
    learner = trained.learner
    task = learner.task
    statistics = task.statistics(learner.predict(splits["source_test"]))
    found = {
        "source": statistics.tolist(),
        "source_score": float(scores_of(statistics, combine_of(task))),
        "source_validation": learner.score(splits["validation"])[task.selection] / task.scale,
        "proxy_a_distance": None,
        "reverse": None,
    }
    source, target = (sample(splits[name], seed) for name in ("train", "target"))
    states = [learner.features(table).astype(np.float64) for table in (source, target)]
    apart = max(splits["train"][DOMAIN][:]) <= max(splits["source_test"][DOMAIN][:])
    if apart and min(map(len, states)) >= 4:
        moved = trained.moved(*states) if trained.moved else states[0]
        found["proxy_a_distance"] = proxy_a_distance(moved, states[1], seed)
    if classes := task.classes(splits["validation"]):
        predicted = [record["prediction"] for record in learner.predict(target)]
        known = learner.features(splits["validation"])
        found["reverse"] = reverse_accuracy(states[1], predicted, known, classes)
    return found


def sample(table: Any, seed: int, most: int = MOST) -> Any:
    """Draw at most so many rows."""
    if len(table) <= most:
        return table
    return table.select(np.sort(np.random.default_rng([seed, 5]).permutation(len(table))[:most]))


def distance_before(
    task: Task, splits: Mapping[str, Any], args: FinetuneArgs, accelerator: Any
) -> float:
    """Compute the proxy A-distance of the states of the untouched checkpoint."""
    learner = Learner(task, args, accelerator)
    states = [learner.features(sample(splits[name], args.seed)) for name in ("train", "target")]
    return proxy_a_distance(states[0], states[1], args.seed)
