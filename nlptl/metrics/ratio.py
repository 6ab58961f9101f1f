"""A ratio of sums over groups, with its standard error."""

from collections.abc import Iterable

import numpy as np


def ratio_with_error(sums: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Divide the sum over all groups by their count, with the linearised standard error.

    With r = S / C over g groups, se = sqrt(g / (g - 1) * sum((s_i - r c_i)^2)) / C (Cochran, 1977,
    section 2.11): this approximates resampling whole groups. Units of one group are not independent,
    such as the masked tokens of one text or the questions on one passage. NaN for a single group.

    Returns:
        The ratio and its standard error.
    """
    table = np.asarray(list(sums), dtype=float)
    total, count = table.sum(axis=0)
    ratio, groups = total / count, len(table)
    residual = table[:, 0] - ratio * table[:, 1]
    if groups < 2:
        return float(ratio), float("nan")
    se = np.sqrt(groups / (groups - 1) * (residual**2).sum()) / count
    return float(ratio), float(se)
