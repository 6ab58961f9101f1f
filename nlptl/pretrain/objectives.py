"""Pretraining objectives: everything that differs between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nlptl.records import Collate
from nlptl.train.losses import Loss

IGNORED = -100
#: Seed of corruption that is the same every time.
MASK_SEED = 0


@dataclass(frozen=True)
class Fixed:
    """Pieces that are corrupted in the same way every time, whatever stands beside them in a batch.

    Attributes:
        pieces: Pieces with random access by index.
    """

    pieces: Any

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Return the piece, and under ``draw`` its number, which its corruption is drawn from."""
        return {**self.pieces[index], "draw": index}


def draws_of(feature: Mapping[str, Any], rng: np.random.Generator) -> np.random.Generator:
    """Return the generator of a piece's corruption: from its own number if it is fixed, or the batch's."""
    return np.random.default_rng([MASK_SEED, feature["draw"]]) if "draw" in feature else rng


class Objective(Protocol):
    """An upstream objective: pieces of plain token ids come in, losses per predicted token go out."""

    name: str
    version: int

    @property
    def auto_class(self) -> Any:
        """The transformers auto class that has the pretraining head."""
        ...

    def room(self, max_length: int, tokenizer: Any) -> int:
        """Return the plain tokens of a piece whose input has ``max_length`` tokens."""
        ...

    def lengths(self, tokens: int, tokenizer: Any) -> tuple[int, int]:
        """Return the tokens of the input, and of a decoder's target, of a piece of so many plain tokens."""
        ...

    def collator(self, tokenizer: Any) -> Collate:
        """Return a function that corrupts pieces (column ``input_ids``, without special tokens)."""
        ...

    def loss(self, model: Any) -> Loss:
        """Return the loss around a model; its outputs have ``losses``, the nats of each predicted token."""
        ...

    def rows(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the row of the batch of each predicted token, in the order of the nats."""
        ...


class LanguageLoss(Loss):
    """The part that the losses of the objectives share: the states that terms read."""

    watched = False

    def watch(self) -> None:
        """Keep the last states from now on."""
        self.watched = True

    def keep(self, states: Tensor, read: Tensor, mask: Tensor | None) -> None:
        """Keep states ``(batch, length, width)``, the one that a classifier reads, and the mask."""
        if self.watched:
            real = torch.ones(states.shape[:2], device=states.device) if mask is None else mask
            self.seen.update(states=states, read=read, mask=real)

    def features(self) -> Tensor:
        """Return the state of the token that a classifier reads, ``(batch, width)``."""
        return self.seen["read"]

    def compile_model(self) -> None:
        """Compile the whole module, because the model's parts are called one by one."""
        self.compile(dynamic=True)


def language_loss(losses: Tensor) -> dict[str, Any]:
    """Return a loss's result from the nats of predicted tokens, ``(tokens,)``: their mean and number."""
    loss = losses.mean() if len(losses) else losses.sum()  # 0 where a batch predicts nothing
    return {
        "loss": loss,
        "size": len(losses),
        "outputs": {"losses": losses},
        "terms": {"objective": loss},
    }
