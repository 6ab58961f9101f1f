"""The contrastive loss with dropout as the only noise: a pure function first, its module below."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nlptl.train.losses import Loss


def info_nce(one: Tensor, other: Tensor, temperature: float = 0.05) -> Tensor:
    """Compute the mean of -log exp(cos(z_i, z'_i) / t) / sum_j exp(cos(z_i, z'_j) / t) (Gao et al., 2021, 4).

    Args:
        one: States of texts, ``(texts, width)``.
        other: Other states of the same texts, same shape.
        temperature: Temperature t.

    Returns:
        A scalar; 0 for a single text, which has no other.
    """
    one, other = (F.normalize(states.float(), dim=-1) for states in (one, other))
    similar = one @ other.T / temperature
    return F.cross_entropy(similar, torch.arange(len(similar), device=similar.device))


class Contrastive(Loss):
    """The loss of telling a text from the others of a batch by two states of it under dropout (SimCSE).

    Each text goes through the model twice, in one batch. A model that reads one token has a projection above
    it, one layer with tanh, that is trained and left out afterwards, as in the paper; a mean of all tokens has
    none. On several processes each compares the texts of its own share.

    Args:
        model: A model with a head for whole texts, which is not used.
        width: Width of its states.
        project: Whether there is a projection.
        temperature: Temperature of :func:`info_nce`.
    """

    cacheable = False
    find_unused = True  # the head

    def __init__(
        self, model: Any, width: int, *, project: bool = True, temperature: float = 0.05
    ) -> None:
        super().__init__(model)
        self.temperature = temperature
        self.projection = nn.Sequential(nn.Linear(width, width), nn.Tanh()) if project else None
        self.watch()

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """Return the loss of a batch of token ids and their mask, ``(batch, length)`` each."""
        texts = len(inputs["input_ids"])
        self.model(**{name: torch.cat([value, value]) for name, value in inputs.items()})
        states = self.features()
        if self.projection is not None:
            states = self.projection(states)
        loss = info_nce(states[:texts], states[texts:], self.temperature)
        return {"loss": loss, "size": texts, "outputs": {}, "terms": {"contrastive": loss}}
