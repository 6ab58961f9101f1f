"""Linear probes: what a frozen body already knows, read off by one linear layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Inverse strengths of the probe's L2 penalty; the best on validation data is taken.
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        inverse_penalty: What was chosen from the grid (scikit-learn's C).
        validation: Accuracy on the validation examples.
        predictions: Class of each test example, shape ``(n,)``.
        accuracy: Share of the test examples that are right.
    """

    inverse_penalty: float
    validation: float
    predictions: np.ndarray
    accuracy: float


@dataclass(frozen=True)
class Fitted:
    """A logistic regression with the penalty that did best on validation examples.

    Attributes:
        model: scikit-learn's, fitted.
        inverse_penalty: Its C.
        validation: Accuracy on the validation examples.
    """

    model: Any
    inverse_penalty: float
    validation: float


def choose_penalty(
    train: tuple[Any, Sequence[Any]],
    validation: tuple[Any, Sequence[Any]],
    *,
    grid: Sequence[float],
    scaled: bool = False,
) -> Fitted:
    """Fit multinomial logistic regression (L-BFGS: a convex fit, no seed) for each penalty, keep the best.

    Args:
        train: Features and their classes.
        validation: The same; chooses the penalty, the strongest among equals.
        grid: Inverse penalties to try.
        scaled: Standardise the features first, by the training set's means and deviations.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best: Fitted | None = None
    for strength in sorted(grid):
        steps = [StandardScaler()] if scaled else []
        model = make_pipeline(*steps, LogisticRegression(C=strength, max_iter=1000))
        score = float(model.fit(*train).score(*validation))
        if best is None or score > best.validation:
            best = Fitted(model, strength, score)
    assert best, "the grid is empty"
    return best


def fit_probe(
    train: tuple[np.ndarray, Sequence[Any]],
    validation: tuple[np.ndarray, Sequence[Any]],
    test: tuple[np.ndarray, Sequence[Any]],
    *,
    grid: Sequence[float] = GRID,
) -> Probe:
    """Fit a linear layer on standardised states, see :func:`choose_penalty`.

    Args:
        train: States ``(n, width)`` and their classes.
        validation: The same; chooses the penalty.
        test: The same; scored once.
        grid: Inverse penalties to try.
    """
    best = choose_penalty(train, validation, grid=grid, scaled=True)
    predictions = best.model.predict(test[0])
    right = float(np.mean(predictions == np.asarray(test[1])))
    return Probe(best.inverse_penalty, best.validation, predictions, right)
