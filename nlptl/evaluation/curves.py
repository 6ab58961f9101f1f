"""Learning curves: how many labels pretraining is worth."""

from collections.abc import Sequence
from typing import Any

import numpy as np

#: A curve starts at so many examples a class, and each size is so many times the one before.
FIRST, FACTOR = 16, 4
DRAWS = 1000


def curve_sizes(examples: int, classes: int) -> list[int]:
    """Training set sizes from 16 a class to all, each four times the one before.

    Example:
        >>> curve_sizes(720, 2)
        [32, 128, 512, 720]
    """
    sizes, size = [], FIRST * max(1, classes)
    while size < examples:
        sizes.append(size)
        size *= FACTOR
    return [*sizes, examples]


def labels_to_match(sizes: Sequence[int], scores: np.ndarray, target: float) -> float | None:
    """Labels at which a learning curve first reaches a score.

    The curve is made monotone by isotonic regression and interpolated on log n.

    Args:
        sizes: Rising numbers of labels.
        scores: Mean score at each.
        target: The score to reach.

    Returns:
        The number, at least the smallest size; None if the largest size does not reach it: a curve is
        never drawn out beyond its data.
    """
    from sklearn.isotonic import IsotonicRegression

    logs = np.log(np.asarray(sizes, float))
    monotone: Any = IsotonicRegression().fit_transform(logs, scores)
    target -= 1e-12  # means of equal scores differ in their last digit
    if monotone[-1] < target:
        return None
    at = int(np.argmax(monotone >= target))
    if at == 0:
        return float(sizes[0])
    share = (target - monotone[at - 1]) / (monotone[at] - monotone[at - 1])
    return float(np.exp(logs[at - 1] + share * (logs[at] - logs[at - 1])))


def curve_summary(sizes: Sequence[int], pre: np.ndarray, scratch: np.ndarray) -> dict[str, Any]:
    """Jumpstart, asymptote gap and area ratio (Taylor & Stone, 2009) of two learning curves.

    The area ratio is (area of pre - area of scratch) / area of scratch, trapezoids on log n; None where
    there is one size only.

    Args:
        sizes: Rising numbers of labels.
        pre: Scores, shape ``(sizes, seeds)``.
        scratch: The same.
    """
    from scipy.integrate import trapezoid  # numpy's own has two names

    one, two = pre.mean(1), scratch.mean(1)
    logs = np.log(np.asarray(sizes, float))
    areas = [float(trapezoid(curve, logs)) for curve in (one, two)]
    return {
        "n": list(map(int, sizes)),
        "pre": pre.tolist(),
        "scratch": scratch.tolist(),
        "jumpstart": float(one[0] - two[0]),
        "asymptote_gap": float(one[-1] - two[-1]),
        "area_ratio": (areas[0] - areas[1]) / areas[1] if areas[1] > 0 else None,
    }


def sample_efficiency(sizes: Sequence[int], pre: np.ndarray, scratch: np.ndarray) -> dict[str, Any]:
    """How many labels scratch needs to match the pretrained model at each size (Hernandez et al., 2021).

    The headline is the size whose multiplier, or lower bound of it, is largest.

    Args:
        sizes: Rising numbers of labels.
        pre: Scores, shape ``(sizes, seeds)``.
        scratch: The same, the same seeds.

    Returns:
        ``points``, one a size, and the fields of the headline beside it: ``n_match`` is None and
        ``censored`` True where all labels do not suffice, and ``label_multiplier`` is then a lower bound;
        ``ci95`` refits the curves to resampled seeds, its upper end censored in the same way.
    """
    points = []
    for index, size in enumerate(sizes):
        target = float(pre[index].mean())
        match = labels_to_match(sizes, scratch.mean(1), target)
        points.append(
            {
                "n": int(size),
                "target_score": target,
                "n_match": match,
                "censored": match is None,
                "label_multiplier": (sizes[-1] if match is None else match) / size,
                "ci95": _interval(sizes, pre[index], scratch, size),
            }
        )
    best = max(points, key=lambda point: point["label_multiplier"])
    return {"points": points, **best}


def _interval(
    sizes: Sequence[int], pre: np.ndarray, scratch: np.ndarray, size: int
) -> list[float] | None:
    seeds = len(pre)
    if seeds < 2:
        return None
    rng, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        picked = rng.integers(0, seeds, seeds)
        match = labels_to_match(sizes, scratch[:, picked].mean(1), float(pre[picked].mean()))
        found.append((sizes[-1] if match is None else match) / size)
    return np.quantile(found, [0.025, 0.975]).tolist()
