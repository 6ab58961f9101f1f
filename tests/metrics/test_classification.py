"""Metrics against scikit-learn and against figures worked out by hand."""

import evaluate
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from nlptl.metrics.classification import (
    Accuracy,
    MacroF1,
    Matthews,
    classification_metrics,
    classification_scores,
)


def draw(seed, classes, n=57):
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, classes, n)
    guess = np.where(rng.random(n) < 0.6, gold, rng.integers(0, classes, n))
    return gold.tolist(), guess.tolist()


@pytest.mark.parametrize(("seed", "classes"), [(0, 2), (1, 3), (2, 7)])
def test_equal_to_scikit_learn(seed, classes):
    gold, guess = draw(seed, classes)
    found = classification_metrics(classes).compute(predictions=guess, references=gold)
    assert found["accuracy"] == pytest.approx(accuracy_score(gold, guess), abs=1e-12)
    assert found["macro_f1"] == pytest.approx(f1_score(gold, guess, average="macro"), abs=1e-12)
    assert found["matthews"] == pytest.approx(matthews_corrcoef(gold, guess), abs=1e-12)
    assert classification_scores(gold, guess, classes) == found


def test_by_hand():
    """Gold aab, predicted aba: accuracy 1/3; F1 of a 1/2, of b 0; phi = (0*1 - 1*1) / 2."""
    found = classification_metrics(2).compute(predictions=[0, 1, 0], references=[0, 0, 1])
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["macro_f1"] == pytest.approx(0.25)
    assert found["matthews"] == pytest.approx(-0.5)
    alone = MacroF1()  # it counts the classes that occur
    assert alone.compute(predictions=[0, 1, 0], references=[0, 0, 1])["macro_f1"] == 0.25


@pytest.mark.parametrize("metric", [Accuracy, MacroF1, Matthews])
def test_standard_errors_are_the_jackknifes_example_by_example(metric):
    gold, guess = draw(3, 3)
    n = len(gold)
    name = metric.name_
    found = metric(3).compute(predictions=guess, references=gold)
    left_out = [
        metric(3).compute(
            predictions=guess[:i] + guess[i + 1 :], references=gold[:i] + gold[i + 1 :]
        )[name]
        for i in range(n)
    ]
    expected = np.sqrt((n - 1) / n * np.sum((left_out - np.mean(left_out)) ** 2))
    assert found[f"{name}_se"] == pytest.approx(expected, rel=1e-9)


def test_accuracys_error_is_the_binomial_one_with_n_minus_1():
    """Jackknife of a mean: sqrt(p (1 - p) / (n - 1)); 8 of 10 right: sqrt(0.16 / 9)."""
    found = Accuracy(2).compute(predictions=[1] * 10, references=[1] * 8 + [0] * 2)
    assert found["accuracy_se"] == pytest.approx(np.sqrt(0.16 / 9))


def test_constant_predictions_give_numbers_and_no_warning():
    found = classification_metrics(3).compute(predictions=[1, 1, 1], references=[1, 1, 1])
    assert (found["accuracy"], found["macro_f1"], found["matthews"]) == (1.0, 1.0, 0.0)


def test_they_are_evaluates_metrics_and_combine_with_others():
    both = evaluate.combine([Accuracy(2), Matthews(2)])
    assert set(both.compute(predictions=[0, 1], references=[0, 1])) == {
        "accuracy",
        "accuracy_se",
        "matthews",
        "matthews_se",
    }
