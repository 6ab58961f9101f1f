"""Floating-point operations of training, by formula: the matrix products of the blocks, real tokens only."""

from typing import Any

import numpy as np

from nlptl.models.adapters import is_lora, unwrap_peft
from nlptl.models.frozen_stem import frozen_blocks
from nlptl.models.layer_map import layer_map
from nlptl.models.one_token import can_read_one_token


def block_forward(
    config: Any,
    lengths: np.ndarray,
    *,
    one_token: bool = False,
    read: np.ndarray | None = None,
) -> float:
    """Count the operations of one block's forward pass over texts of these lengths.

    A token costs 8 d d' for the four projections of attention (d' = heads * head size, usually d),
    4 d d_ff for the feed-forward layer (6 d d_ff if it is gated), and 4 s d' for attention in a text of s
    tokens: 24 d^2 + 4 s d where d_ff = 4 d (Kaplan et al., 2020, table 1, two operations a multiply-add).
    Norms, softmax, embeddings and heads are left out. A decoder's block also attends to what the encoder read.

    Args:
        config: Configuration of a mapped family.
        lengths: Tokens of each text.
        one_token: Whether the block is computed for one token per text (:mod:`nlptl.models.one_token`): keys
            and values for all tokens, and the rest for the first.
        read: Tokens of each text that the encoder read, for a block of T5's decoder.
    """
    width = config.hidden_size
    if config.model_type == "t5":
        inner, wide = config.num_heads * config.d_kv, config.d_ff
        products = 3 if config.is_gated_act else 2
    else:
        inner, wide, products = width, config.intermediate_size, 2
    kept = np.ones(len(lengths)) if one_token else lengths.astype(float)
    total = float(kept.sum()) * 2 * products * width * wide
    for seen in (lengths,) if read is None else (lengths, read):
        total += float(kept.sum() + seen.sum()) * 4 * width * inner
        total += 4 * float(kept @ seen) * inner
    return total


def training_flops(
    model: Any,
    lengths: np.ndarray,
    epochs: float,
    *,
    cached: bool,
    pooled: bool = False,
    targets: np.ndarray | None = None,
    looks: int = 0,
) -> float:
    """Count the operations of training on texts of these lengths for some epochs.

    A block that trains costs 3 forward passes; a frozen block with something that trains below it (a LoRA
    adapter, whose own products are left out) costs 2; and a block with nothing that trains in or below it
    costs 1, or, if it is cached, 1 in all instead of 1 per epoch.

    Args:
        model: Model after :func:`nlptl.modes.base.apply_mode`, wrapped by peft or not.
        lengths: Tokens of each training text or window.
        epochs: Passes over them.
        cached: Whether the states of the frozen blocks were kept.
        pooled: Whether the head reads one token only.
        targets: Tokens of each text that T5's decoder reads; None for as many as the encoder reads.
        looks: Passes without training besides the epochs, such as the one that a head is fitted on.
    """
    base = unwrap_peft(model)
    config, blocks = base.config, layer_map(base).blocks
    encoder = config.num_layers if getattr(config, "is_encoder_decoder", False) else len(blocks)
    frozen, above = frozen_blocks(model), 2 if is_lora(model) else 3
    total = 0.0
    for number in range(len(blocks)):
        last = pooled and number == len(blocks) - 1 and can_read_one_token(model)
        if number < encoder:
            forward = block_forward(config, lengths, one_token=last)
        else:
            forward = block_forward(config, lengths if targets is None else targets, read=lengths)
        passes = epochs * above + looks if number >= frozen else 1 if cached else epochs + looks
        total += forward * passes
    return total
