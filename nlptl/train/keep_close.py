"""Two ways to keep trained weights close to the pretrained ones: a penalty (L2-SP), and mixout."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.models.adapters import unwrap_peft
from nlptl.models.frozen_stem import swapped_forward
from nlptl.models.layer_map import layer_map
from nlptl.train.losses import Loss, Plus


def pretrained(model: Any, *, but: Collection[str] = ()) -> dict[str, Tensor]:
    """Copy the weights of embeddings and blocks as they were loaded, by name.

    The head is left out: what a checkpoint has of it belongs to another task, and a run may replace it.

    Args:
        model: A mapped model before any training, without adapters.
        but: Names of parameters that the checkpoint did not have.
    """
    parts = layer_map(model).part_of(model)
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parts[name] not in ("head", "unused") and name not in but
    }


class L2SP(nn.Module):
    """Penalty 1/2 * sum (w - w0)^2 over the pretrained weights that train (L2-SP; Li et al., 2018).

    It is a term of :class:`nlptl.train.losses.Plus`. The paper has a second penalty, towards 0, for new
    weights: here that is ``--weight-decay``.

    Args:
        model: The model; its trained parameters are looked up at each call.
        start: The pretrained weights, by name.
    """

    def __init__(self, model: Any, start: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.pairs = trained_pairs(model, start)

    def forward(self, loss: Any, found: Any, inputs: Any) -> Tensor:
        """Return half of the squared distance, a scalar."""
        return sum(((now - then.to(now.device)) ** 2).sum() for now, then in self.pairs) / 2  # type: ignore[return-value]

    def identity(self) -> str:
        """Name the term; the pretrained weights are in the keys of kept runs already."""
        return "L2SP"


def trained_pairs(model: Any, start: Mapping[str, Tensor]) -> list[tuple[nn.Parameter, Tensor]]:
    """Pair each parameter that trains with its pretrained value, as far as it has one."""
    own = dict(unwrap_peft(model).named_parameters())
    return [(own[name], then) for name, then in start.items() if own[name].requires_grad]


def kept_close(loss: Loss, start: Mapping[str, Tensor], weight: float) -> Loss:
    """Add :class:`L2SP` to a loss, if a weight is asked for and something trains that it applies to."""
    if not weight or not trained_pairs(loss.model, start):
        return loss
    return Plus(loss, L2SP(loss.model, start), weight, "l2-sp")


def mixout(weight: Tensor, start: Tensor, share: float) -> Tensor:
    """Mix pretrained values into a weight at random (Lee et al., 2020, equation 5).

    (M w + (1 - M) w0 - p w0) / (1 - p), with M = 1 with probability 1 - p for each value. Its mean is w.

    Args:
        weight: The weight w, of any shape.
        start: The pretrained weight w0, of the same shape.
        share: Probability p of a pretrained value, in [0, 1).
    """
    kept = torch.empty_like(weight).bernoulli_(1 - share)
    return (kept * weight + (1 - kept) * start - share * start) / (1 - share)


@contextmanager
def mixed_weights(model: Any, start: Mapping[str, Tensor], share: float) -> Iterator[None]:
    """Let the linear layers of the trained blocks compute with :func:`mixout` of their weights in train mode.

    As in the authors' code, biases are not mixed, and mixout stands in for dropout: the blocks' dropout layers
    do nothing meanwhile. The weights themselves stay what they are. With a share of 0 nothing changes.

    Args:
        model: The model, in its mode.
        start: The pretrained weights, by name.
        share: Probability of a pretrained value.
    """
    with ExitStack() as stack:
        for layer, then in _mixed_layers(model, start) if share else ():
            stack.enter_context(swapped_forward(layer, _Mixed(layer, then, share)))
        for dropout in _dropouts(model) if share else ():
            stack.callback(setattr, dropout, "p", dropout.p)
            dropout.p = 0.0
        yield


class _Mixed:
    """The forward pass of a linear layer with a mixed weight."""

    def __init__(self, layer: Any, start: Tensor, share: float) -> None:
        self.layer, self.start, self.share = layer, start, share

    def __call__(self, states: Tensor) -> Tensor:
        layer, weight = self.layer, self.layer.weight
        if layer.training:
            self.start = self.start.to(weight.device)
            weight = mixout(weight, self.start, self.share)
        if not isinstance(layer, nn.Linear):  # GPT-2's, whose weight lies the other way
            weight = weight.T
        return nn.functional.linear(states, weight, layer.bias)


def _mixed_layers(model: Any, start: Mapping[str, Tensor]) -> list[tuple[Any, Tensor]]:
    from transformers.pytorch_utils import Conv1D

    base = unwrap_peft(model)
    parts = layer_map(base).part_of(base)
    found = []
    for name, module in base.named_modules():
        weight = f"{name}.weight"
        inside = parts.get(weight, "").startswith("block") and weight in start
        if inside and isinstance(module, nn.Linear | Conv1D) and module.weight.requires_grad:
            found.append((module, start[weight]))
    return found


def _dropouts(model: Any) -> list[nn.Dropout]:
    blocks = layer_map(unwrap_peft(model)).blocks
    return [inner for block in blocks for inner in block.modules() if type(inner) is nn.Dropout]
