"""The joint bootstrap: hand-worked variance, coverage on simulated scores, groups, refusals."""

import numpy as np
import pytest

from nlptl.evaluation.statistics import joint_bootstrap


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


def test_its_spread_is_the_two_way_one():
    """Seeds that differ by a constant only, one example: the bootstrap's variance is sd^2 / seeds."""
    values = np.asarray([[0.0], [1.0], [2.0], [5.0]])
    found = joint_bootstrap(values, np.zeros_like(values), draws=40_000)
    normal = 2 * 1.96 * values.std() / 2  # sqrt(4) seeds
    assert found.high - found.low == pytest.approx(normal, rel=0.1)


def test_without_an_effect_the_interval_rarely_misses_zero():
    """300 simulated experiments of six seeds: difficulty is shared by the seeds, luck is not."""
    rng = np.random.default_rng(2)
    misses = 0
    for _ in range(300):
        shared = rng.normal(0, 0.3, (1, 200))
        difference = shared + rng.normal(0, 0.01, (6, 1)) + rng.normal(0, 0.3, (6, 200))
        found = joint_bootstrap(difference, np.zeros((6, 200)), draws=500)
        misses += not found.low <= 0 <= found.high
    assert 0 < misses / 300 <= 0.075


def test_groups_are_drawn_whole():
    """Ten copies of each of 30 examples in a group are worth 30 examples, not 300."""
    rng = np.random.default_rng(3)
    few = rng.normal(0.1, 1, (5, 30))
    many, zero = np.repeat(few, 10, axis=1), np.zeros((5, 300))
    alone = joint_bootstrap(few, zero[:, :30])
    grouped = joint_bootstrap(many, zero, groups=[f"p{i // 10}" for i in range(300)])
    naive = joint_bootstrap(many, zero)
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert naive.high - naive.low < 0.8 * (alone.high - alone.low)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"of one shape, found \(2, 3\) and \(2, 4\)"):
        joint_bootstrap(np.zeros((2, 3)), np.zeros((2, 4)))
