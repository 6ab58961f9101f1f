"""The linear layers of a classification head, found by running it, and a linear function written into them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.models.adapters import unwrap_peft
from nlptl.models.layer_map import layer_map

#: Scales and shifts that a dense layer may give centred states, so that its activation is nearly linear:
#: tanh is so near 0, ReLU and GELU far above it.
SCALES = ((0.1, 0.0), (0.1, 4.0))


@dataclass(frozen=True)
class Read:
    """What the layers of a head read of a batch, one state per text.

    Attributes:
        output: Last linear layer, whose outputs are the model's.
        states: States that it reads, ``(batch, width)``.
        dense: The square linear layer right before it; None if there is none.
        below: States that the dense layer reads, ``(batch, width)``.
    """

    output: nn.Linear
    states: Tensor
    dense: nn.Linear | None = None
    below: Tensor | None = None


def give_exact_numbers(model: Any) -> None:
    """Let the last layer of a head for one number compute in float32, also under autocast.

    bfloat16 has 8 binary digits: marks from 2 to 4 come in steps of a 64th, prices around 900 in steps of 4.
    The layer is one product a text, so float32 costs nothing there. Other heads stay as they are: of classes
    only the differences of outputs count.

    Args:
        model: A model with a head, wrapped by peft or not.
    """
    if getattr(getattr(unwrap_peft(model), "config", None), "num_labels", None) != 1:
        return
    for module in model.modules():
        one = isinstance(module, nn.Linear) and module.out_features == 1
        if one and _exactly not in module._forward_hooks.values():
            module.register_forward_hook(_exactly)


def _exactly(module: Any, given: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    if output.dtype == torch.float32:
        return None
    bias = None if module.bias is None else module.bias.float()
    with torch.autocast(output.device.type, enabled=False):
        return nn.functional.linear(given[0].float(), module.weight.float(), bias)


@contextmanager
def head_calls(model: Any) -> Iterator[list[tuple[nn.Linear, Tensor, Tensor]]]:
    """Collect within what the linear layers above the blocks read and give in a forward pass, in their order.

    Args:
        model: A mapped model with a head, wrapped by peft or not.
    """
    calls: list[tuple[nn.Linear, Tensor, Tensor]] = []
    base = unwrap_peft(model)
    inside = {id(m) for block in layer_map(base).blocks for m in block.modules()}

    def keep(module: Any, given: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((module, given[0], output))

    handles = [
        module.register_forward_hook(keep)
        for module in base.modules()
        if isinstance(module, nn.Linear) and id(module) not in inside
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def read_head(calls: list[tuple[nn.Linear, Tensor, Tensor]], logits: Tensor) -> Read | None:
    """Find the layer that the logits come from, the one before it, and what they read of each text.

    A head that scores every token (GPT-2's) gives the outputs of one of them: that token is found by its
    outputs.

    Args:
        calls: Calls of one forward pass (:func:`head_calls`).
        logits: The model's outputs, ``(batch, outputs)``.

    Returns:
        What is read; None if no linear layer gives the logits.
    """
    if logits.dim() != 2:
        return None
    for number in range(len(calls) - 1, -1, -1):
        output, given, made = calls[number]
        if made.shape[-1] != logits.shape[-1] or len(made) != len(logits):
            continue
        same = (made.float() == logits.float().view(len(logits), *[1] * (made.dim() - 2), -1)).all(
            -1
        )
        if made.dim() == 2 and bool(same.all()):
            states = given
        elif made.dim() == 3 and bool(same.any(1).all()):
            states = given[torch.arange(len(given)), same.float().argmax(1)]
        else:
            continue
        below = calls[number - 1] if number else None
        if below and below[1].dim() == 2 and below[0].in_features == below[0].out_features:
            return Read(output, states, below[0], below[1])
        return Read(output, states)
    return None


@torch.no_grad()
def write_output(output: nn.Linear, weight: np.ndarray, bias: np.ndarray) -> bool:
    """Set the last layer; return False, and leave it alone, if it has no bias and needs one.

    Args:
        output: Last linear layer of a head.
        weight: Weights, ``(outputs, width)``.
        bias: Biases, ``(outputs,)``; for classes without a bias in the layer it must be constant.
    """
    if output.bias is None and np.ptp(bias) > 0:
        return False
    output.weight.copy_(torch.from_numpy(np.asarray(weight)))
    if output.bias is not None:
        output.bias.copy_(torch.from_numpy(np.asarray(bias)))
    return True


@torch.no_grad()
def write_dense(
    dense: nn.Linear, mean: np.ndarray, deviation: float, scale: float, shift: float
) -> None:
    """Let a square layer centre and scale its states: ``scale * (x - mean) / deviation + shift``.

    Args:
        dense: Square linear layer with a bias.
        mean: Means, ``(width,)``.
        deviation: Standard deviation of all states.
        scale: Standard deviation of the result.
        shift: Mean of the result.
    """
    dense.weight.copy_(torch.eye(len(mean)) * (scale / deviation))
    dense.bias.copy_(torch.from_numpy(shift - scale * mean / deviation))


@torch.no_grad()
def scale_output(output: nn.Linear, factor: float) -> None:
    """Multiply the outputs of the last layer of a head, ``weight`` and ``bias``, by a number."""
    for parameter in output.parameters(recurse=False):
        parameter.mul_(factor)
