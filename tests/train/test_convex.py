"""Convex fits, against scikit-learn's own and against worked numbers."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from nlptl.train.convex import FOLDS, GRID, fit_linear, fold_numbers


def planted(classes, seed=0, examples=120, width=6):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(examples, width)) * np.arange(1, width + 1) + 3
    outputs = (states - 3) @ rng.normal(size=(width, classes))
    return states, outputs + rng.gumbel(size=outputs.shape)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_fitted_as_scikit_learn_fits_them(classes):
    states, noisy = planted(classes)
    gold = noisy.argmax(1)
    found = fit_linear(states, gold, "classes", outputs=classes)
    scaled = (states - states.mean(0)) / np.sqrt(states.var(0).mean())
    model = LogisticRegression(C=found.strength, max_iter=1000, tol=1e-8).fit(scaled, gold)
    shares = np.exp(found.outputs(states))
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose(shares, model.predict_proba(scaled), atol=5e-3)
    weight, bias = found.plain()
    np.testing.assert_allclose(states @ weight.T + bias, found.outputs(states), atol=1e-9)


def test_the_strength_has_the_lowest_cross_validated_loss():
    states, noisy = planted(3, examples=40)
    found = fit_linear(states, noisy.argmax(1), "classes", outputs=3)
    assert list(found.losses) == sorted(GRID)
    assert found.loss == min(found.losses.values())
    assert found.losses[GRID[0]] > found.loss  # no penalty is right for everything
    random = np.random.default_rng(1).integers(0, 3, 40)
    assert fit_linear(states, random, "classes", outputs=3).strength < found.strength


def test_a_class_that_the_sample_lacks_is_improbable_and_no_error():
    states, noisy = planted(2)
    found = fit_linear(states, 2 * noisy.argmax(1), "classes", outputs=4)  # classes 0 and 2 of 4
    outputs = found.outputs(states)
    assert set(outputs.argmax(1)) == {0, 2} and np.isfinite(outputs).all()
    alone = fit_linear(states, np.full(len(states), 1), "classes", outputs=3)
    assert set(alone.outputs(states).argmax(1)) == {1}


def test_weights_of_examples_count_as_copies():
    states, noisy = planted(2, examples=60)
    gold = noisy.argmax(1)
    double = np.where(np.arange(60) < 20, 2.0, 1.0)
    grid = [0.1]
    weighted = fit_linear(states, gold, "classes", outputs=2, sizes=double, grid=grid)
    mean, deviation = weighted.mean, weighted.deviation
    scaled = np.concatenate([states, states[:20]]) - mean
    copied = LogisticRegression(C=0.1, tol=1e-8).fit(
        scaled / deviation, np.concatenate([gold, gold[:20]])
    )
    np.testing.assert_allclose(np.diff(weighted.weight, axis=0), copied.coef_, atol=5e-3)


def test_numbers_are_fitted_by_ridge_regression():
    states, noisy = planted(1)
    gold = 7 + 3 * noisy[:, 0]
    found = fit_linear(states, gold, "numbers", outputs=1)
    scaled = (states - states.mean(0)) / np.sqrt(states.var(0).mean())
    ridge = Ridge(alpha=1 / found.strength).fit(scaled, gold / gold.std())
    np.testing.assert_allclose(found.outputs(states)[:, 0], gold.std() * ridge.predict(scaled))


def test_several_labels_have_a_regression_each():
    states, noisy = planted(3)
    gold = (noisy > noisy.mean(0)).astype(float)
    found = fit_linear(states, gold, "labels", outputs=3)
    assert found.weight.shape == (3, 6)
    scaled = (states - states.mean(0)) / np.sqrt(states.var(0).mean())
    one = LogisticRegression(C=found.strength, max_iter=1000, tol=1e-8).fit(scaled, gold[:, 1])
    np.testing.assert_allclose(found.weight[1], one.coef_[0], atol=5e-3)


def test_a_layer_without_biases_is_fitted_without():
    states, noisy = planted(2)
    found = fit_linear(states, noisy.argmax(1), "classes", outputs=2, intercept=False)
    weight, bias = found.plain()
    assert not bias.any() and not found.mean.any() and weight.any()


def test_folds_hold_each_class_in_equal_shares():
    gold = np.array([0] * 10 + [1] * 5)
    where = fold_numbers(gold, 5)
    assert [list(np.bincount(gold[where == fold])) for fold in range(5)] == [[2, 1]] * 5


def test_the_grid_has_two_strengths_a_decade_and_ends_where_the_penalty_is_weak():
    steps = np.diff(np.log10(GRID))
    assert steps == pytest.approx(np.full(9, 0.5), abs=1e-3)  # three digits of each
    assert (GRID[0], GRID[-1], FOLDS) == (1e-4, 3.16, 5)
