"""Features of different length, padded to one array."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def pad(features: Sequence[Mapping[str, Any]], key: str, value: int) -> np.ndarray:
    """Stack the lists under ``key``, shape ``(features, longest)``, filled up with ``value``."""
    longest = max(len(feature[key]) for feature in features)
    padded = np.full((len(features), longest), value, dtype=np.int64)
    for row, feature in enumerate(features):
        padded[row, : len(feature[key])] = feature[key]
    return padded


def real_tokens(features: Sequence[Mapping[str, Any]], key: str = "input_ids") -> np.ndarray:
    """True where a token is, False where padding is; shape ``(features, longest)``."""
    lengths = np.asarray([len(feature[key]) for feature in features])
    return np.arange(lengths.max()) < lengths[:, None]
