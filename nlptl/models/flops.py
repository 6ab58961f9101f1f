"""Floating-point operations of training, by formula: the matrix products of the blocks, real tokens only."""

from collections.abc import Collection
from typing import Any

import numpy as np
from torch import nn

from nlptl.models.adapters import is_lora, unwrap_peft
from nlptl.models.deriving import linear_layers
from nlptl.models.frozen_stem import frozen_blocks
from nlptl.models.layer_map import layer_map
from nlptl.models.one_token import can_read_one_token
from nlptl.models.tracing import text_config


def block_forward(
    block: nn.Module,
    heads: int,
    lengths: np.ndarray,
    *,
    one_token: bool = False,
    read: np.ndarray | None = None,
    crossing: Collection[str] = (),
) -> float:
    """Count the operations of one block's forward pass over texts of these lengths.

    A token costs 2 a b for each linear layer from a to b numbers, and 4 s d' for attention in a text of s
    tokens (d' = heads * head size): 24 d^2 + 4 s d in a block of width d whose feed-forward layer is four
    times as wide (Kaplan et al., 2020, table 1, two operations a multiply-add). Norms, softmax, convolutions,
    the choice among experts, embeddings and heads are left out. A decoder's block also attends to what the
    encoder read.

    Args:
        block: A block.
        heads: Size of all attention heads together.
        lengths: Tokens of each text.
        one_token: Whether the block is computed for one token per text (:mod:`nlptl.models.one_token`): keys
            and values for all tokens, and the rest for the first.
        read: Tokens of each text that the encoder read, for a decoder's block.
        crossing: Names of the block's linear layers that read what the encoder wrote.
    """
    kept = np.ones(len(lengths)) if one_token else lengths.astype(float)
    total = 4 * float(kept @ lengths) * heads
    if read is not None:
        total += 4 * float(kept @ read) * heads
    for name in linear_layers(block):
        weight: Any = block.get_submodule(name).weight
        plain = name.removesuffix(".base_layer")  # below an adapter
        if read is not None and plain in crossing:
            tokens = read
        else:
            tokens = lengths if plain in KEYS_AND_VALUES else kept
        total += 2 * weight.numel() * float(tokens.sum())
    return total


#: The layers of a block like BERT's that every token goes through, even if one is read.
KEYS_AND_VALUES = ("attention.self.key", "attention.self.value")


def heads_of(config: Any) -> int:
    """Return the size of all attention heads of a block together, by a configuration."""
    text = text_config(config)
    width = getattr(text, "hidden_size", None) or text.d_model
    heads = getattr(text, "num_attention_heads", None) or 1
    size = getattr(text, "head_dim", None) or getattr(text, "d_kv", None) or width // heads
    return heads * size


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
    layers, heads = layer_map(base), heads_of(base.config)
    encoder = layers.stacks[0] if layers.crossing else len(layers.blocks)
    frozen, above = frozen_blocks(model), 2 if is_lora(model) else 3
    total = 0.0
    for number, (name, block) in enumerate(zip(layers.names, layers.blocks, strict=True)):
        last = pooled and number == len(layers.blocks) - 1 and can_read_one_token(model)
        if number < encoder:
            forward = block_forward(block, heads, lengths, one_token=last)
        else:
            own = {n.removeprefix(f"{name}.") for n in layers.crossing}
            forward = block_forward(
                block, heads, lengths if targets is None else targets, read=lengths, crossing=own
            )
        passes = epochs * above + looks if number >= frozen else 1 if cached else epochs + looks
        total += layers.runs[number] * forward * passes
    return total
