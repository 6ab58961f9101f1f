"""Dropout that costs little on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn

#: A 64-bit random number decides on four values, each with a quarter of its bits.
BITS, LANES = 16, 4
CHOICES = 1 << BITS


def cheap_dropout(values: Tensor, rate: float) -> Tensor:
    """Zero each value with probability ``rate``, and scale the others up to keep the mean.

    torch draws a number for each value, one after the other on one core: 8 % of the time of training a MiniLM.
    Here one draw of torch's generator serves four values. The rate is rounded to a multiple of
    1 / 65,536, and the scale is that of the rounded rate, so the mean is exact.

    Args:
        values: On the CPU, any shape, floating point.
        rate: In [0, 1).

    Example:
        >>> _ = torch.manual_seed(0)
        >>> cheap_dropout(torch.ones(6), 0.5)
        tensor([0., 0., 2., 0., 0., 0.])
    """
    dropped = round(rate * CHOICES)
    count = values.numel()
    drawn = torch.empty(-(-count // LANES), dtype=torch.int64).random_(-(1 << 63), None)
    lanes = drawn.view(torch.int16)[:count].view(values.shape)
    kept = (lanes >= dropped - CHOICES // 2).to(values.dtype)
    return values * kept.mul_(CHOICES / (CHOICES - dropped))


@contextmanager
def dropout_made_cheap(model: nn.Module) -> Iterator[None]:
    """Within, every ``nn.Dropout`` of the model that trains on a CPU drops by :func:`cheap_dropout`.

    Dropout inside attention is torch's own throughout.
    """
    changed = [m for m in model.modules() if type(m) is nn.Dropout]
    for module in changed:
        module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _forward(self: nn.Dropout, input: Tensor) -> Tensor:
    if self.training and 0 < self.p < 1 and input.device.type == "cpu":
        return cheap_dropout(input, self.p)
    return nn.Dropout.forward(self, input)
