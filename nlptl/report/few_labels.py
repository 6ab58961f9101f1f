"""Both arms of a report at smaller training sets: its learning curves."""

from dataclasses import replace
from typing import Any

import numpy as np

from nlptl.data.sampling import subset
from nlptl.report.curves import curve_sizes, curve_summary, sample_efficiency
from nlptl.study.arms import Arm, Runner, concatenate, run_arm, scratch_arm
from nlptl.study.outcomes import combine_of
from nlptl.train.setup import FinetuneArgs


def learning_curves(
    runner: Runner, pre: Arm, scratch: Arm
) -> tuple[dict[str, Any], dict[str, Any], list[Arm]]:
    """Train both arms on 16 examples a class, on four times as many, and so on; rates as on the whole set.

    Every seed draws its own examples, so that the spread holds which ones were labelled; of one seed the
    smaller set lies within the larger.

    Args:
        runner: Task and data.
        pre: The pretrained arm on all training examples.
        scratch: The same seeds from random weights.

    Returns:
        The report's ``curve`` and ``sample_eff``, and the arms that were run.
    """
    task, splits = runner.task, runner.splits
    whole = len(splits["train"])
    strata = task.classes(splits["train"]) or [""] * whole
    sizes = curve_sizes(whole, len(set(strata)))
    seeds = [outcome.seed for outcome in pre.outcomes]
    arms: list[tuple[Arm, Arm]] = []
    for size in sizes[:-1]:
        ours, theirs = (_at(arm.settings, size, whole) for arm in (pre, scratch))
        pairs = []
        for seed in seeds:
            train = subset(splits["train"], strata, size, seed)
            few = Runner(task, {**splits, "train": train}, keep=runner.keep)
            one = run_arm(
                few,
                ours,
                seeds=[seed],
                rates=[ours.learning_rate],
                title=f"{ours.mode.name}, {size} examples",
            )
            two = scratch_arm(
                few,
                theirs,
                seeds=[seed],
                rates=[theirs.learning_rate],
                title=f"from scratch, {size} examples",
            )
            pairs.append((one, two))
        arms.append(
            (concatenate([one for one, _ in pairs]), concatenate([two for _, two in pairs]))
        )
    both = [*arms, (pre, scratch)]
    scores = [np.asarray([pair[i].scores for pair in both]) for i in (0, 1)]
    statistics = [np.asarray([pair[i].statistics for pair in both]) for i in (0, 1)]
    groups = task.groups(splits["test"])
    return (
        curve_summary(sizes, *scores),
        sample_efficiency(sizes, *statistics, combine=combine_of(task), groups=groups),
        [arm for pair in arms for arm in pair],
    )


def _at(settings: FinetuneArgs, size: int, whole: int) -> FinetuneArgs:
    """As many steps as on the whole set, at most as many times the epochs as such a set usually gets."""
    usual = settings.mode.default_epochs(size, settings.batch_size)
    longer = settings.epochs / settings.mode.default_epochs(whole, settings.batch_size)
    same = settings.epochs * whole / size
    return replace(settings, epochs=max(settings.epochs, min(max(1.0, longer) * usual, same)))
