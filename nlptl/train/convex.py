"""Linear layers fitted as convex problems: penalized regressions on states that are computed once.

For a linear head on frozen states the loss has one minimum, which L-BFGS finds without a learning rate, a seed
or a number of epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

#: Kind of the gold values: one class each, several labels each, or numbers.
Kind = Literal["classes", "labels", "numbers"]
#: Inverse strengths of the L2 penalty on scaled states (scikit-learn's C), from strong to weak.
GRID = tuple(float(f"{10**power:.3g}") for power in np.arange(-4, 0.51, 0.5))
#: Parts of the training set that each are left out once to choose the strength.
FOLDS = 5
#: Steps of L-BFGS at most.
STEPS = 500
#: Smallest deviation of states that are not all alike.
NOTHING = 1e-8


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear layer on centred states of unit scale.

    Attributes:
        weight: Weights, shape ``(outputs, width)``.
        bias: Biases, shape ``(outputs,)``.
        mean: Mean of each state over the training examples, shape ``(width,)``.
        deviation: Root mean square of the states' standard deviations, one number for all, so that a
            direction in which texts hardly differ is not blown up.
        strength: Inverse strength of the penalty that was chosen (scikit-learn's C).
        losses: Mean cross-validated loss for each strength that was tried.
    """

    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    deviation: float
    strength: float
    losses: dict[float, float]

    @property
    def loss(self) -> float:
        """Cross-validated loss under the chosen strength."""
        return float(self.losses[self.strength])

    def plain(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weights and biases for states as they are."""
        weight = self.weight / self.deviation
        return weight, self.bias - weight @ self.mean

    def outputs(self, states: np.ndarray) -> np.ndarray:
        """Compute the layer's outputs, ``(examples, outputs)``, for states ``(examples, width)``."""
        return (states - self.mean) / self.deviation @ self.weight.T + self.bias


def fit_linear(
    states: np.ndarray,
    gold: np.ndarray,
    kind: Kind,
    *,
    outputs: int,
    sizes: np.ndarray | None = None,
    intercept: bool = True,
    grid: Sequence[float] = GRID,
    groups: np.ndarray | None = None,
) -> LinearFit:
    """Fit a linear layer with an L2 penalty whose strength has the lowest cross-validated loss.

    Classes: multinomial logistic regression; several labels: one logistic regression for each; numbers: ridge
    regression. The penalty is on weights for the scaled states, not on biases. The result depends on
    nothing but the arguments.

    Args:
        states: States that the layer reads, shape ``(examples, width)``.
        gold: Class numbers or numbers, ``(examples,)``, or zeros and ones, ``(examples, outputs)``.
        kind: Kind of the gold values.
        outputs: Number of outputs of the layer.
        sizes: Weight of each example, shape ``(examples,)``; None for equal weights.
        intercept: Whether the layer has biases; without them the states are scaled only, and keep their means.
        grid: Inverse strengths to try.
        groups: Group of each example, ``(examples,)``, such as a text and its copies: a group is left out as a
            whole, and the loss of its first example counts. None for examples that are all independent.
    """
    mean = states.mean(0, dtype=np.float64)
    deviation = float(np.sqrt(np.square(states - mean).mean()))
    deviation = deviation if deviation > NOTHING else 1.0
    mean = mean if intercept else np.zeros_like(mean)
    scaled = (states - mean) / deviation
    sizes = np.ones(len(states)) if sizes is None else np.asarray(sizes, float)
    columns = [gold] if kind == "classes" else list(gold.reshape(len(gold), -1).T)
    fit, loss = (_ridge, _squares) if kind == "numbers" else (_logistic, cross_entropy)
    about = (outputs if kind == "classes" else 1, intercept)
    where = fold_numbers(gold if kind == "classes" else columns[0], FOLDS, groups)
    own = np.ones(len(states), bool) if groups is None else firsts(groups)
    losses = dict.fromkeys(sorted(grid), 0.0)
    for fold in range(max(where) + 1):
        out = where == fold
        for column in columns:
            part = (scaled[~out], column[~out], sizes[~out], *about)
            for strength, (weight, bias) in fit(*part, sorted(grid)).items():
                each = loss(scaled[out & own] @ weight.T + bias, column[out & own])
                losses[strength] += float(each @ sizes[out & own]) / sizes[own].sum()
    best = min(losses, key=losses.__getitem__)
    whole = [fit(scaled, column, sizes, *about, [best])[best] for column in columns]
    weight, bias = (np.concatenate(parts) for parts in zip(*whole, strict=True))
    return LinearFit(weight, bias, mean, deviation, best, losses)


def fold_numbers(values: np.ndarray, folds: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Divide examples into folds with equal shares of each class or, for numbers, of each part of the scale.

    Args:
        values: Classes or numbers, shape ``(examples,)``.
        folds: Number of folds.
        groups: Group of each example; all of a group have one value, and are in one fold.

    Example:
        >>> fold_numbers(np.array([0, 1, 0, 1, 0, 0]), 2)
        array([0, 0, 1, 1, 0, 1])
    """
    if groups is not None:
        _, first, member = np.unique(groups, return_index=True, return_inverse=True)
        return fold_numbers(values[first], folds)[member]
    found = np.empty(len(values), int)
    found[np.argsort(values, kind="stable")] = np.arange(len(values)) % min(folds, len(values))
    return found


def firsts(groups: np.ndarray) -> np.ndarray:
    """Mark the first example of each group.

    Example:
        >>> firsts(np.array([4, 7, 4])).tolist()
        [True, True, False]
    """
    found = np.zeros(len(groups), bool)
    found[np.unique(groups, return_index=True)[1]] = True
    return found


Fits = dict[float, tuple[np.ndarray, np.ndarray]]


def _logistic(
    states: np.ndarray,
    gold: np.ndarray,
    sizes: np.ndarray,
    outputs: int,
    intercept: bool,
    grid: Sequence[float],
) -> Fits:
    """Fit a logistic regression for each strength, each from the solution of the stronger one before."""
    from sklearn.linear_model import LogisticRegression

    seen = np.unique(gold)
    shares = np.asarray([sizes[gold == each].sum() for each in range(max(outputs, 2))])
    # Biases of classes that are not in the sample.
    rare = intercept * np.log((shares + 0.5) / (shares + 0.5).sum())
    if len(seen) < 2:
        bias = rare if outputs > 1 else rare[1:] - rare[:1]
        return dict.fromkeys(grid, (np.zeros((outputs, states.shape[1])), bias))
    model = LogisticRegression(max_iter=STEPS, warm_start=True, fit_intercept=intercept)
    found: Fits = {}
    for strength in grid:
        model.set_params(C=strength).fit(states, gold, sizes)
        weight, bias = model.coef_, np.broadcast_to(model.intercept_, len(model.coef_))
        if outputs == 1:
            found[strength] = weight.copy(), bias.copy()
            continue
        if len(seen) == 2:  # one column: the second class against the first
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        whole, all_biases = (
            np.zeros((outputs, states.shape[1])),
            rare + bias.mean() - rare[seen].mean(),
        )
        whole[seen], all_biases[seen] = weight, bias
        found[strength] = whole, all_biases
    return found


def _ridge(
    states: np.ndarray,
    gold: np.ndarray,
    sizes: np.ndarray,
    outputs: int,
    intercept: bool,
    grid: Sequence[float],
) -> Fits:
    """Fit a ridge regression for each strength C, with the penalty 1 / C on squared weights of unit gold."""
    from sklearn.linear_model import Ridge

    scale = gold.std() or 1.0
    found: Fits = {}
    for strength in grid:
        model = Ridge(alpha=1 / strength, fit_intercept=intercept).fit(states, gold / scale, sizes)
        found[strength] = scale * model.coef_[None], np.atleast_1d(scale * model.intercept_)
    return found


def cross_entropy(outputs: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Compute each example's cross-entropy, in nats.

    Args:
        outputs: Outputs, shape ``(examples, classes)``; one output is the second of two classes' against 0.
        gold: Class numbers, shape ``(examples,)``.
    """
    if outputs.shape[1] == 1:
        outputs = np.concatenate([np.zeros_like(outputs), outputs], 1)
    top = outputs.max(1, keepdims=True)
    whole = top[:, 0] + np.log(np.exp(outputs - top).sum(1))
    return whole - outputs[np.arange(len(gold)), gold.astype(int)]


def _squares(outputs: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return (outputs[:, 0] - gold) ** 2
