"""The arms of a comparison: one way of starting and training, over several seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nlptl.data.encoding import splits_hash
from nlptl.errors import Diverged
from nlptl.models import identity
from nlptl.models.adapters import merge_adapter
from nlptl.models.loading import load_config
from nlptl.modes.base import default_learning_rate, parse_mode
from nlptl.pretrain.architecture import save_untrained
from nlptl.pretrain.upstream_entry import upstream_entry
from nlptl.study import outcomes
from nlptl.study.outcomes import Outcome
from nlptl.tasks.base import Task
from nlptl.train.finetune import finetune
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs, start_accelerator
from nlptl.train.terminal import muted, say

#: Pieces of text that forgetting is measured on.
PIECES = 2000


@dataclass(frozen=True)
class Arm:
    """Scores of one arm.

    Attributes:
        outcomes: One outcome a seed, at the rate that was chosen; at least one did not diverge.
        settings: As trained, with that rate.
        tried: Rate to validation score of the first seed.
        searched: Runs of the search that were not chosen.
        kept: Runs that were found on disk.
    """

    outcomes: tuple[Outcome, ...]
    settings: FinetuneArgs
    tried: Mapping[float, float]
    searched: tuple[Outcome, ...] = ()
    kept: int = 0

    @property
    def scores(self) -> np.ndarray:
        """Test score of each seed, shape ``(seeds,)``."""
        return np.asarray([outcome.score for outcome in self.outcomes])

    @property
    def statistics(self) -> np.ndarray:
        """Statistics of each test example under each seed, shape ``(seeds, examples, k)``."""
        return np.asarray([outcome.statistics for outcome in self.outcomes])

    @property
    def validation(self) -> tuple[float, ...]:
        """Selection metric of each seed's epoch that was kept, on validation data."""
        return tuple(outcome.chosen for outcome in self.outcomes)

    @property
    def first_converged(self) -> Outcome:
        """The outcome of the first seed that did not diverge, which knows parameters and memory."""
        return next(outcome for outcome in self.outcomes if not outcome.diverged)

    @property
    def seconds(self) -> float:
        """Training time of all runs, those of the search included."""
        return sum(outcome.seconds for outcome in (*self.outcomes, *self.searched))


