"""How sure a difference is: over seeds and examples together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Draws of a bootstrap, and how many are held in memory at a time.
DRAWS, CHUNK = 10_000, 500
#: What :func:`joint_bootstrap` is, for the reader of a report or a comparison.
JOINT = (
    "paired by seed and test example; intervals and p come from a bootstrap over both (Sellam et al., 2022; "
    "questions of one passage are drawn together), with fewer than six seeds from Student's t over both"
)
#: With fewer seeds the shape of the draws tells nothing: of three seeds, all draws lie on ten points.
LEAST_DRAWN = 6
#: Means of the statistics of some examples, shape ``(..., k)``, to their scores, shape ``(...)``.
Combine = Callable[[np.ndarray], np.ndarray]
#: Level and power of what is called detectable.
LEVEL, POWER = 0.05, 0.8


@dataclass(frozen=True)
class Difference:
    """A mean difference with its uncertainty.

    Attributes:
        mean: Mean over seeds and examples.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Two-sided; at least 1 / draws.
        se: Standard error of the mean.
        df: Its degrees of freedom.
    """

    mean: float
    low: float
    high: float
    p: float
    se: float
    df: float

    def threshold(self, tests: int = 1) -> float:
        """Return the least mean difference that is called better or worse: t's 97.5 % + t's 80 %, in errors.

        What is called in a comparison of low power is mostly much too large (Gelman & Carlin, 2014), so more
        is asked than an interval beside 0.

        Args:
            tests: Number of tests that p is corrected for; among many the corrected level may ask for more.
        """
        from scipy.special import stdtrit

        alone = stdtrit(self.df, 1 - LEVEL / 2) + stdtrit(self.df, POWER)
        return float(max(alone, stdtrit(self.df, 1 - LEVEL / 2 / tests)) * self.se)

    def detectable(self, tests: int = 1) -> float:
        """Return the least true difference that reaches :meth:`threshold` in 80 % of such comparisons.

        By the noncentral t distribution, from this comparison's own standard error.

        Args:
            tests: See :meth:`threshold`; Holm's correction is at most Bonferroni's, which is taken.
        """
        from scipy.special import nctdtrinc

        if not self.se:
            return 0.0
        return float(nctdtrinc(self.df, 1 - POWER, self.threshold(tests) / self.se) * self.se)


def joint_bootstrap(
    first: np.ndarray,
    second: np.ndarray | None,
    *,
    combine: Combine | None = None,
    groups: Sequence[Any] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """Test the difference of two arms by the Multi-Bootstrap (Sellam et al., 2022, section 3), corrected.

    Each draw takes seeds with replacement, the same for both arms (row s of both was trained with the
    same seed), and test examples with replacement, and averages first - second over both; the interval
    holds the middle 95 % of the draws, and p = 2 min(P(draw <= 0), P(draw >= 0)).

    A metric that is no mean over examples, such as a correlation or a macro-F1, is a function ``combine``
    of the means of k statistics of each example: a draw takes the means over its examples and combines them
    for each seed.

    Where we depart from the paper: with three to ten seeds the plain draws are too narrow where seeds
    differ, and too wide where they do not, because what is neither the seed's nor the example's own is
    counted about three times (Owen, 2007). So each draw's distance from the mean, in the draws' standard
    deviations, is carried over from the normal distribution to Student's t with the standard error and
    degrees of freedom of :func:`two_way_error`. With fewer than six seeds interval and p are those of that t
    alone. ``benchmarks/interval.py`` has how often the interval misses: in 2.3 to 5.2 % of experiments with
    three seeds (3.4 on average), in up to 7.0 % with six or ten (4.7 and 5.2), and less with few seeds that
    differ little.
    Under ``combine`` the standard error is that of the examples' influence values (:func:`linearized`), and
    the draws are moved by their bias: the mean of what they lie above the same draws of those values.

    Args:
        first: Score of each example under each seed, shape ``(seeds, examples)``; right or wrong as 1
            or 0, or an F1. With ``combine`` its statistics, shape ``(seeds, examples, k)``.
        second: The same of the other arm; None compares with a score of 0.
        combine: Means of the statistics, shape ``(..., k)``, to scores, shape ``(...)``; None takes the only
            statistic's mean. A draw whose score is not finite is left out.
        groups: What each example belongs to, such as its passage: drawn whole, because its examples
            are not independent. None draws examples.
        draws: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        ValueError: If the shapes differ, there is nothing in them, or several statistics come without
            ``combine``.
    """
    from scipy.stats import norm, t

    tables, sizes = _tables(first, second, combine, groups)
    own = [
        table[..., 0] if combine is None else linearized(table, sizes, combine) for table in tables
    ]
    sums = own[0] - own[1] if len(own) > 1 else own[0]
    mean = float(sums.sum() / (len(sums) * sizes.sum()))
    se, df = two_way_error((sums - mean * sizes) / sizes.mean())
    if len(sums) < LEAST_DRAWN:
        half = float(t.ppf(1 - LEVEL / 2, df)) * se
        p = 2 * float(t.sf(abs(mean) / se, df)) if se else float(mean == 0)
        return Difference(mean, mean - half, mean + half, max(p, 1 / draws), se, df)
    values = _draw(sums, sizes, draws, seed) - mean
    if combine is not None:
        drawn = _draw_combined(tables, sizes, combine, draws, seed) - mean
        finite = np.isfinite(drawn)
        values = drawn[finite] - (drawn - values)[finite].mean()
    spread = values.std()
    if spread > 0:
        values = se * t.ppf(norm.cdf(values / spread), df)
    low, high = mean + np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2])
    p = 2 * min((mean + values <= 0).mean(), (mean + values >= 0).mean())
    return Difference(mean, float(low), float(high), float(min(1.0, max(p, 1 / draws))), se, df)


def _tables(
    first: np.ndarray,
    second: np.ndarray | None,
    combine: Combine | None,
    groups: Sequence[Any] | None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Sum the statistics over each group: ``(seeds, groups, k)`` of one or two arms, and the groups' sizes."""
    arms = [np.asarray(arm, float) for arm in (first, second) if arm is not None]
    if any(arm.shape != arms[0].shape for arm in arms) or arms[0].ndim < 2 or not arms[0].size:
        found = " and ".join(str(arm.shape) for arm in arms)
        raise ValueError(
            f"expected two arrays (seeds, examples) or (seeds, examples, k) of one shape, found {found}"
        )
    arms = [arm if arm.ndim == 3 else arm[..., None] for arm in arms]
    if combine is None:
        if arms[0].shape[2] != 1:
            raise ValueError(
                f"expected combine with {arms[0].shape[2]} statistics an example, found none: it says how "
                "their means make a score"
            )
        arms = [arms[0] - arms[1]] if len(arms) > 1 else arms
    found = [group_sums(np.moveaxis(arm, 2, 1), groups) for arm in arms]
    return [np.moveaxis(sums, 1, 2) for sums, _ in found], found[0][1]


