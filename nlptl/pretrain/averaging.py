"""Weights between two models of one architecture."""

from collections.abc import Collection
from typing import Any

import torch


@torch.no_grad()
def interpolate(model: Any, start: Any, share: float, new: Collection[str] = frozenset()) -> None:
    """Move a model's parameters towards another's, in place: (1 - share) x model + share x start.

    WiSE-FT (Wortsman et al., 2022, "Robust fine-tuning of zero-shot models"): what was learnt on one kind of
    data is largely kept, and much of what was lost on others comes back. Buffers stay the model's.

    Args:
        model: Model that is changed.
        start: A model with the same parameters, on any device.
        share: Share of the start, between 0 (the model as it is) and 1 (the start).
        new: Parameters that stay the model's, because the start's are random.

    Raises:
        KeyError: If the start lacks a parameter.
    """
    before = dict(start.named_parameters())
    for name, parameter in model.named_parameters():
        if name not in new:
            parameter.lerp_(before[name].to(parameter), share)
