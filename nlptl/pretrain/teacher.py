"""A second upstream loss: a student's pooled states must tell a teacher's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def taught_states(features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Where pieces have a teacher's states (column ``teacher``): these as ``taught``, ``(batch, values)``."""
    states = [np.asarray(f["teacher"], np.float32) for f in features if "teacher" in f]
    return {"taught": torch.from_numpy(np.stack(states))} if states else {}


def teacher_loss(guesses: Sequence[Tensor], taught: Tensor) -> Tensor:
    """How far a student's guesses at a teacher's states are from them: mean of 1 - cosine.

    The cosine term of DistilBERT (Sanh et al., 2019), on pooled states instead of tokens, so that teacher
    and student may have different vocabularies; the token that a classifier reads and the mean both guess.

    Args:
        guesses: ``(batch, values)`` each, already of the teacher's width.
        taught: ``(batch, values)``.
    """
    each = [
        1 - nn.functional.cosine_similarity(guess.float(), taught, dim=-1).mean()
        for guess in guesses
    ]
    return torch.stack(each).mean()


class TeacherHead(nn.Module):
    """Two linear maps to a teacher's states, trained along with the student and thrown away afterwards.

    Args:
        width: Of the student.
        values: Of the teacher's states of a piece; 0 without a teacher.
        weight: Of :func:`teacher_loss`.
    """

    def __init__(self, width: int, values: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.maps = nn.ModuleList(nn.Linear(width, values) for _ in range(2 * (values > 0)))

    def forward(
        self, states: Tensor, attention_mask: Tensor, read: Tensor, taught: Tensor | None
    ) -> Tensor | float:
        """The weighted loss; 0 without a teacher, or for a batch without its states.

        Args:
            states: Last states, ``(batch, length, width)``.
            attention_mask: 1 at real tokens, ``(batch, length)``.
            read: The state of the token that a classifier reads, ``(batch, width)``.
            taught: ``(batch, values)``.
        """
        if taught is None or not len(self.maps):
            return 0.0
        real = attention_mask.unsqueeze(-1)
        pooled = read, (states * real).sum(1) / real.sum(1)
        guesses = [to(states) for to, states in zip(self.maps, pooled, strict=True)]
        return self.weight * teacher_loss(guesses, taught)
