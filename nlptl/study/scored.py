"""What every study's table says of an arm alone, and of the two scores that need no model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlptl.metrics.statistics import within_range
from nlptl.stats.bootstrap import Combine, joint_bootstrap
from nlptl.stats.spread import spread
from nlptl.study.arms import Arm
from nlptl.tasks.base import Task
from nlptl.train.floors import floors


def scored_row(
    arm: Arm, metric: str, combine: Combine | None, groups: Sequence[str] | None
) -> dict[str, Any]:
    """Sum up the scores of an arm; 1 is the score if all is right.

    Args:
        arm: The arm.
        metric: Name of the score, which says what values it can have.
        combine: See :func:`nlptl.stats.bootstrap.joint_bootstrap`.
        groups: See there.

    Returns:
        ``mean`` and ``sd`` over seeds, ``ci95`` over seeds and examples, ``scores`` of the ``seeds``, and the
        mean ``seconds`` of training.
    """
    over = spread(arm.scores.tolist())
    alone = joint_bootstrap(arm.statistics, None, combine=combine, groups=groups)
    return {
        "mean": over["mean"],
        "sd": over["sd"],
        "ci95": within_range(metric, [alone.low, alone.high]),
        "scores": arm.scores.tolist(),
        "seeds": arm.seeds,
        "seconds": float(np.mean([outcome.seconds for outcome in arm.outcomes])),
    }


def measured_mean(arm: Arm, name: str) -> float | None:
    """Average a number that a method measured over the seeds that have it; None if none has."""
    known = [outcome.measured.get(name) for outcome in arm.outcomes]
    numbers = [value for value in known if value is not None]
    return float(np.mean(numbers)) if numbers else None


def lowest_scores(task: Task, splits: Mapping[str, Any]) -> dict[str, float | None]:
    """Score always one answer and a bag of words on the test split; 1 if all is right, None if there is none.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``; others are left alone.

    Returns:
        ``majority`` and ``bag_of_words``.
    """
    names = ("train", "validation", "test")
    found = floors(task, {name: splits[name] for name in names if name in splits})
    scores = {n: found.get(n, {}).get(task.selection) for n in ("majority", "bag_of_words")}
    return {name: None if one is None else one / task.scale for name, one in scores.items()}
