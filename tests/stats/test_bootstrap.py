"""The joint bootstrap: hand-worked variance, coverage on simulated scores, groups, refusals."""

import numpy as np
import pytest
from scipy import stats

from nlptl.stats.bootstrap import (
    Difference,
    equivalence_p,
    holm,
    joint_bootstrap,
    two_way_error,
)


def test_without_variation_there_is_no_uncertainty():
    first, second = np.full((3, 8), 1.0), np.full((3, 8), 0.25)
    found = joint_bootstrap(first, second, draws=100)
    assert (found.mean, found.low, found.high, found.p) == (0.75, 0.75, 0.75, 0.01)


def test_swapped_arms_flip_the_sign():
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 50)), rng.random((4, 50))
    one, two = joint_bootstrap(a, b, draws=2000), joint_bootstrap(b, a, draws=2000)
    assert one.mean == -two.mean
    assert one.low == pytest.approx(-two.high, abs=1e-12)
    assert one.p == two.p


def test_one_example_is_a_sample_of_seeds():
    """The standard error is scipy's, and the interval about as wide as Student's."""
    values = np.asarray([[0.0], [1.0], [2.0], [5.0]])
    found = joint_bootstrap(values, np.zeros_like(values), draws=40_000)
    assert found.se == pytest.approx(stats.sem(values[:, 0]))
    assert found.df == 3
    student = 2 * stats.t.ppf(0.975, 3) * found.se
    assert found.high - found.low == pytest.approx(student, rel=0.25)  # the draws are few and skew


def test_the_two_way_error_by_hand():
    """Rows differ by 2, columns by 4, nothing else: A = 4, B = 16, E = 0; var = 20 / 4, df = 400 / 272."""
    se, df = two_way_error(np.asarray([[0.0, 4.0], [2.0, 6.0]]))
    assert se == pytest.approx(5**0.5)
    assert df == pytest.approx(400 / 272)
    one = np.asarray([[1.0, 2.0, 4.0]])
    assert two_way_error(one) == (pytest.approx(stats.sem(one[0])), 2)
    assert two_way_error(one.T) == two_way_error(one)


def answers(rng, seeds, examples, *, of_seed, of_recipe):
    """Right or wrong: examples differ in difficulty, recipes in what they find hard, seeds in luck."""
    difficulty = rng.normal(0.7, 1.5, examples)
    arms = [
        difficulty
        + rng.normal(0, of_recipe, examples)
        + rng.normal(0, of_seed, (seeds, 1))
        + rng.normal(0, 0.7, (seeds, examples))
        for _ in range(2)
    ]
    return [(arm > 0).astype(float) for arm in arms]


@pytest.mark.parametrize(
    ("seeds", "of_seed", "of_recipe"),
    [(6, 0.05, 1.0), (6, 0.15, 0.0), (3, 0.05, 1.0), (3, 1.0, 0.0)],
)
def test_without_an_effect_the_interval_misses_zero_in_one_of_twenty(seeds, of_seed, of_recipe):
    """1,000 experiments, 320 answers each: 5 % ± 1.5."""
    rng = np.random.default_rng(5)
    misses = low_p = 0
    for _ in range(1000):
        arms = answers(rng, seeds, 320, of_seed=of_seed, of_recipe=of_recipe)
        found = joint_bootstrap(*arms, draws=300)
        misses += not found.low <= 0 <= found.high
        low_p += found.p < 0.05
    assert 35 <= misses <= 65
    assert abs(low_p - misses) <= 10


def test_what_is_detectable_is_found_in_four_of_five():
    rng = np.random.default_rng(6)
    zero, found, detectable = np.zeros((6, 200)), 0, []
    for _ in range(400):
        noise = (
            rng.normal(0, 0.02, (6, 1))
            + rng.normal(0, 0.4, (1, 200))
            + rng.normal(0, 0.3, (6, 200))
        )
        detectable.append(joint_bootstrap(noise, zero, draws=100).detectable)
        found += joint_bootstrap(noise + 0.083, zero, draws=500).p < 0.05
    assert np.mean(detectable) == pytest.approx(0.083, rel=0.1)
    assert 0.7 < found / 400 < 0.9


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


def test_groups_are_drawn_whole():
    """Ten copies of each of 30 examples in a group are worth 30 examples, not 300."""
    rng = np.random.default_rng(3)
    few = rng.normal(0.1, 1, (5, 30))
    many, zero = np.repeat(few, 10, axis=1), np.zeros((5, 300))
    alone = joint_bootstrap(few, zero[:, :30])
    grouped = joint_bootstrap(many, zero, groups=[f"p{i // 10}" for i in range(300)])
    naive = joint_bootstrap(many, zero)
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert naive.se < 0.7 * alone.se


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"of one shape, found \(2, 3\) and \(2, 4\)"):
        joint_bootstrap(np.zeros((2, 3)), np.zeros((2, 4)))
