"""The literal question: how much better downstream is a checkpoint that is better upstream?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.cli.check import upstream_texts
from nlptl.errors import ConfigError, listed
from nlptl.models.identity import architecture_hash
from nlptl.pretrain.held_out import upstream_loss
from nlptl.pretrain.upstream_entry import bundled_texts
from nlptl.report.render.files import write_pictured
from nlptl.runs.versions import versions
from nlptl.stats.bootstrap import Combine, joint_bootstrap, mean_scores
from nlptl.stats.spread import spread
from nlptl.study.grid import prepare_grid, reserve_study_dir, run_grid
from nlptl.study.outcomes import combine_of
from nlptl.study.render.upstream_curve import upstream_figure, upstream_markdown
from nlptl.train.setup import new_accelerator
from nlptl.train.terminal import muted, say

#: Fewer points than this say nothing of a slope.
LEAST = 4


def run_upstream_curve(config: Any) -> dict[str, Any]:
    """Score checkpoints upstream and downstream; write ``upstream_curve.json``, ``.md``, ``.png``, ``.svg``.

    Args:
        config: A :class:`nlptl.cli.config.UpstreamCurveConfig`.

    Returns:
        What ``upstream_curve.json`` holds.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    names = checkpoints(config.model)
    grid = prepare_grid(config, [(name, config.mode) for name in names])
    if len({architecture_hash(name) for name in names}) > 1:
        raise ConfigError(
            "--model: the checkpoints differ in architecture or tokenizer, so their losses do not compare. "
            "Give checkpoints of one pretraining run."
        )
    texts = upstream_texts(config.upstream_text) or bundled_texts()
    reserve_study_dir(config)
    with muted():  # before the training: a checkpoint may lack its pretraining head
        losses = [upstream_loss(name, texts, accelerator=new_accelerator()) for name in names]
    arms = run_grid(grid, parallel=config.parallel)
    statistics = np.asarray([arm.statistics for arm in arms.values()])
    points = [
        {
            "checkpoint": name,
            "upstream_loss": loss["loss"],
            "upstream_se": loss["se"],
            "scores": arm.scores.tolist(),
            "downstream_mean": float(arm.scores.mean()),
            "sd": spread(arm.scores.tolist())["sd"],
        }
        for name, loss, arm in zip(names, losses, arms.values(), strict=True)
    ]
    record = {
        "schema_version": 1,
        "task": grid.task.name,
        "metric": grid.task.selection,
        "mode": next(iter(grid.entries.values())).mode.name,
        "dataset": grid.origin.get("dataset") or str(config.dataset or config.train_file),
        "n": {name: len(table) for name, table in grid.splits.items()},
        "seeds": list(grid.seeds),
        "points": points,
        **upstream_slope(
            [point["upstream_loss"] for point in points],
            statistics,
            combine=combine_of(grid.task),
            groups=grid.task.groups(grid.splits["test"]),
        ),
        "versions": versions(),
    }
    table = upstream_markdown(record)
    write_pictured(
        record,
        "upstream_curve",
        table,
        upstream_figure(record),
        "downstream against upstream",
        config.output_dir,
    )
    say(f"\n{table}\n{config.output_dir}: upstream_curve.json, .md, .png, .svg")
    return record


def checkpoints(given: Sequence[str]) -> list[str]:
    """The checkpoints to score: as given, or those that a pretraining run kept, the earliest first.

    Raises:
        ConfigError: If they are fewer than four.
    """
    names, where = list(given), ""
    if len(names) == 1 and not (Path(names[0]) / "config.json").is_file():
        where = f" in {Path(names[0]) / 'models'}"
        names = [str(p.parent) for p in sorted(Path(names[0]).glob("models/*/config.json"))]
    if len(names) < LEAST:
        raise ConfigError(
            f"--model: found {len(names)} checkpoints{where} ({listed(names) or 'none'}); expected {LEAST} or "
            "more of one architecture, or the directory of a pretraining run that kept as many. "
            "python recipes/pretrain.py --keep 5 makes them, in runs/pretrain."
        )
    return names


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
