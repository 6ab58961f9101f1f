"""Linear heads for few examples, in the form that the core writes into a model."""

from typing import Any

import numpy as np

from nlptl.train.convex import LinearFit, cross_entropy, fit_linear

#: Inverse penalty of the probe on states as they are: scikit-learn's default, and so SetFit's.
STRENGTH = 1.0
#: Smallest mean squared distance that distances are divided by.
NOTHING = 1e-12


def centroid_fit(
    place: str,
    states: np.ndarray,
    gold: np.ndarray,
    kind: str,
    *,
    outputs: int,
    sizes: np.ndarray,
    intercept: bool = True,
) -> LinearFit:
    """Make a linear layer whose largest output is the class with the nearest mean (Snell et al., 2017).

    -|x - c|^2 / v = (2 c x - |c|^2) / v + a number that all classes share. v is the mean squared distance
    of the examples from their means, of one example a class that of the means from one another.

    Args:
        place: Name of the states; it plays no part.
        states: States, ``(examples, width)``.
        gold: Class numbers, ``(examples,)``.
        kind: ``classes``.
        outputs: Number of classes.
        sizes: Weight of each example, ``(examples,)``.
        intercept: Whether the layer has biases; without them the means are scaled to one length.
    """
    means = np.zeros((outputs, states.shape[1]))
    for number in np.unique(gold):
        own = gold == number
        means[number] = np.average(states[own], axis=0, weights=sizes[own])
    around = means[np.unique(gold)]
    spread = np.square(states - means[gold]).sum(1).mean()
    if spread <= NOTHING:
        spread = np.square(around - around.mean(0)).sum(1).mean()
    spread = max(float(spread), NOTHING)
    bias = -np.square(means).sum(1) / spread
    if not intercept:
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), NOTHING)
        bias = np.zeros(outputs)
    mean = np.zeros(states.shape[1])
    made = LinearFit(2 * means / spread, bias, mean, 1.0, STRENGTH, {})
    loss = float(cross_entropy(made.outputs(states), gold).mean())
    return LinearFit(made.weight, made.bias, mean, 1.0, STRENGTH, {STRENGTH: loss})


def probe_fit(
    place: str, states: np.ndarray, gold: np.ndarray, kind: Any, *, scale: float = 1.0, **about: Any
) -> LinearFit:
    """Fit a logistic regression with scikit-learn's usual penalty on states as they are.

    Args:
        place: Name of the states; it plays no part.
        states: States, ``(examples, width)``.
        gold: Class numbers, ``(examples,)``.
        kind: ``classes``.
        scale: Number that the states were multiplied by, and the penalty is meant without.
        about: As :func:`nlptl.train.convex.fit_linear` takes them.
    """
    variance = float(np.square(states - states.mean(0)).mean()) / scale**2
    return fit_linear(states, gold, kind, grid=(STRENGTH * (variance or 1.0),), **about)