def linearized(table: np.ndarray, sizes: np.ndarray, combine: Combine) -> np.ndarray:
    """Replace the statistics of each group by sums whose mean is the score: score plus influence.

    An example's influence on a seed's score is the derivative of ``combine`` at the seed's means, times the
    example's distance from them (Davison & Hinkley, 1997, section 2.7). The derivative is a central difference
    over a hundred-thousandth of each statistic's spread.

    Args:
        table: Sums of the statistics over each group, shape ``(seeds, groups, k)``.
        sizes: Examples of each group, shape ``(groups,)``.
        combine: Means of the statistics to a score.

    Returns:
        Shape ``(seeds, groups)``; for a metric that is a mean, the sums of its scores.
    """
    means = table.sum(1) / sizes.sum()
    step = 1e-5 * (table / sizes[:, None]).std(1)
    moves = step[:, :, None] * np.eye(table.shape[2])
    apart = combine(means[:, None] + moves) - combine(means[:, None] - moves)
    slopes = np.divide(apart, 2 * step, out=np.zeros_like(step), where=step > 0)
    away = table - sizes[:, None] * means[:, None]
    return np.einsum("sgk,sk->sg", away, slopes) + combine(means)[:, None] * sizes


def scores_of(statistics: np.ndarray, combine: Combine | None = None) -> np.ndarray:
    """Score tables of statistics.

    Args:
        statistics: Shape ``(..., examples, k)``.
        combine: Means of the statistics to a score; None takes the only statistic's mean.

    Returns:
        Shape ``(...)``.
    """
    means = np.ascontiguousarray(np.moveaxis(statistics, -1, -2)).mean(-1)
    return means[..., 0] if combine is None else combine(means)


