"""How far fine-tuning moved a body: representations by CKA, weights by their norm."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nlptl.models.layer_map import layer_map


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the debiased linear centred kernel alignment of two sets of states of the same texts.

    CKA = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)) with Song et al.'s (2012) unbiased estimator of HSIC, as
    Nguyen et al. (2021) use it: the plain one of Kornblith et al. (2019) gives two independent Gaussian
    matrices of 500 texts and 768 values 0.61.

    Args:
        first: Shape ``(texts, width)``, at least four texts.
        second: Shape ``(texts, any width)``.

    Returns:
        1 for states that differ by a rotation and a scale only; near 0, and possibly below, for
        unrelated ones; nan where all texts have the same state.
    """
    one, two = _gram(first), _gram(second)
    scale = np.sqrt(_hsic(one, one) * _hsic(two, two))
    return float(_hsic(one, two) / scale) if scale > 0 else float("nan")


def _gram(states: np.ndarray) -> np.ndarray:
    states = states.astype(float)
    states = states - states.mean(0)  # changes nothing but the rounding
    gram = states @ states.T
    np.fill_diagonal(gram, 0)
    return gram


def _hsic(one: np.ndarray, two: np.ndarray) -> float:
    n = len(one)
    rows = one.sum(0) @ two.sum(0)
    whole = one.sum() * two.sum() / ((n - 1) * (n - 2))
    return float(((one * two).sum() + whole - 2 * rows / (n - 2)) / (n * (n - 3)))


def weight_change(before: Any, after: Any) -> list[float]:
    """Compute ||after - before|| / ||before|| of the embeddings and of each block, in Frobenius norms.

    Args:
        before: The untouched model.
        after: The fine-tuned one, below peft's wrapper.

    Returns:
        One figure for the embeddings, then one a block (T5: the encoder's, then the decoder's, if the
        fine-tuned model has one).
    """
    old, new = _parts(before), _parts(after)
    changes = []
    for part, tensors in new.items():
        pairs = [(old[part][name], tensor) for name, tensor in tensors.items()]
        moved = sum(float((now - was).double().pow(2).sum()) for was, now in pairs)
        norm = sum(float(was.double().pow(2).sum()) for was, _ in pairs)
        changes.append((moved / norm) ** 0.5)
    return changes


def _parts(model: Any) -> Mapping[str, dict[str, Any]]:
    layers = layer_map(model)
    parts = {"embeddings": {}} | {f"block {i}": {} for i in range(len(layers.blocks))}
    where = layers.part_of(model.base_model)
    for name, parameter in model.base_model.named_parameters():
        if where[name] in parts:
            parts[where[name]][name] = parameter.detach().cpu()
    return parts
