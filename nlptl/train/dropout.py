"""Dropout that takes little time on a CPU."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.models.frozen_stem import swapped_forward

#: A 64-bit random number decides on four values, each with a quarter of its bits.
BITS, LANES = 16, 4
CHOICES = 1 << BITS


def cheap_dropout(values: Tensor, rate: float) -> Tensor:
    """Zero each value with probability ``rate``, and scale the others up to keep the mean.

    torch draws a number for each value, one after the other on one core: 8 % of the time of training a MiniLM.
    Here one draw of torch's generator serves four values. The rate is rounded to a multiple of
    1 / 65,536, and the scale is that of the rounded rate, so the mean is exact.

    Args:
        values: Floating-point values on the CPU, of any shape.
        rate: Dropout rate, in [0, 1).

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


def cheap_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Compute what transformers calls ``sdpa``, with :func:`cheap_dropout` of the weights on a CPU.

    torch's own kernel has no fused form with dropout on CPUs either, so nothing is lost. Everything that is
    not plain attention of an encoder or of T5 (a cache, grouped keys, causal without a mask) goes to the
    original.

    Args:
        module: The attention layer.
        query: Queries, ``(batch, heads, length, size)``.
        key: Keys of the texts attended to, of the same shape.
        value: Values of these texts, of the same shape.
        attention_mask: True where attention may go, or numbers to add to the scores; None for everywhere.
        dropout: Dropout rate.
        scaling: Scale of the scores; None takes 1 / sqrt(size).
        position_bias: Bias that is added to the scores (T5).
        more: Other arguments that transformers passes.

    Returns:
        ``(batch, length, heads, size)``, and None in place of the weights.
    """
    causal = attention_mask is None and more.get("is_causal", getattr(module, "is_causal", True))
    grouped = getattr(module, "num_key_value_groups", 1) > 1
    plain = query.device.type == "cpu" and not (causal or grouped or more.get("cache"))
    if not plain or not 0 < dropout < 1:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        more |= {"dropout": dropout, "scaling": scaling, "position_bias": position_bias}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query * scale) @ key.transpose(-1, -2)
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = cheap_dropout(scores.softmax(-1), dropout)
    return (weights @ value).transpose(1, 2).contiguous(), None


@contextmanager
def dropout_made_cheap(model: nn.Module) -> Iterator[None]:
    """Let a model that trains on a CPU use :func:`cheap_dropout` within, in its attention too."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    usual = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with ExitStack() as stack:
        for module in model.modules():
            if type(module) is nn.Dropout:
                stack.enter_context(swapped_forward(module, MethodType(_forward, module)))
        stack.callback(ALL_ATTENTION_FUNCTIONS.__setitem__, "sdpa", usual)
        ALL_ATTENTION_FUNCTIONS["sdpa"] = cheap_attention
        yield


def _forward(self: nn.Dropout, input: Tensor) -> Tensor:
    if self.training and 0 < self.p < 1 and input.device.type == "cpu":
        return cheap_dropout(input, self.p)
    return nn.Dropout.forward(self, input)
