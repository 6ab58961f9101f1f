"""The literal question: how much better downstream is a checkpoint that is better upstream?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.engine.setup import new_accelerator
from nlptl.errors import ConfigError, listed
from nlptl.evaluation.body import bundled_texts
from nlptl.evaluation.cells import architecture_hash
from nlptl.evaluation.render.files import write_pictured
from nlptl.evaluation.render.upstream_curve import upstream_figure, upstream_markdown
from nlptl.evaluation.upstream import upstream_loss
from nlptl.grid import claim_grid_directory, prepare_grid, run_grid
from nlptl.metrics.spread import spread
from nlptl.reporting import upstream_texts
from nlptl.terminal import muted, say
from nlptl.versions import versions

#: Fewer points than this say nothing of a slope.
LEAST = 4
DRAWS = 2000


def run_upstream_curve(config: Any) -> dict[str, Any]:
    """Score checkpoints upstream and downstream; write ``upstream_curve.json``, ``.md``, ``.png``, ``.svg``.

    Args:
        config: A :class:`nlptl.config.UpstreamCurveConfig`.

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
    claim_grid_directory(config)
    points = []
    arms = run_grid(grid, parallel=config.parallel)
    for name, arm in zip(names, arms.values(), strict=True):
        with muted():
            loss = upstream_loss(name, texts, accelerator=new_accelerator())
        points.append(
            {
                "checkpoint": name,
                "upstream_loss": loss["loss"],
                "upstream_se": loss["se"],
                "scores": arm.scores.mean(1).tolist(),
            }
        )
    record = {
        "schema_version": 1,
        "task": grid.task.name,
        "metric": grid.task.selection,
        "mode": next(iter(grid.entries.values())).mode.name,
        "dataset": grid.origin.get("dataset") or str(config.dataset or config.train_file),
        "n": {name: len(table) for name, table in grid.splits.items()},
        "seeds": list(grid.seeds),
        **upstream_curve(points),
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


def upstream_curve(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Slope and rank correlation of downstream score against upstream loss.

    The slope is that of the least-squares line, in points of score for one nat less of loss; its interval
    draws seeds with replacement, the same for all checkpoints.

    Args:
        points: Of each checkpoint ``checkpoint``, ``upstream_loss`` and ``scores``, one a seed.

    Returns:
        ``points`` with mean and deviation, ``slope_points_per_nat``, ``slope_ci95`` and ``spearman``, which is
        None where all scores are the same.
    """
    from scipy.stats import spearmanr

    losses = np.asarray([point["upstream_loss"] for point in points])
    scores = np.asarray([point["scores"] for point in points])
    rng, slopes = np.random.default_rng(0), []
    for _ in range(DRAWS):
        picked = rng.integers(0, scores.shape[1], scores.shape[1])
        slopes.append(_slope(losses, scores[:, picked].mean(1)))
    means = scores.mean(1)
    ranks: Any = spearmanr(-losses, means) if np.ptp(means) and np.ptp(losses) else None
    several = scores.shape[1] > 1
    spreads = [spread(point["scores"]) for point in points]
    return {
        "points": [
            {
                **point,
                "downstream_mean": over_seeds["mean"],
                "sd": over_seeds["sd"],
            }
            for point, over_seeds in zip(points, spreads, strict=True)
        ],
        "slope_points_per_nat": _slope(losses, means),
        "slope_ci95": np.quantile(slopes, [0.025, 0.975]).tolist() if several else None,
        "spearman": float(ranks.statistic) if ranks else None,
    }


def _slope(losses: np.ndarray, scores: np.ndarray) -> float:
    return float(-100 * np.polyfit(losses, scores, 1)[0])
