"""Arms: one way of starting and training each, as it is specified, and as it came out over several seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from nlptl.data.sampling import subset
from nlptl.models.loading import load_config
from nlptl.modes.base import default_learning_rate, parse_mode
from nlptl.study.methods import FINETUNE, Method
from nlptl.study.outcomes import Outcome
from nlptl.tasks.base import Task
from nlptl.train.setup import FinetuneArgs


class View(Protocol):
    """What a seed sees of the data; hashable, and picklable for ``--parallel``."""

    def __call__(self, task: Task, splits: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Return ``train``, ``validation`` and ``test`` of a seed."""
        ...


@dataclass(frozen=True)
class Fewer:
    """A smaller training set, drawn by class; other examples each seed, the smaller within the larger.

    Attributes:
        examples: How many training examples are left.
    """

    examples: int

    def __call__(self, task: Task, splits: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Return the splits with the smaller training set."""
        train = splits["train"]
        strata = task.classes(train) or [""] * len(train)
        return {**splits, "train": subset(train, strata, self.examples, seed)}


@dataclass(frozen=True)
class ArmSpec:
    """An arm before it is run.

    Attributes:
        args: The checkpoint, the mode and all hyper-parameters; the study sets the seed.
        method: The way of training.
        rates: Peak rates to try with the first seed, the usual one first; none takes the arguments' own.
        untrained: Whether each seed starts from random weights of its own instead of the checkpoint's.
        view: What each seed sees of the data; None for all.
        title: What to call the arm while it runs; by default its name in the study.
    """

    args: FinetuneArgs
    method: Method = FINETUNE
    rates: tuple[float, ...] = ()
    untrained: bool = False
    view: View | None = None
    title: str = ""


@dataclass(frozen=True)
class Arm:
    """An arm with its outcomes.

    Attributes:
        outcomes: One outcome a seed, at the rate that was chosen; at least one did not diverge.
        args: The arguments as trained, with that rate.
        method: Name of the method.
        tried: Rate to validation score of the first seed.
        searched: Outcomes of the search that were not chosen.
        kept: How many runs were found on disk.
    """

    outcomes: tuple[Outcome, ...]
    args: FinetuneArgs
    method: str = FINETUNE.name
    tried: Mapping[float, float] = field(default_factory=dict)
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
    def seeds(self) -> list[int]:
        """The seeds, one an outcome."""
        return [outcome.seed for outcome in self.outcomes]

    @property
    def validation(self) -> tuple[float, ...]:
        """Selection metric of each seed's epoch that was kept, on validation data."""
        return tuple(outcome.chosen for outcome in self.outcomes)

    @property
    def first_converged(self) -> Outcome:
        """Outcome of the first seed that did not diverge, which knows parameters and memory."""
        return next(outcome for outcome in self.outcomes if not outcome.diverged)

    @property
    def seconds(self) -> float:
        """Training time of all runs, those of the search included."""
        return sum(outcome.seconds for outcome in (*self.outcomes, *self.searched))


def choose_rate(first: Mapping[float, Outcome]) -> float:
    """Choose the first rate within one standard error of the best on validation data (Breiman et al., 1984).

    A few hundred validation examples cannot tell two good rates, and what looks best under one seed may fail
    under others: a 12-block RoBERTa from random weights had 0.644 at 3.6e-4 and 0.625 at its default of 1.2e-4
    (standard error 0.04), and three of the next four seeds learned next to nothing at 3.6e-4.

    Args:
        first: Rate to its outcome, the usual rate first.
    """
    best = max(first.values(), key=lambda outcome: outcome.chosen)
    return next(rate for rate, one in first.items() if one.chosen >= best.chosen - best.error)


def scratch_spec(
    args: FinetuneArgs, factors: Sequence[float], longer: float, *, examples: int
) -> ArmSpec:
    """Specify the arm of the same model without pretraining: all trains, for longer, at rates of its own.

    Where the pretrained arm has its mode's usual epochs, scratch's are counted from ``full``'s, so that one
    scratch arm serves every mode. It never stops early: twelve blocks stay at the floor for a third of their
    epochs and more, and with patience the runs ended there, so that any checkpoint seemed to help. Kept
    outcomes are found again for every checkpoint of the same architecture and tokenizer.

    Args:
        args: Arguments of the pretrained arm.
        factors: Rates to try, times the default of ``full``.
        longer: Times the epochs.
        examples: Number of training examples.
    """
    config = load_config(args.model)
    full = parse_mode("full")
    rate = default_learning_rate(full, config)
    epochs = args.epochs
    fitted = args.head != "random"
    if epochs == args.mode.default_epochs(examples, args.batch_size, fitted=fitted):
        epochs = full.default_epochs(examples, args.batch_size)
    own = replace(
        args,
        mode=full,
        epochs=float(round(longer * epochs)),
        patience=None,
        learning_rate=rate,
        head="random",
    )
    rates = tuple(float(f"{factor * rate:.3g}") for factor in factors)
    return ArmSpec(own, rates=rates, untrained=True, title="from scratch")
