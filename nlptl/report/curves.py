"""Learning curves: how many labels pretraining is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlptl.stats.bootstrap import Combine, group_sums, mean_scores

#: A curve starts at so many examples a class, and each size is so many times the one before.
FIRST, FACTOR = 16, 4
DRAWS = 1000


def curve_sizes(examples: int, classes: int) -> list[int]:
    """List training set sizes from 16 a class to all, each four times the one before.

    Example:
        >>> curve_sizes(720, 2)
        [32, 128, 512, 720]
    """
    sizes, size = [], FIRST * max(1, classes)
    while size < examples:
        sizes.append(size)
        size *= FACTOR
    return [*sizes, examples]


@dataclass(frozen=True)
class Match:
    """Where a learning curve reaches a score.

    Attributes:
        labels: How many it takes; None if all do not suffice.
        at_most: Whether the curve lies above the score from its beginning, so that fewer might do.
    """

    labels: float | None
    at_most: bool = False


def labels_to_match(sizes: Sequence[int], scores: np.ndarray, target: float) -> Match:
    """Find the number of labels at which a learning curve first reaches a score.

    The curve is made monotone by isotonic regression and interpolated on log n; it is never drawn out beyond
    its data, at neither end.

    Args:
        sizes: Rising numbers of labels.
        scores: Mean score at each.
        target: The score to reach.
    """
    from sklearn.isotonic import IsotonicRegression

    logs = np.log(np.asarray(sizes, float))
    monotone: Any = IsotonicRegression().fit_transform(logs, scores)
    tiny = 1e-12  # means of equal scores differ in their last digit
    if monotone[-1] < target - tiny:
        return Match(None)
    at = int(np.argmax(monotone >= target - tiny))
    if at == 0:
        return Match(float(sizes[0]), at_most=bool(monotone[0] > target + tiny))
    share = (target - monotone[at - 1]) / (monotone[at] - monotone[at - 1])
    return Match(float(np.exp(logs[at - 1] + min(share, 1.0) * (logs[at] - logs[at - 1]))))


def curve_summary(sizes: Sequence[int], pre: np.ndarray, scratch: np.ndarray) -> dict[str, Any]:
    """Sum up two learning curves: jumpstart, asymptote gap and area ratio (Taylor & Stone, 2009).

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


def sample_efficiency(
    sizes: Sequence[int],
    pre: np.ndarray,
    scratch: np.ndarray,
    *,
    combine: Combine | None = None,
    groups: Sequence[Any] | None = None,
) -> dict[str, Any]:
    """Estimate how many labels scratch needs to match the pretrained model (Hernandez et al., 2021).

    The headline is the size whose multiplier, or lower bound of it, is largest.

    Args:
        sizes: Rising numbers of labels.
        pre: Statistics of each test example, shape ``(sizes, seeds, examples, k)``.
        scratch: The same, the same seeds.
        combine: Means of the statistics to a score; None for a mean over examples.
        groups: What each test example belongs to, see
            :func:`nlptl.stats.bootstrap.joint_bootstrap`.

    Returns:
        ``points``, one a size, and the fields of the headline beside it: ``n_match`` is None and
        ``censored`` True where all labels do not suffice, and ``label_multiplier`` is then a lower bound;
        with ``at_most`` scratch has the score at the smallest size already, and both are upper bounds.
        ``ci95`` refits the curves to seeds and test examples (or groups) drawn together, its ends censored
        in the same way; None with one seed.
    """
    one, two = (mean_scores(statistics, combine) for statistics in (pre, scratch))
    drawn = _draws((pre, scratch), combine, groups) if pre.shape[1] > 1 else None
    points = []
    for index, size in enumerate(sizes):
        match = labels_to_match(sizes, two, float(one[index]))
        ends = None
        if drawn is not None:
            found = [
                _multiplier(labels_to_match(sizes, curve, float(score)), sizes, size)
                for score, curve in zip(drawn[0][:, index], drawn[1], strict=True)
            ]
            ends = np.quantile(found, [0.025, 0.975]).tolist()
        points.append(
            {
                "n": int(size),
                "target_score": float(one[index]),
                "n_match": match.labels,
                "censored": match.labels is None,
                "at_most": match.at_most,
                "label_multiplier": _multiplier(match, sizes, size),
                "ci95": ends,
            }
        )
    best = max(points, key=lambda point: point["label_multiplier"])
    return {"points": points, **best}


def _multiplier(match: Match, sizes: Sequence[int], size: int) -> float:
    return (sizes[-1] if match.labels is None else match.labels) / size


def _draws(
    arms: Sequence[np.ndarray], combine: Combine | None, groups: Sequence[Any] | None
) -> list[np.ndarray]:
    """Draw seeds and groups together; the mean score of each arm at each size, ``(draws, sizes)``."""
    rng, seeds = np.random.default_rng(0), arms[0].shape[1]
    summed = [
        group_sums(np.moveaxis(arm, -1, -2), groups) for arm in arms
    ]  # (sizes, seeds, k, groups)
    count = summed[0][1]
    found: list[list[np.ndarray]] = [[] for _ in arms]
    for _ in range(DRAWS):
        picked = rng.integers(0, seeds, seeds)
        times = rng.multinomial(len(count), np.full(len(count), 1 / len(count)))
        for kept, (sums, _) in zip(found, summed, strict=True):
            if combine is None:
                kept.append(sums[:, picked, 0].mean(1) @ times / (times @ count))
            else:
                kept.append(combine(sums @ times / (times @ count))[:, picked].mean(1))
    return [np.asarray(kept) for kept in found]
