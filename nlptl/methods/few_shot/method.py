"""Methods with few labels: a head on the checkpoint's states, or states that pairs of texts have moved."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.errors import ConfigError, many
from nlptl.methods.few_shot.fits import centroid_fit, probe_fit
from nlptl.methods.few_shot.options import CENTROID, CONTRASTIVE
from nlptl.methods.few_shot.terms import Contrastive, PairBatches, draw_pairs, pairs_drawn, pairs_of
from nlptl.models.adapters import unwrap_peft
from nlptl.models.flops import training_flops
from nlptl.modes.base import parse_mode
from nlptl.records import FitState
from nlptl.tasks.base import Task
from nlptl.train.finetune import finished
from nlptl.train.head import start_head
from nlptl.train.learner import Learner
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs
from nlptl.train.terminal import say

#: Counts up when a method computes something else.
VERSION = 1


@dataclass(frozen=True)
class FewShot:
    """A method with few labels, other than plain fine-tuning.

    Attributes:
        name: ``nearest-centroid``, ``probe`` or ``contrastive``.
        pairs: Pairs of either kind for each example (contrastive); with 0 it is the probe.
        most: Most pairs (contrastive).
    """

    name: str
    pairs: int = 20
    most: int = 2000

    def __call__(
        self,
        task: Task,
        splits: Mapping[str, Any],
        args: FinetuneArgs,
        *,
        accelerator: Any,
        home: Path | None = None,
    ) -> Run:
        """Train on a draw, and score on the test set.

        Args:
            task: Task of the examples.
            splits: From :class:`nlptl.methods.few_shot.draws.Shots`.
            args: Checkpoint, mode and hyper-parameters.
            accelerator: Accelerator of the run.
            home: Directory of the checkpoints, from which the run goes on; None writes none.
        """
        moves = self.name == CONTRASTIVE and self.pairs > 0
        if not moves:  # without pairs nothing but the head is fitted, whatever the mode
            args = replace(args, mode=parse_mode("head-only"))
        learner = Learner(task, args, accelerator)
        say(learner.mode(args.mode).manifest)
        if moves:
            state, measured = self.contrast(learner, splits, home)
        else:
            state, measured = self.fit_alone(learner, splits), {}
        return finished(learner, state, splits, measured=measured)

    def fit_alone(self, learner: Learner, splits: Mapping[str, Any]) -> FitState:
        """Fit the head on the checkpoint's states; nothing else trains."""
        learner.prepare(splits, learner.loss())
        fit_head(
            learner, splits["train"], centroid_fit if self.name == CENTROID else probe_of(learner)
        )
        return learner.fit(splits["train"], validation=splits.get("validation"))

    def contrast(
        self, learner: Learner, splits: Mapping[str, Any], home: Path | None
    ) -> tuple[FitState, dict[str, Any]]:
        """Train the states on pairs of texts, then fit the head on them.

        Returns:
            State of the training, and what is known of its pairs.
        """
        train, accelerator = splits["train"], learner.accelerator
        gold, args = learner.task.gold(train), learner.args
        counts = list(Counter(gold).values())
        number = pairs_drawn(counts, self.pairs, self.most)
        same, different = pairs_of(counts)
        measured = {"pairs": number, "same": same, "different": different}
        say(f"{many(number, 'pair')} of {same:,} of one class and {different:,} of different ones")
        part = learner.encode(train)
        pairs = draw_pairs(gold, number, args.seed)
        batches = PairBatches(
            part.rows,
            pairs,
            learner.collate,
            batch_size=args.batch_size,
            process=(accelerator.process_index, accelerator.num_processes),
        )
        state = learner.fit(
            batches,
            loss=lambda own: Contrastive(own.model, own.task),
            plan=replace(args, epochs=1.0).plan(len(batches)),
            home=home and home / "checkpoints",
            resume=home is not None,
        )
        lengths = np.asarray(part.lengths)[pairs[:, :2]].ravel()
        learner.flops = training_flops(
            learner.model, lengths, 1.0, cached=False, pooled=learner.task.pooled, looks=0
        )
        start = fit_head(learner, train, probe_of(learner))
        state.clock.add(training=start.seconds, scoring=0.0)
        return state, {**measured, "steps": state.step}

    def identity(self) -> str:
        """Name the method, its version and its settings."""
        own = {"pairs": self.pairs, "most": self.most} if self.name == CONTRASTIVE else {}
        return f"few-shot {self.name} {VERSION} {json.dumps(own, sort_keys=True)}"


def probe_of(learner: Learner) -> Callable[..., Any]:
    """Return the fit of a probe on the states as the checkpoint gives them, whatever the head multiplies."""
    return partial(probe_fit, scale=getattr(unwrap_peft(learner.model), "scale", 1.0))


def fit_head(learner: Learner, table: Any, fit: Callable[..., Any]) -> Any:
    """Fit the head of a learner its own way, and write the fit into the model.

    Returns:
        The fit, as :func:`nlptl.train.head.start_head` gives it.

    Raises:
        ConfigError: If no linear layer gives the model's outputs.
    """
    learner.model.to(learner.accelerator.device)
    start = start_head(learner, table, refit=True, fit=fit)
    if start is None:
        raise ConfigError(
            f"{learner.args.model}: no linear layer on one state a text gives the outputs of its head for "
            f"{learner.task.name}. Leave out nearest-centroid, probe and contrastive."
        )
    learner.head, learner.head_started, learner.head_fitted = start, True, True
    return start
