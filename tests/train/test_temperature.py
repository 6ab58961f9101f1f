"""A temperature on planted outputs, and in a model."""

import numpy as np
import pytest

from nlptl.train.convex import cross_entropy
from nlptl.train.temperature import fit_temperature


def planted(sure, count=2000, seed=0):
    """Outputs of a model that is so many times too sure, and gold values drawn from what it should say."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(count, 3))
    gold = (honest + rng.gumbel(size=honest.shape)).argmax(1)
    return sure * honest, gold


@pytest.mark.parametrize("sure", [0.5, 1.0, 4.0])
def test_the_planted_temperature_is_found(sure):
    logits, gold = planted(sure)
    found = fit_temperature(logits, gold)
    assert found.value == pytest.approx(sure, rel=0.1)
    assert found.after == pytest.approx(cross_entropy(logits / found.value, gold).mean())
    assert found.helps == (sure != 1.0)


def test_a_handful_of_examples_does_not_choose_one():
    right = np.tile([0.5, 0.0], (10, 1)), np.zeros(10, int)  # ten right answers in a row
    found = fit_temperature(*right)
    assert found.after < found.before and not found.helps
    assert found.value > 0.2  # the prior holds it back
    assert not fit_temperature(right[0][:1], right[1][:1]).helps


def test_cross_entropy_by_hand():
    logits = np.log(np.array([[0.2, 0.8], [0.5, 0.5]]))
    np.testing.assert_allclose(cross_entropy(logits, np.array([1, 0])), -np.log([0.8, 0.5]))
    one = np.array([[0.0], [np.log(3.0)]])
    np.testing.assert_allclose(cross_entropy(one, np.array([0, 1])), -np.log([0.5, 0.75]))


def test_the_error_by_hand_and_the_widest_temperature():
    """Half the squared deviations of three differences, over three, under the root."""
    logits = np.log([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    found = fit_temperature(logits, np.array([0, 1, 1]))
    each = cross_entropy(logits, np.array([0, 1, 1])) - cross_entropy(
        logits / found.value, np.array([0, 1, 1])
    )
    mean = each.sum() / 3
    by_hand = (sum((one - mean) ** 2 for one in each) / 2 / 3) ** 0.5
    assert found.error == pytest.approx(by_hand) and by_hand > 0.01
    shouted, gold = planted(1000.0)  # no temperature up to 10 makes this honest
    assert fit_temperature(shouted, gold).value == pytest.approx(10.0, rel=1e-3)
