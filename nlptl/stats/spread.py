"""Scores of one setting under several seeds."""

import statistics
from collections.abc import Sequence

#: A run that beats always giving one answer by no more than a point counts as failed.
FAILED = 0.01


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean, sample standard deviation (None for one value), median, minimum and maximum."""
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }


def has_failed(score: float, floor: float) -> bool:
    """Return whether a fine-tuning collapsed (Mosbach et al., 2021, "On the Stability of Fine-tuning BERT").

    Args:
        score: Test score of the run.
        floor: Score of always giving the most frequent answer.
    """
    return score <= floor + FAILED
