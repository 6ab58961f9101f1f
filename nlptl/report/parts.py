"""The parts of a transfer report, each a plain dictionary made from the outcome of the arms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlptl.stats.bootstrap import DRAWS, JOINT, Combine, Difference, joint_bootstrap
from nlptl.stats.spread import has_failed, spread
from nlptl.study.arms import Arm
from nlptl.study.outcomes import Outcome


def missing(why: str) -> dict[str, Any]:
    """Make the entry of an arm that was not run."""
    names = ("mean", "sd", "median", "min", "max", "predictions_path", "tuned")
    return {
        "missing": why,
        **dict.fromkeys(names),
        "failed": [],
        "seeds": [],
        "scores": [],
    }


def arm_entry(
    scores: np.ndarray,
    *,
    seeds: Sequence[int] = (),
    floor: float | None = None,
    tuned: Mapping[str, Any] | None = None,
    predictions_path: str | None = None,
) -> dict[str, Any]:
    """Sum up one arm: mean, standard deviation, median, extremes and failed runs.

    Args:
        scores: Score of each run, shape ``(runs,)``.
        seeds: One a run; none for an arm without randomness.
        floor: Score of always giving one answer; None where nothing can collapse to it.
        tuned: The rate and epochs that were chosen, and what was tried.
        predictions_path: Where single predictions lie, relative to the report.
    """
    each = scores.tolist()
    pairs = list(zip(seeds, each, strict=True)) if seeds else []
    return {
        "missing": None,
        **spread(each),
        "failed": [s for s, score in pairs if floor is not None and has_failed(score, floor)],
        "seeds": list(seeds),
        "scores": each if seeds else [],
        "predictions_path": predictions_path,
        "tuned": dict(tuned) if tuned else None,
    }


def trained_entry(arm: Arm, *, floor: float, predictions_path: str | None = None) -> dict[str, Any]:
    """Sum up an arm that was trained.

    Args:
        arm: The arm.
        floor: Score of always giving one answer.
        predictions_path: Where single predictions lie, relative to the report.
    """
    return arm_entry(
        arm.scores,
        seeds=arm.seeds,
        floor=floor,
        tuned=tuned(arm),
        predictions_path=predictions_path,
    )


def tuned(arm: Arm) -> dict[str, Any]:
    """Return the rate and epochs of an arm, and the validation score of each rate that was tried."""
    return {
        "learning_rate": arm.args.learning_rate,
        "epochs": arm.args.epochs,
        "tried": {f"{rate:g}": score for rate, score in arm.tried.items()},
    }


def gain_entry(
    gain: Difference,
    *,
    scratch: float,
    probe: float | None,
    words: Difference | None,
) -> dict[str, Any]:
    """Express the gain over scratch in several units, and the gain over a bag of words.

    Args:
        gain: Pretrained minus scratch.
        scratch: Mean score of scratch.
        probe: Score of the linear probe.
        words: Pretrained minus bag of words.
    """
    certain = gain.low > 0 or gain.high < 0
    return {
        "abs": gain.mean,
        "ci95": [gain.low, gain.high],
        "p_two_sided": gain.p,
        "rel_error_reduction": gain.mean / (1 - scratch) if 1 - scratch >= 0.01 else None,
        "probe_share": (probe - scratch) / gain.mean if probe is not None and certain else None,
        "vs_bow": words
        and {
            "abs": words.mean,
            "ci95": [words.low, words.high],
            "p_two_sided": words.p,
            "threshold": words.threshold(),
        },
        "threshold": gain.threshold(),
        "mde": gain.detectable(),
        "significant": gain.p < 0.05,
        "test": f"Differences are {JOINT}, {DRAWS:,} draws, wider for few seeds.",
    }


def against(
    statistics: np.ndarray,
    fixed: np.ndarray,
    *,
    combine: Combine | None = None,
    groups: Sequence[str] | None = None,
) -> Difference:
    """Compare an arm with one without randomness.

    Args:
        statistics: The arm's statistics, shape ``(seeds, examples, k)``.
        fixed: The other's, shape ``(examples, k)``.
        combine: Means of the statistics to a score; None for a mean over examples.
        groups: See :func:`nlptl.stats.bootstrap.joint_bootstrap`.
    """
    beside = np.broadcast_to(fixed, statistics.shape)
    return joint_bootstrap(statistics, beside, combine=combine, groups=groups)


def compute_entry(
    pre: Sequence[Outcome], scratch: Sequence[Outcome], *, upstream: float | None
) -> dict[str, Any]:
    """Estimate what each arm cost until it reached the pretrained arm's mean validation score.

    FLOPs and seconds are shared out evenly over a run's epochs; medians over the seeds that get there. If
    fewer than half of scratch's do, its whole cost is a lower bound, and so is the ratio.

    Args:
        pre: Runs of the pretrained arm.
        scratch: Runs from random weights.
        upstream: Operations of the pretraining, where they are known; they count for neither arm.
    """
    pre, scratch = ([outcome for outcome in arm if not outcome.diverged] for arm in (pre, scratch))
    target = float(np.mean([outcome.chosen for outcome in pre]))
    ours, _ = _cost(pre, target, "flops")
    theirs, reached = _cost(scratch, target, "flops")
    first = pre[0]
    return {
        "target_score": target,
        "flops_pre": ours,
        "flops_scratch_to_match": theirs if reached else None,
        "ratio": theirs / ours if ours else None,
        "censored": not reached,
        "wall_s": {
            "pre": _cost(pre, target, "seconds")[0],
            "scratch": _cost(scratch, target, "seconds")[0],
        },
        "peak_mem_mb": max(outcome.peak_memory for outcome in pre),
        "trainable_params": first.trainable,
        "total_params": first.total,
        "cache_bytes": first.cache_bytes,
        "upstream_flops": upstream,
    }


def _cost(outcomes: Sequence[Outcome], target: float, what: str) -> tuple[float, bool]:
    reached, whole = [], []
    for outcome in outcomes:
        spent = float(getattr(outcome, what))
        whole.append(spent)
        at = next((i for i, score in enumerate(outcome.validation) if score >= target), None)
        if at is not None:
            reached.append(spent * (at + 1) / len(outcome.validation))
    enough = 2 * len(reached) >= len(outcomes)
    return float(np.median(reached if enough else whole)), enough
