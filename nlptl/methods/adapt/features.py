"""States that are computed once: recoloured, copied or weighted; and how far two domains lie apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlptl.errors import DataError
from nlptl.train.convex import FOLDS, GRID, LinearFit, fit_linear, fold_numbers

#: Largest weight of a source example, times the mean one: a few examples must not be the whole training set.
CLIP = 10.0
#: Share of the largest eigenvalue below which a covariance has no inverse worth the name.
NO_RANK = 1e-10
#: Inverse penalties of the classifier of domains, and most examples of each domain that it sees.
STRENGTHS, MOST = (1e-3, 1e-2, 1e-1, 1.0, 10.0), 500


def recolour(source: np.ndarray, target: np.ndarray, shrinkage: float = 1.0) -> np.ndarray:
    """Give source states the mean and the covariance of the target's (CORAL; Sun, Feng & Saenko, 2016).

    x' = (x - m_S) (C_S + r I)^(-1/2) (C_T + r I)^(1/2) + m_T, with unbiased covariances and roots by ``eigh``.
    The paper has r = 1 on features of unit variance; here r is ``shrinkage`` times the mean variance of a
    state in both domains, which is the same there. The paper centres both domains; a shift of both by m_T
    lets the fitted head read the target's states as they are.

    Args:
        source: States, ``(examples, width)``.
        target: States, ``(other examples, width)``.
        shrinkage: Ridge in units of the mean variance.

    Returns:
        Shape of ``source``.

    Raises:
        DataError: If a covariance has no inverse: without shrinkage each domain needs more examples than a
            state has values.
    """
    both = [np.asarray(states, np.float64) for states in (source, target)]
    means = [states.mean(0) for states in both]
    covariances = [np.atleast_2d(np.cov(states.T)) for states in both]
    width = both[0].shape[1]
    ridge = shrinkage * float(np.mean([np.trace(each) for each in covariances])) / width
    roots = []
    for states, covariance, power in zip(both, covariances, (-0.5, 0.5), strict=True):
        values, vectors = np.linalg.eigh(covariance + ridge * np.eye(width))
        if power < 0 and values[0] <= NO_RANK * values[-1]:
            raise DataError(
                f"coral: {len(states)} examples give the covariance of {width} values a rank below "
                f"{width}, so "
                f"it has no inverse. Raise --shrinkage (it is {shrinkage:g}), or give more than {width} "
                "examples."
            )
        roots.append((vectors * np.maximum(values, 0.0) ** power) @ vectors.T)
    return (both[0] - means[0]) @ roots[0] @ roots[1] + means[1]


def augment(states: np.ndarray, domains: np.ndarray, count: int) -> np.ndarray:
    """Write each state twice: into the shared part, and into its domain's own (EasyAdapt; Daumé III, 2007).

    Args:
        states: Shape ``(examples, width)``.
        domains: Number of each example's domain, ``(examples,)``.
        count: Number K of domains.

    Returns:
        Shape ``(examples, (K + 1) width)``. The product of two rows is twice the states' product within a
        domain, and the product itself across domains.
    """
    rows, width = states.shape
    made = np.zeros((rows, count + 1, width), states.dtype)
    made[:, 0] = states
    made[np.arange(rows), 1 + np.asarray(domains)] = states
    return made.reshape(rows, -1)


def fit_augmented(
    states: np.ndarray,
    gold: np.ndarray,
    kind: Any,
    *,
    domains: np.ndarray,
    read: int,
    **about: Any,
) -> LinearFit:
    """Fit a linear layer on augmented states, and fold it to one on the plain states of a domain.

    What it computes of a state x of domain d is w_shared x + w_d x, which one layer with the weights
    w_shared + w_d computes too. States are centred and scaled before they are copied, because the penalty
    shares them out.

    Args:
        states: Shape ``(examples, width)``.
        gold: Gold values, as for :func:`nlptl.train.convex.fit_linear`.
        kind: Kind of the gold values.
        domains: Number of each example's domain.
        read: Number of the domain that is predicted.
        about: Further arguments of :func:`nlptl.train.convex.fit_linear`.
    """
    mean, width = states.mean(0), states.shape[1]
    mean = mean if about.get("intercept", True) else np.zeros_like(mean)
    deviation = float(np.sqrt(np.square(states - mean).mean())) or 1.0
    copies = augment((states - mean) / deviation, domains, int(domains.max()) + 1)
    whole = fit_linear(copies, gold, kind, **about)
    weight, bias = whole.plain()
    own = (1 + read) * width
    folded = weight[:, :width] + weight[:, own : own + width]
    return LinearFit(folded, bias, mean, deviation, whole.strength, whole.losses)


def importance(
    source: np.ndarray,
    target: np.ndarray,
    clip: float = CLIP,
    grid: Sequence[float] = GRID,
) -> np.ndarray:
    """Weigh source examples by p_T(x) / p_S(x), as a classifier of domains sees them (Bickel et al., 2009).

    w(x) = n_S / n_T * p(T | x) / p(S | x), at most ``clip`` times the mean, and of mean 1. The logistic
    regression's penalty is cross-validated, and each example's odds come from a fit without it: a classifier
    is too sure of what it has seen.

    Args:
        source: States, ``(examples, width)``.
        target: States, ``(other examples, width)``.
        clip: Largest weight, times the mean.
        grid: Inverse penalties of the classifier to try.

    Returns:
        Shape ``(examples,)``.
    """
    states = np.concatenate([source, target]).astype(np.float64)
    domain = np.repeat([0, 1], [len(source), len(target)])
    strength = fit_linear(states, domain, "classes", outputs=2, grid=grid).strength
    logits, where = np.empty(len(source)), fold_numbers(domain, FOLDS)
    for fold in range(FOLDS):
        kept = where != fold
        own = fit_linear(states[kept], domain[kept], "classes", outputs=2, grid=(strength,))
        out = np.flatnonzero(where[: len(source)] == fold)
        if len(out):
            logits[out] = np.diff(own.outputs(states[out]), axis=1)[:, 0]
    odds = np.exp(np.clip(logits, -30, 30)) * len(source) / len(target)
    weights = np.minimum(odds / odds.mean(), clip)
    return weights / weights.mean()


def proxy_a_distance(source: np.ndarray, target: np.ndarray, seed: int = 0) -> float:
    """Compute the proxy A-distance 2 (1 - 2 e) of two domains (Ben-David et al., 2007; Ganin et al., 2016).

    e is the error of a linear classifier of domains, fitted on one half of at most 500 examples of each and
    scored on the other, the best over its penalties; more than one half, which is chance, counts as one half.
    0 means that nothing tells them apart, 2 that all does.

    Args:
        source: States, ``(examples, width)``.
        target: States, ``(other examples, width)``.
        seed: Seed of the halves.
    """
    from nlptl.report.probe import choose_penalty

    rng = np.random.default_rng([seed, 7])
    count = min(len(source), len(target), MOST)
    halves: tuple[list[Any], list[Any]] = ([], [])
    for states in (source, target):
        order = rng.permutation(len(states))[:count]
        for half, rows in zip(halves, np.array_split(order, 2), strict=True):
            half.append(states[rows])
    given: list[tuple[Any, Any]] = [
        (np.concatenate(half), np.repeat([0, 1], [len(each) for each in half])) for half in halves
    ]
    found = choose_penalty(given[0], given[1], grid=STRENGTHS, scaled=True)
    return max(0.0, 2 * (2 * found.validation - 1))


def reverse_accuracy(
    target: np.ndarray,
    predicted: Sequence[str],
    source: np.ndarray,
    gold: Sequence[str],
) -> float:
    """Score a classifier that learned the target's predicted labels on the source's true ones.

    Ganin et al. (2016, section 5.1) train it as the first one was; here it is a linear one on the states of
    the trained model, which takes a second instead of a second training.

    Args:
        target: States of the target's texts, ``(examples, width)``.
        predicted: Their predicted classes.
        source: States of labelled source examples, ``(other examples, width)``.
        gold: Their classes.

    Returns:
        Share that is right; the most frequent class's if only one class was predicted.
    """
    names = sorted({*predicted, *gold})
    number = {name: place for place, name in enumerate(names)}
    labels = np.asarray([number[name] for name in predicted])
    fit = fit_linear(np.asarray(target, np.float64), labels, "classes", outputs=max(2, len(names)))
    answers = fit.outputs(np.asarray(source, np.float64)).argmax(1)
    return float(np.mean(answers == np.asarray([number[name] for name in gold])))
