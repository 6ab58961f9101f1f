"""Both arms of a report at smaller training sets: its learning curves."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from nlptl.report.curves import curve_sizes, curve_summary, sample_efficiency
from nlptl.study.arms import Arm, ArmSpec, Fewer
from nlptl.study.outcomes import combine_of
from nlptl.study.study import Study
from nlptl.train.setup import FinetuneArgs


def learning_curves(
    study: Study, arms: Mapping[str, Arm]
) -> tuple[dict[str, Any], dict[str, Any], list[Arm]]:
    """Train both arms on 16 examples a class, on four times as many, and so on; rates as on the whole set.

    Every seed draws its own examples, so that the spread holds which ones were labelled; of one seed the
    smaller set lies within the larger.

    Args:
        study: The study of the arms ``pre`` and ``scratch`` on all training examples.
        arms: These arms.

    Returns:
        The report's ``curve`` and ``sample_eff``, and the arms that were run.
    """
    task, splits = study.task, study.splits
    whole = len(splits["train"])
    sizes = curve_sizes(whole, len(set(task.classes(splits["train"]) or [""])))
    names = ("pre", "scratch")
    fewer = {
        f"{name} {size}": _at(study.arms[name], arms[name].args, size, whole)
        for size in sizes[:-1]
        for name in names
    }
    found = Study(task, splits, fewer, study.seeds, keep=study.keep).run()
    rows = [[found[f"{name} {size}"] for size in sizes[:-1]] + [arms[name]] for name in names]
    scores = [np.asarray([arm.scores for arm in row]) for row in rows]
    statistics = [np.asarray([arm.statistics for arm in row]) for row in rows]
    groups = task.groups(splits["test"])
    return (
        curve_summary(sizes, *scores),
        sample_efficiency(sizes, *statistics, combine=combine_of(task), groups=groups),
        list(found.values()),
    )


def _at(spec: ArmSpec, args: FinetuneArgs, size: int, whole: int) -> ArmSpec:
    """Specify an arm on fewer examples, at the rate that was chosen on all."""
    own = replace(args, epochs=epochs_at(args, size, whole))
    title = f"{spec.title}, {size} examples"
    return replace(spec, args=own, rates=(), view=Fewer(size), title=title)


def epochs_at(args: FinetuneArgs, size: int, whole: int) -> float:
    """Choose the epochs on a smaller training set.

    As many steps as on the whole set, at most as many times the epochs as such a set usually gets.

    Args:
        args: Arguments on the whole set.
        size: Number of examples of the smaller set.
        whole: Number of examples of the whole set.
    """
    default = partial(
        args.mode.default_epochs, batch_size=args.batch_size, fitted=args.head != "random"
    )
    usual, longer = default(size), args.epochs / default(whole)
    same = args.epochs * whole / size
    return max(args.epochs, min(max(1.0, longer) * usual, same))
