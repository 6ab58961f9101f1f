"""Calibration: how often a model is right where it says that it is sure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Bins of equal width that confidences are sorted into.
BINS = 10


def reliability(
    confidence: Sequence[float], right: Sequence[bool | float], *, bins: int = BINS
) -> dict[str, Any]:
    """Compare confidence with the share that is right, bin by bin (Guo et al., 2017, section 2).

    The expected calibration error is the mean over examples of the difference between the two in their bin. It
    is above 0 by chance too: with few examples even a perfectly calibrated model has some.

    Args:
        confidence: Probability of what was predicted, in [0, 1], shape ``(examples,)``.
        right: Whether it was right.
        bins: Number of bins between 0 and 1.

    Returns:
        ``ece`` in [0, 1]; ``confidence`` and ``right``, the means over all; ``n``; for each bin that is not
        empty ``low``, ``high``, ``confidence``, ``right`` and ``n``.

    Raises:
        ValueError: If there are no examples.
    """
    sure, good = np.asarray(confidence, float), np.asarray(right, float)
    if not len(sure):
        raise ValueError("expected examples with a confidence, found none")
    where = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)  # (low, high]
    found: list[dict[str, Any]] = []
    for number in np.unique(where):
        inside = where == number
        found.append(
            {
                "low": float(number / bins),
                "high": float((number + 1) / bins),
                "confidence": float(sure[inside].mean()),
                "right": float(good[inside].mean()),
                "n": int(inside.sum()),
            }
        )
    ece = sum(b["n"] * abs(b["right"] - b["confidence"]) for b in found) / len(sure)
    return {
        "ece": float(ece),
        "confidence": float(sure.mean()),
        "right": float(good.mean()),
        "n": len(sure),
        "bins": found,
    }
