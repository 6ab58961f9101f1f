"""An arm of the study as a method: a first stage on texts without labels, then the labels."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from nlptl.methods.self_taught.options import CONTRASTIVE, MASKED, NONE
from nlptl.methods.self_taught.texts import UNLABELLED
from nlptl.tasks.base import Task
from nlptl.train.finetune import finished
from nlptl.train.learner import Learner
from nlptl.train.machine import from_main
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs
from nlptl.train.terminal import say

#: Settings that only one first stage reads.
READS = {CONTRASTIVE: ("temperature",)}
#: Counts up when a method computes something else.
VERSION = 1


@dataclass(frozen=True)
class SelfTaught:
    """A first stage on texts without labels, and a training on the labels after it.

    Attributes:
        stage: ``masked-lm``, ``contrastive`` or ``none``.
        steps: Optimizer steps of the first stage; with 0 there is none.
        batch_size: Texts per batch of the first stage.
        rate: Peak rate of the first stage; None takes the usual one.
        temperature: Temperature of the contrastive loss.
    """

    stage: str = NONE
    steps: int = 100
    batch_size: int = 32
    rate: float | None = None
    temperature: float = 0.05

    @property
    def name(self) -> str:
        """Name of the first stage."""
        return self.stage

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that the numbers depend on."""
        if self.stage == NONE or not self.steps:
            return {"stage": NONE}
        own = ("stage", "steps", "batch_size", "rate", *READS.get(self.stage, ()))
        return {name: getattr(self, name) for name in own}

    def __call__(
        self,
        task: Task,
        splits: Mapping[str, Any],
        args: FinetuneArgs,
        *,
        accelerator: Any,
        home: Path | None = None,
    ) -> Run:
        """Learn from the texts, train on the labels, score on the test set at the end.

        Args:
            task: Task of the labelled examples.
            splits: What the arm sees (:class:`nlptl.methods.self_taught.texts.Sees`).
            args: Checkpoint, mode and hyper-parameters.
            accelerator: Accelerator of the run.
            home: Folder of the checkpoints, from which a killed run goes on; None writes none.
        """
        learner, about = self.started(task, splits.get(UNLABELLED), args, accelerator, home)
        say(learner.mode(args.mode).manifest)
        learner.prepare({name: splits[name] for name in ("train", "validation")}, learner.loss())
        state = learner.fit(
            splits["train"],
            validation=splits["validation"],
            home=home and home / "checkpoints",
            resume=home is not None,
        )
        state.clock.add(training=about.get("seconds", 0.0), scoring=0.0)
        return finished(learner, state, splits, measured=about)

    def started(
        self, task: Task, texts: Any, args: FinetuneArgs, accelerator: Any, home: Path | None
    ) -> tuple[Learner, dict[str, Any]]:
        """Make the learner that the labels will train; the first stage gets texts and no splits.

        Returns:
            The learner, and what the first stage measured.
        """
        from accelerate.utils import set_seed

        stage = self.settings["stage"]
        if stage == MASKED:
            return self._masked(task, texts, args, accelerator, home)
        set_seed(args.seed)
        learner = Learner(task, args, accelerator)
        if stage == NONE:
            return learner, {}
        from nlptl.methods.self_taught.stages import contrastive

        about = contrastive(
            learner,
            texts,
            steps=self.steps,
            batch_size=self.batch_size,
            temperature=self.temperature,
            rate=self.rate,
            home=home and home / "first",
        )
        return learner, about

    def _masked(
        self, task: Task, texts: Any, args: FinetuneArgs, accelerator: Any, home: Path | None
    ) -> tuple[Learner, dict[str, Any]]:
        """Train the checkpoint's masked LM on the texts, and make a learner of its body."""
        from accelerate.utils import set_seed

        from nlptl.pretrain.further import MODEL, pretrain_further

        folder = home or Path(from_main(mkdtemp(prefix="nlptl_self_taught_"), accelerator))
        own = replace(args, batch_size=self.batch_size)
        found = pretrain_further(
            texts,
            folder,
            own,
            accelerator,
            steps=self.steps,
            rate=self.rate,
            resume=home is not None,
        )
        set_seed(args.seed)
        learner = Learner(task, replace(args, model=str(folder / MODEL)), accelerator)
        learner.args = replace(learner.args, model=args.model)  # the record names the checkpoint
        learner.copies.args = learner.args  # and --augment takes its words
        if home is None:
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                rmtree(folder, ignore_errors=True)
        about = {"stage_before": found["lm_before"], "stage_after": found["lm_after"]}
        return learner, {**about, "seconds": found["seconds"]}

    def identity(self) -> str:
        """Name the method, its version and its settings."""
        return f"self-taught {VERSION} {json.dumps(self.settings, sort_keys=True)}"