class Runner:
    """Runs fine-tunings of one task on the same data, and never the same one twice.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        keep: Look for finished runs on disk, and put new ones there.
    """

    def __init__(self, task: Task, splits: Mapping[str, Any], *, keep: bool = True) -> None:
        self.task, self.splits, self.keep = task, splits, keep
        self.found = 0
        #: Both for this object's life only: a folder of that name may hold other weights tomorrow.
        self.checkpoint_hash = cache(partial(identity.checkpoint_hash, task=task))
        self.architecture_hash = cache(identity.architecture_hash)

    @cached_property
    def data(self) -> str:
        """Hash of the splits."""
        return splits_hash(self.splits)

    def run(
        self,
        settings: FinetuneArgs,
        *,
        checkpoint: Callable[[], str] | None = None,
        start: str | None = None,
        texts: Sequence[str] | None = None,
        made: Callable[[Run], None] | None = None,
    ) -> Outcome:
        """One fine-tuning.

        Args:
            settings: With rate and seed.
            checkpoint: Gives the checkpoint's name once it is needed; None takes the settings' own.
            start: Hash of what it starts from; None hashes the checkpoint.
            texts: Also measure what the model forgot, on these.
            made: Gets the run with its model, which no outcome on disk has: with it a run is always made.

        Returns:
            Its outcome; of a run that diverged one that says so.

        Raises:
            Diverged: If it does, and ``made`` is given.
        """
        name = checkpoint or (lambda: settings.model)
        if self.keep:  # before the seed is set: it loads the checkpoint, and draws what that lacks
            start = start or self.checkpoint_hash(name())
        # Every process must come to the same answer, so only what all of them see decides.
        accelerator = start_accelerator(tracker=None, output_dir=Path(), seed=settings.seed)
        key, found = "", None
        if self.keep and start:
            number = accelerator.num_processes
            key = outcomes.outcome_key(
                start,
                self.task,
                self.data,
                settings,
                processes=number,
                device=accelerator.device.type,
            )
            accelerator.wait_for_everyone()
            found = outcomes.load(key)
        measured = "" if texts is None else outcomes.texts_hash(texts, PIECES)
        known = found and (texts is None or found.diverged or found.upstream_texts == measured)
        if found and known and made is None:
            self.found += 1
            return found
        accelerator.wait_for_everyone()
        own = replace(settings, model=name())
        try:
            with muted():
                run = finetune(self.task, self.splits, own, accelerator=accelerator)
        except Diverged:
            if made is not None:
                raise
            outcome = self._diverged(settings)
        else:
            outcome = outcomes.outcome_of(run)
            if made is not None:
                made(run)
            if texts is not None:
                with muted():
                    forgot = upstream_entry(
                        own.model, merge_adapter(run.model), texts, accelerator, PIECES
                    )
                outcome = replace(outcome, upstream=forgot, upstream_texts=measured)
            elif found:
                outcome = replace(
                    outcome, upstream=found.upstream, upstream_texts=found.upstream_texts
                )
        if self.keep and accelerator.is_main_process:
            outcomes.keep(key, outcome)
        return outcome

    def _diverged(self, settings: FinetuneArgs) -> Outcome:
        found = outcomes.constant_statistics(self.task, self.splits["train"], self.splits["test"])
        return Outcome(
            **outcomes.scored(self.task, found),
            seed=settings.seed,
            learning_rate=settings.learning_rate,
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


def concatenate(arms: Sequence[Arm]) -> Arm:
    """Arms of one seed each as one arm; settings and search are the first one's."""
    return replace(
        arms[0],
        outcomes=tuple(outcome for arm in arms for outcome in arm.outcomes),
        kept=sum(arm.kept for arm in arms),
    )


def choose_rate(first: Mapping[float, Outcome]) -> float:
    """The first rate listed within one standard error of the best on validation data (Breiman et al., 1984).

    A few hundred validation examples cannot tell two good rates, and what looks best under one seed may fail
    under others: a 12-block RoBERTa from random weights had 0.644 at 3.6e-4 and 0.625 at its default of 1.2e-4
    (standard error 0.04), and three of the next four seeds learned next to nothing at 3.6e-4.

    Args:
        first: Rate to its run, the usual rate first.
    """
    best = max(first.values(), key=lambda outcome: outcome.chosen)
    return next(
        rate for rate, outcome in first.items() if outcome.chosen >= best.chosen - best.error
    )


def run_arm(
    runner: Runner,
    settings: FinetuneArgs,
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
    checkpoint: Callable[[int], str] | None = None,
    start: Callable[[int], str] | None = None,
    known: Mapping[int, Outcome] | None = None,
    texts: Sequence[str] | None = None,
    title: str = "",
) -> Arm:
    """Fine-tune once a seed, at the rate that the first seed's runs speak for (:func:`choose_rate`).

    Args:
        runner: Task and data.
        settings: Everything but rate and seed.
        seeds: One run each; arms with the same seeds see the same orders.
        rates: Peak rates to try with the first seed, the usual one first.
        checkpoint: Seed to the name of a checkpoint, which may have to be made first; None takes the
            settings' own for all.
        start: Seed to the hash of what it starts from; None hashes the checkpoint.
        known: Seeds that are finished, at the only rate.
        texts: Also measure what the first seed's model forgot, on these.
        title: What to call the arm while it runs; empty says nothing.

    Returns:
        Test scores; the test set plays no part in choosing.

    Raises:
        Diverged: If every run did.
    """
    before = runner.found

    def run(seed: int, rate: float) -> Outcome:
        if known and seed in known:
            return known[seed]
        found = runner.found
        outcome = runner.run(
            replace(settings, learning_rate=rate, seed=seed),
            checkpoint=partial(checkpoint, seed) if checkpoint else None,
            start=start(seed) if start else None,
            texts=texts if seed == seeds[0] else None,
        )
        if title:
            how = "kept from before" if runner.found > found else f"{outcome.seconds:.0f} s"
            score = "the loss became infinite" if outcome.diverged else f"{outcome.score:.4f}"
            say(f"{title}, seed {seed}, rate {rate:.2g}: {score} ({how})")
        return outcome

    first = {rate: run(seeds[0], rate) for rate in rates}
    best = choose_rate(first)
    own = (first[best], *(run(seed, best) for seed in seeds[1:]))
    if all(outcome.diverged for outcome in own):
        raise Diverged(
            f"{settings.model}, {settings.mode.name}: the loss became infinite in every run, at a rate of "
            f"{best:.2g}. Lower --learning-rate."
        )
    return Arm(
        outcomes=own,
        settings=replace(settings, learning_rate=best),
        tried={rate: outcome.chosen for rate, outcome in first.items()},
        searched=tuple(outcome for rate, outcome in first.items() if rate != best),
        kept=runner.found - before,
    )


def scratch_settings(
    settings: FinetuneArgs, factors: Sequence[float], longer: float, *, examples: int
) -> tuple[FinetuneArgs, list[float]]:
    """FinetuneArgs of the same model without pretraining: all trains, for longer, at rates of its own.

    Where the pretrained arm has its mode's usual epochs, scratch's are counted from ``full``'s, so that one
    scratch arm serves every mode. It never stops early: twelve blocks stay at the floor for a third of their
    epochs and more, and with patience the runs ended there, so that any checkpoint seemed to help.

    Args:
        settings: Of the pretrained arm.
        factors: Rates to try, times the default of ``full``.
        longer: Times the epochs.
        examples: Training examples.
    """
    config = load_config(settings.model)
    full = parse_mode("full")
    rate = default_learning_rate(full, config.model_type, config.hidden_size)
    epochs = settings.epochs
    if epochs == settings.mode.default_epochs(examples, settings.batch_size):
        epochs = full.default_epochs(examples, settings.batch_size)
    own = replace(
        settings,
        mode=full,
        epochs=float(round(longer * epochs)),
        patience=None,
        learning_rate=rate,
    )
    return own, [float(f"{factor * rate:.3g}") for factor in factors]


def scratch_arm(
    runner: Runner,
    settings: FinetuneArgs,
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
    title: str = "",
) -> Arm:
    """:func:`run_arm` from untrained twins of the settings' checkpoint, other weights each seed.

    Kept runs are found again for every checkpoint of the same architecture and tokenizer.
    """
    with TemporaryDirectory() as folder:

        def twin(seed: int) -> str:
            path = Path(folder) / str(seed)
            if not path.exists():
                save_untrained(settings.model, path, seed=seed)
            return str(path)

        architecture = runner.architecture_hash(settings.model)
        return run_arm(
            runner,
            settings,
            seeds=seeds,
            rates=rates,
            checkpoint=twin,
            start=lambda seed: f"untrained {architecture} {seed}",
            title=title,
        )
