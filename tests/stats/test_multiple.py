"""Holm's correction and the test of equality: by hand, and against scipy."""

import numpy as np
import pytest
from scipy import stats

from nlptl.stats.bootstrap import Difference, joint_bootstrap
from nlptl.stats.multiple import equivalence_p, holm


def test_equal_means_that_both_one_sided_tests_say_so():
    """An ordinary sample of 20: scipy's one-sided t-tests against either end of the margin."""
    values = np.random.default_rng(7).normal(0.02, 0.1, (1, 20))
    found = joint_bootstrap(values, np.zeros_like(values))
    low = stats.ttest_1samp(values[0], -0.06, alternative="greater").pvalue
    high = stats.ttest_1samp(values[0], 0.06, alternative="less").pvalue
    assert equivalence_p(found, 0.06) == pytest.approx(max(low, high))
    certain = Difference(0.0, 0.0, 0.0, 1.0, 0.0, 1.0)
    assert equivalence_p(certain, 0.005) == 0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
