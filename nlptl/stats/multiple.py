"""Several tests at once (Holm), and the test that a difference is small enough to call equal."""

from collections.abc import Sequence

import numpy as np

from nlptl.stats.bootstrap import Difference


def equivalence_p(difference: Difference, margin: float) -> float:
    """Test by two one-sided tests (Schuirmann, 1987) that a difference lies within ±margin.

    Args:
        difference: From :func:`joint_bootstrap`.
        margin: What counts as equal, in the score's unit.

    Returns:
        The larger p of the two.
    """
    from scipy.stats import t

    if not difference.se:
        return float(abs(difference.mean) >= margin)
    below = t.sf((difference.mean + margin) / difference.se, difference.df)
    above = t.cdf((difference.mean - margin) / difference.se, difference.df)
    return float(max(below, above))


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm, 1979): family-wise error at most the level.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, worst = [0.0] * len(p), 0.0
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        worst = max(worst, min(1.0, (len(p) - rank) * p[index]))
        adjusted[int(index)] = worst
    return adjusted
