"""Refitting of a pretraining head to a changed backbone: what was only rotated, and what is lost."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.batching import LengthBatches
from nlptl.pretrain.objectives import Objective

#: Steps of each fit, predicted tokens per step, and Adam's rate.
STEPS, BATCH, RATE = 500, 128, 1e-3


@dataclass(frozen=True)
class HeadInputs:
    """The input of a pretraining head for some pieces of text.

    Attributes:
        states: States of the predicted tokens, ``(tokens, width)``.
        targets: Ids of these tokens, ``(tokens,)``.
        pieces: Number of the piece that each is in, ``(tokens,)``.
    """

    states: Tensor
    targets: Tensor
    pieces: np.ndarray


def output_transform(head: nn.Module, vocabulary: int) -> list[str]:
    """Name a pretraining head's parameters below its projection to the vocabulary; T5 has none."""
    return [name for name, p in head.named_parameters() if p.shape[0] != vocabulary]


@torch.no_grad()
def head_inputs(
    module: nn.Module, head: nn.Module, batches: LengthBatches, objective: Objective, device: Any
) -> HeadInputs:
    """Run a masked language model up to its head, dropout off.

    Args:
        module: Loss from :meth:`nlptl.pretrain.objectives.Objective.loss`; it calls the head once per batch.
        head: Its pretraining head.
        batches: Batches from :func:`nlptl.pretrain.held_out.fixed_batches`.
        objective: The same objective.
        device: Device of the module.
    """
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    targets, pieces = [], []
    try:
        module.eval()
        for batch in batches.epoch(0):
            module(**batch.to(device).inputs)
            targets.append(batch.inputs["targets"])
            pieces.append(np.asarray(batch.indices)[objective.rows(batch.inputs).numpy()])
    finally:
        handle.remove()
    return HeadInputs(torch.cat(seen), torch.cat(targets).to(device), np.concatenate(pieces))


def refitted_loss(head: nn.Module, names: list[str], inputs: HeadInputs) -> float:
    """Measure the loss after the head's transform was fitted to these states.

    It is fitted for 500 steps on one half of the pieces and scored on the other, and the other way round. What
    this wins back was only rotated in the backbone; the rest of the forgetting is lost. Some of the gain comes
    from the texts alone, so compare with the refitted loss of the untouched backbone.

    Args:
        head: A pretraining head; not changed.
        names: Names of the parameters to fit (:func:`output_transform`).
        inputs: Input from :func:`head_inputs`.

    Returns:
        Nats per predicted token.
    """
    fold = torch.from_numpy(inputs.pieces % 2)
    total = 0.0
    for half in (0, 1):
        fitted = deepcopy(head).train()
        own = dict(fitted.named_parameters())
        for name, parameter in own.items():
            parameter.requires_grad_(name in names)
        optimizer = torch.optim.Adam([own[name] for name in names], lr=RATE)
        rows = (fold != half).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(half)
        for _ in range(STEPS):
            picked = rows[torch.randint(len(rows), (min(BATCH, len(rows)),), generator=generator)]
            _loss(fitted, inputs, picked).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            for picked in (fold == half).nonzero()[:, 0].split(1024):
                total += float(_loss(fitted.eval(), inputs, picked).double().sum())
    return total / len(inputs.targets)


def _loss(head: nn.Module, inputs: HeadInputs, rows: Tensor) -> Tensor:
    logits = head(inputs.states[rows]).float()
    return nn.functional.cross_entropy(logits, inputs.targets[rows], reduction="none")
