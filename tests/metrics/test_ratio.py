"""The ratio and its error, by hand and against resampling."""

import numpy as np
import pytest

from nlptl.metrics.ratio import ratio_with_error


def test_by_hand():
    """Sums 6 and 2 over 3 and 1: r = 2, no residuals. Sums 6 and 4: r = 2.5, residuals -+1.5."""
    assert ratio_with_error([(6.0, 3), (2.0, 1)]) == (2.0, 0.0)
    ratio, error = ratio_with_error([(6.0, 3), (4.0, 1)])
    assert ratio == 2.5
    assert error == pytest.approx((2 * (1.5**2 + 1.5**2)) ** 0.5 / 4)
    assert np.isnan(ratio_with_error([(6.0, 3)])[1])


def test_it_is_what_resampling_groups_comes_to():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, 120)
    sums = rng.normal(2.0, 1.0, 120) * counts
    draws = rng.integers(0, 120, (4000, 120))
    ratios = sums[draws].sum(1) / counts[draws].sum(1)
    assert ratio_with_error(zip(sums, counts, strict=True))[1] == pytest.approx(
        ratios.std(), rel=0.05
    )