def mean_scores(statistics: np.ndarray, combine: Combine | None = None) -> np.ndarray:
    """Average the score over seeds.

    Args:
        statistics: Shape ``(..., seeds, examples, k)``.
        combine: See :func:`scores_of`.

    Returns:
        Shape ``(...)``.
    """
    if combine is None:
        return statistics[..., 0].mean((-2, -1))
    return scores_of(statistics, combine).mean(-1)


def group_sums(scores: np.ndarray, groups: Sequence[Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum over the examples of each group, and count them.

    Args:
        scores: Shape ``(..., examples)``.
        groups: What each example belongs to; None leaves every example alone.

    Returns:
        Shapes ``(..., groups)`` and ``(groups,)``.
    """
    if groups is None:
        return scores, np.ones(scores.shape[-1])
    of = np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(of).astype(float)
    sums = np.apply_along_axis(lambda row: np.bincount(of, row, len(sizes)), -1, scores)
    return sums, sizes


def _draw(sums: np.ndarray, sizes: np.ndarray, draws: int, seed: int) -> np.ndarray:
    return np.concatenate(
        [
            ((weights @ sums) * times).sum(1) / (times @ sizes)
            for weights, times in _picks(sums, draws, seed)
        ]
    )


def _draw_combined(
    tables: Sequence[np.ndarray], sizes: np.ndarray, combine: Combine, draws: int, seed: int
) -> np.ndarray:
    """Combine the means of each of :func:`_draw`'s draws to scores; first minus second."""
    found = []
    for weights, times in _picks(tables[0], draws, seed):
        total = (times @ sizes)[:, None, None]
        scores = [combine(np.tensordot(times, table, (1, 1)) / total) for table in tables]
        each = scores[0] - scores[1] if len(scores) > 1 else scores[0]
        found.append((weights * each).sum(1))
    return np.concatenate(found)


def _picks(table: np.ndarray, draws: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw a weight for each seed, ``(chunk, seeds)``, and a count of each group, ``(chunk, groups)``."""
    rng, (seeds, groups) = np.random.default_rng(seed), table.shape[:2]
    for start in range(0, draws, CHUNK):
        many = min(CHUNK, draws - start)
        weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), many) / seeds
        yield weights, rng.multinomial(groups, np.full(groups, 1 / groups), many)


def two_way_error(values: np.ndarray) -> tuple[float, float]:
    """Estimate the standard error of the mean of a table whose rows and whose columns are both samples.

    From the mean squares of a two-way analysis of variance without repetition: those of rows, A, of
    columns, B, and of the rest, E, give var(mean) = (A + B - E) / (rows * columns), and at least
    E / (rows * columns). Student's 97.5 % point is Cochran & Cox's (1957, section 4.14): that of rows - 1
    degrees of freedom, weighted by A, with that of columns - 1, weighted by B - E; the degrees of freedom are
    those of a t that has it. Satterthwaite's (1946) are too many where A and B are alike: with three rows the
    interval then misses in 6.5 to 8 % of experiments instead of 5 %. One row, or one column,
    is an ordinary sample.

    Args:
        values: Shape ``(rows, columns)``.
    """
    rows, columns = values.shape
    if 1 in values.shape:
        n = values.size
        return (float(values.std(ddof=1) / np.sqrt(n)), n - 1.0) if n > 1 else (0.0, 1.0)
    mean = values.mean()
    of_rows, of_columns = values.mean(1) - mean, values.mean(0) - mean
    rest = values - mean - of_rows[:, None] - of_columns
    a, b = rows - 1, columns - 1
    square_a, square_b = columns * (of_rows**2).sum() / a, rows * (of_columns**2).sum() / b
    square_e = (rest**2).sum() / (a * b)
    total = max(square_a + square_b - square_e, square_e)
    share = min(1.0, square_a / total) if total else 0.0
    return float(np.sqrt(total / values.size)), _weighted_df(a, b, share)


def _weighted_df(a: int, b: int, share: float) -> float:
    """Find the degrees of freedom whose 97.5 % point is share * that of a + (1 - share) * that of b."""
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    ends = [float(stdtrit(df, 1 - LEVEL / 2)) for df in (a, b)]
    point = share * ends[0] + (1 - share) * ends[1]
    least, most = sorted((a, b))
    if not min(ends) < point < max(ends):
        return float(a if point == ends[0] else b)
    found: Any = brentq(lambda x: stdtrit(1 / x, 1 - LEVEL / 2) - point, 1 / most, 1 / least)
    return 1 / found
