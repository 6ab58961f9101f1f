"""How sure a difference is: over seeds and examples together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Draws of a bootstrap, and how many are held in memory at a time.
DRAWS, CHUNK = 10_000, 500


@dataclass(frozen=True)
class Difference:
    """A mean difference with its uncertainty.

    Attributes:
        mean: Mean over seeds and examples.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Two-sided; at least 1 / draws.
    """

    mean: float
    low: float
    high: float
    p: float


def joint_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: Sequence[Any] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """Difference of two arms by the Multi-Bootstrap (Sellam et al., 2022, section 3).

    Each draw takes seeds with replacement, the same for both arms (row s of both was trained with the
    same seed), and test examples with replacement, and averages first - second over both; the interval
    holds the middle 95 % of the draws, and p = 2 min(P(draw <= 0), P(draw >= 0)). It errs on the wide
    side: what is neither the seed's nor the example's own is counted about three times (Owen, 2007).

    Args:
        first: Score of each example under each seed, shape ``(seeds, examples)``; right or wrong as 1
            or 0, or an F1.
        second: The same of the other arm.
        groups: What each example belongs to, such as its passage: drawn whole, because its examples
            are not independent. None draws examples.
        draws: Bootstrap draws.
        seed: Of the draws.

    Raises:
        ValueError: If the shapes differ or there is nothing in them.
    """
    if first.shape != second.shape or first.ndim != 2 or not first.size:
        raise ValueError(
            f"expected two arrays (seeds, examples) of one shape, found {first.shape} and {second.shape}"
        )
    difference = np.asarray(first, float) - np.asarray(second, float)
    of = np.arange(difference.shape[1]) if groups is None else _numbers(groups)
    count = int(of.max()) + 1
    sums = np.stack([np.bincount(of, row, count) for row in difference])
    sizes = np.bincount(of, minlength=count)
    rng = np.random.default_rng(seed)
    seeds = len(difference)
    found = []
    for start in range(0, draws, CHUNK):
        many = min(CHUNK, draws - start)
        weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), many) / seeds
        times = rng.multinomial(count, np.full(count, 1 / count), many)
        found.append(((weights @ sums) * times).sum(1) / (times @ sizes))
    values = np.concatenate(found)
    low, high = np.quantile(values, [0.025, 0.975])
    p = 2 * min((values <= 0).mean(), (values >= 0).mean())
    return Difference(
        float(difference.mean()), float(low), float(high), float(min(1.0, max(p, 1 / draws)))
    )


def _numbers(groups: Sequence[Any]) -> np.ndarray:
    return np.unique(np.asarray(groups), return_inverse=True)[1]
