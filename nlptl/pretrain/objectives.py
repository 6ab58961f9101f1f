"""What a pretraining objective is: everything that differs between masked LM and span corruption."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.metrics.ratio import ratio_with_error
from nlptl.records import Batch, Collate, StepOutput
from nlptl.train.processes import gather

IGNORED = -100
#: Of what is corrupted in the same way every time.
MASK_SEED = 0


@dataclass(frozen=True)
class Fixed:
    """Pieces that are corrupted in the same way every time, whatever stands beside them in a batch.

    Attributes:
        pieces: Random access by index.
    """

    pieces: Any

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """The piece, and its number under ``draw``, which its corruption is drawn from."""
        return {**self.pieces[index], "draw": index}


def draws_of(feature: Mapping[str, Any], rng: np.random.Generator) -> np.random.Generator:
    """What a piece's corruption is drawn from: its own number where it is fixed, or the batch's generator."""
    return np.random.default_rng([MASK_SEED, feature["draw"]]) if "draw" in feature else rng


class Objective(Protocol):
    """An upstream objective. Pieces of plain token ids come in; losses a predicted token go out."""

    @property
    def auto_class(self) -> Any:
        """The transformers auto class that has the pretraining head."""
        ...

    def room(self, max_length: int, tokenizer: Any) -> int:
        """Plain tokens of a piece whose input has ``max_length`` tokens."""
        ...

    def lengths(self, tokens: int, tokenizer: Any) -> tuple[int, int]:
        """Tokens of the input that a piece of so many plain tokens becomes, and of a decoder's target."""
        ...

    def collator(self, tokenizer: Any) -> Collate:
        """A function that corrupts pieces (column ``input_ids``, without special tokens)."""
        ...

    def module(self, model: Any) -> nn.Module:
        """A module: a batch's inputs to the loss, and to the nats of each predicted token."""
        ...

    def rows(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Row of the batch that each predicted token stands in, in the order of the nats."""
        ...


def upstream_step(model: nn.Module, batch: Batch) -> StepOutput:
    """Loss of one batch; its size is the number of predicted tokens."""
    loss, losses = model(**batch.inputs)
    return StepOutput(loss, len(losses), {"losses": losses})


@torch.no_grad()
def held_out_loss(model: nn.Module, batches: Any, accelerator: Any) -> dict[str, float]:
    """Loss in nats a predicted token on text that was set aside, corrupted in the same way every time.

    Args:
        model: From :meth:`Objective.module`, wrapped or not.
        batches: Of :class:`Fixed` pieces, without a shuffle seed; each process has its share.
        accelerator: Device and processes.

    Returns:
        ``loss``, its standard error ``se`` over batches (predicted tokens of one batch are not
        independent), and ``tokens``.
    """
    was_training = model.training
    model.eval()
    sums: list[tuple[float, int]] = []
    for batch in batches.epoch(0):
        result = upstream_step(model, batch.to(accelerator.device))
        if batch.indices:
            sums.append((float(result.outputs["losses"].sum()), int(result.size)))
    model.train(was_training)
    sums = gather(sums, accelerator)
    loss, error = ratio_with_error(sums)
    return {"loss": loss, "se": error, "tokens": sum(count for _, count in sums)}
