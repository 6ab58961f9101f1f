"""The literal question: how much better downstream is a checkpoint that is better upstream?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.files import write_whole
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import Combine, joint_bootstrap, mean_scores
from nlptl.stats.spread import spread
from nlptl.study.arms import Arm
from nlptl.study.outcomes import combine_of
from nlptl.study.render.files import write_pictured
from nlptl.study.render.upstream_curve import upstream_figure, upstream_markdown, upstream_text
from nlptl.study.render.upstream_curve_page import upstream_page
from nlptl.study.study import Study


def upstream_curve(
    study: Study,
    arms: Mapping[str, Arm],
    losses: Sequence[Mapping[str, float]],
    *,
    dataset: str,
) -> dict[str, Any]:
    """Put the scores of checkpoints downstream against their losses upstream.

    Args:
        study: One arm a checkpoint.
        arms: Its arms, from :meth:`nlptl.study.study.Study.run`.
        losses: ``loss`` and ``se`` of each checkpoint on held-out text.
        dataset: What to call the downstream data.

    Returns:
        What ``upstream_curve.json`` holds.
    """
    points = [
        {
            "checkpoint": arm.args.model,
            "upstream_loss": loss["loss"],
            "upstream_se": loss["se"],
            "scores": arm.scores.tolist(),
            "downstream_mean": float(arm.scores.mean()),
            "sd": spread(arm.scores.tolist())["sd"],
        }
        for loss, arm in zip(losses, arms.values(), strict=True)
    ]
    return {
        "schema_version": 1,
        "task": study.task.name,
        "metric": study.task.selection,
        "mode": next(iter(arms.values())).args.mode.name,
        "dataset": dataset,
        "n": {name: len(table) for name, table in study.splits.items()},
        "seeds": list(study.seeds),
        "points": points,
        **upstream_slope(
            [point["upstream_loss"] for point in points],
            np.asarray([arm.statistics for arm in arms.values()]),
            combine=combine_of(study.task),
            groups=study.task.groups(study.splits["test"]),
        ),
        "versions": versions(),
    }


def write_upstream_curve(record: Mapping[str, Any], directory: Path) -> str:
    """Write ``upstream_curve.json``, ``.md``, ``.html``, ``.png`` and ``.svg``.

    Args:
        record: From :func:`upstream_curve`.
        directory: Made if it is not there.

    Returns:
        The table and the sentence, for the terminal.
    """
    table, picture = upstream_markdown(record), upstream_figure(record)
    alt = "downstream against upstream"
    svg = write_pictured(record, "upstream_curve", table, picture, alt, directory)
    write_whole(directory / "upstream_curve.html", upstream_page(record, svg))
    return upstream_text(record)


def upstream_slope(
    losses: Sequence[float],
    statistics: np.ndarray,
    *,
    combine: Combine | None = None,
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Fit the slope and rank correlation of downstream score against upstream loss.

    The slope is that of the least-squares line, in points of score for one nat less of loss: a weighted sum
    of the scores, so that its interval is that of :func:`nlptl.stats.bootstrap.joint_bootstrap`, over
    seeds and test examples. The losses count as known.

    Args:
        losses: Held-out loss of each checkpoint, in nats.
        statistics: Statistics of each test example under each seed, ``(checkpoints, seeds, examples, k)``.
        combine: Means of the statistics to a score; None for a mean over examples.
        groups: What each example belongs to; see there.

    Returns:
        ``slope_points_per_nat``, ``slope_ci95`` (None with one seed), ``spearman`` (None where all scores or
        losses are the same).
    """
    from scipy.stats import spearmanr

    distance = np.mean(losses) - np.asarray(losses)
    weights = 100 * distance / (distance**2).sum() if distance.any() else np.zeros(len(losses))
    if combine is None:
        slope = joint_bootstrap(np.tensordot(weights, statistics, 1), None, groups=groups)
    else:
        count, seeds, examples, k = statistics.shape
        beside = np.moveaxis(statistics, 0, 2).reshape(seeds, examples, count * k)

        def weighted(means: np.ndarray) -> np.ndarray:
            return combine(means.reshape(*means.shape[:-1], count, k)) @ weights

        slope = joint_bootstrap(beside, None, combine=weighted, groups=groups)
    means = mean_scores(statistics, combine)
    ranks: Any = spearmanr(distance, means) if np.ptp(means) and np.ptp(losses) else None
    return {
        "slope_points_per_nat": slope.mean,
        "slope_ci95": [slope.low, slope.high] if statistics.shape[1] > 1 else None,
        "spearman": float(ranks.statistic) if ranks else None,
    }
