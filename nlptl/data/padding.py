"""Features of different length, padded to one array."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


def multiple() -> int:
    """Return what padded lengths are a multiple of: 8 on a GPU, whose matrix units work in eights, else 1."""
    return 8 if torch.cuda.is_available() else 1


def padded_length(longest: int) -> int:
    """Return the padded length of a batch whose longest row has ``longest`` tokens; one token stays one."""
    return longest if longest < 2 else -(-longest // multiple()) * multiple()


def pad(features: Sequence[Mapping[str, Any]], key: str, value: int) -> np.ndarray:
    """Stack the lists under ``key``, shape ``(features, padded_length)``, filled up with ``value``."""
    longest = padded_length(max(len(feature[key]) for feature in features))
    padded = np.full((len(features), longest), value, dtype=np.int64)
    for row, feature in enumerate(features):
        padded[row, : len(feature[key])] = feature[key]
    return padded


def real_tokens(features: Sequence[Mapping[str, Any]], key: str = "input_ids") -> np.ndarray:
    """Return True for tokens and False for padding, shape ``(features, padded_length)``."""
    lengths = np.asarray([len(feature[key]) for feature in features])
    return np.arange(padded_length(lengths.max())) < lengths[:, None]


def labels_at_places(rows: Sequence[Mapping[str, Any]], shape: tuple[int, ...]) -> np.ndarray:
    """Put the labels of words (``gold``) at the tokens that represent them (``places``), and -100 elsewhere.

    Args:
        rows: Encoded rows; words that were cut off have no token.
        shape: Shape of the result, ``(rows, padded_length)``.
    """
    labels = np.full(shape, -100, dtype=np.int64)
    for number, row in enumerate(rows):
        labels[number, row["places"]] = row["gold"][: len(row["places"])]
    return labels
