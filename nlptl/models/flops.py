"""Floating-point operations of training, by formula: the matrix products of the blocks, real tokens only."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from nlptl.models.adapters import has_prompt, kind_of, unwrap_peft
from nlptl.models.deriving import is_linear
from nlptl.models.frozen_stem import frozen_blocks
from nlptl.models.layer_map import layer_map
from nlptl.models.one_token import can_read_one_token
from nlptl.models.tracing import made_up_texts, run, text_config, undisturbed


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

    The arguments are those of :func:`block_products`.
    """
    attentions, layers = block_products(
        block, heads, lengths, one_token=one_token, read=read, crossing=crossing
    )
    return sum(attentions) + sum(layers.values())


def block_products(
    block: nn.Module,
    heads: int,
    lengths: np.ndarray,
    *,
    one_token: bool = False,
    read: np.ndarray | None = None,
    crossing: Collection[str] = (),
) -> tuple[list[float], dict[str, float]]:
    """Count the operations of a block's products in a forward pass over texts of these lengths.

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

    Returns:
        Those of each attention, which multiplies states by states (a decoder's second reads what the encoder
        wrote), and those of each linear layer by its name in the block, an adapter's matrices among them.
    """
    kept = np.ones(len(lengths)) if one_token else lengths.astype(float)
    seen = [lengths] if read is None else [lengths, read]
    attentions, layers = [4 * float(kept @ each) * heads for each in seen], {}
    for name, module in block.named_modules():
        if not is_linear(module):
            continue
        weight: Any = module.weight
        plain = name.split(".lora_")[0].removesuffix(".base_layer")  # of an adapter
        if read is not None and plain in crossing:
            tokens = read
        else:
            tokens = lengths if plain in KEYS_AND_VALUES else kept
        layers[name] = 2 * weight.numel() * float(tokens.sum())
    return attentions, layers


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

    A product costs a forward pass, and as much again for each of its two factors that needs a gradient. A
    linear layer's factors are its weight, if that trains, and its input, if something below it trains;
    attention multiplies queries by keys, and the result by values. So a block that trains costs 3 forward
    passes, but the first layers of the lowest one cost 2; a frozen block above something that trains (a LoRA
    adapter) costs 2, and its attention 3; and a block with nothing that trains in or below it costs 1, or, if
    it is cached, 1 in all instead of 1 per epoch. A prompt's tokens count, a prefix' keys and values do not.

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
    frozen, moved = frozen_blocks(model), gradients_of(model)
    written = lengths if targets is None else targets
    if has_prompt(model) and kind_of(model) != "prefix_tuning":
        lengths = lengths + next(iter(model.peft_config.values())).num_virtual_tokens
    total = 0.0
    for number, (name, block) in enumerate(zip(layers.names, layers.blocks, strict=True)):
        last = pooled and number == len(layers.blocks) - 1 and can_read_one_token(model)
        if number < encoder:
            attentions, products = block_products(block, heads, lengths, one_token=last)
        else:
            own = {n.removeprefix(f"{name}.") for n in layers.crossing}
            attentions, products = block_products(block, heads, written, read=lengths, crossing=own)
        forward, backward = sum(attentions) + sum(products.values()), 0.0
        for inner, each in products.items():
            weight: Any = block.get_submodule(inner).weight
            trains = bool(weight.requires_grad)
            backward += each * (trains + (f"{name}.{inner}" in moved.inputs))
        factors = moved.factors.get(name, ())
        if len(factors) != len(attentions):  # attention of another kind
            factors = [4 if backward else 0] * len(attentions)
        # An attention's two products are equally large.
        backward += sum(a / 2 * n for a, n in zip(attentions, factors, strict=True))
        passes = 1 if cached and number < frozen else epochs + looks
        total += layers.runs[number] * (forward * passes + backward * epochs)
    return total


@dataclass(frozen=True)
class Gradients:
    """What needs a gradient in a training step, besides weights.

    Attributes:
        inputs: Names of the linear layers whose input does, on the model below peft's wrapper.
        factors: Names of blocks to the number of factors, 0 to 4, of each of their attentions: queries, keys,
            their products, and values.
    """

    inputs: Collection[str]
    factors: Mapping[str, Sequence[int]]


class _Watch(TorchFunctionMode):
    """A watch for products of states by states: how many of each one's factors need a gradient.

    Attributes:
        found: Factors of the products so far, two products an attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention:
            q, k, v = [*args, *(named[n] for n in ("query", "key", "value")[len(args) :])][:3]
            scores = q.requires_grad or k.requires_grad
            self.found += [q.requires_grad + k.requires_grad, scores + v.requires_grad]
        elif func in (torch.matmul, torch.Tensor.matmul, torch.bmm, torch.Tensor.__matmul__):
            one, two = [*args, *named.values()][:2]
            if min(one.dim(), two.dim()) > 2 and not isinstance(two, nn.Parameter):
                self.found.append(one.requires_grad + two.requires_grad)
        return func(*args, **named)


def gradients_of(model: Any) -> Gradients:
    """Find what needs a gradient, by a pass over two short texts.

    Args:
        model: A mapped model, wrapped by peft or not. Prompts, which peft puts before the texts, and shards of
            FSDP do not take part in the pass: there all layers above the frozen blocks count.
    """
    base = unwrap_peft(model)
    layers = layer_map(base)
    linear = {name: module for name, module in base.named_modules() if is_linear(module)}
    if has_prompt(model) or any(
        hasattr(p, "device_mesh") or not p.numel() for p in base.parameters()
    ):
        moving = tuple(f"{name}." for name in layers.names[frozen_blocks(model) :])
        return Gradients({name for name in linear if name.startswith(moving)}, {})
    inputs: set[str] = set()
    factors: dict[str, list[int]] = {}
    handles: list[Any] = []

    def look(name: str, module: nn.Module) -> None:
        def called(module: nn.Module, given: Any) -> None:
            if any(torch.is_tensor(x) and x.requires_grad for x in given):
                inputs.add(name)

        handles.append(module.register_forward_pre_hook(called))

    def mark(name: str, block: nn.Module) -> None:
        def begins(module: nn.Module, given: Any) -> None:
            watch.found = []

        def ends(module: nn.Module, given: Any, output: Any) -> None:
            pairs = zip(watch.found[::2], watch.found[1::2], strict=False)
            factors[name] = [sum(pair) for pair in pairs]

        handles.extend((block.register_forward_pre_hook(begins), block.register_forward_hook(ends)))

    for name, module in linear.items():
        look(name, module)
    for name, block in zip(layers.names, layers.blocks, strict=True):
        mark(name, block)
    try:
        with undisturbed(base), torch.enable_grad(), _Watch() as watch:
            base.eval()
            run(base, made_up_texts(base))
    finally:
        for handle in handles:
            handle.remove()
    return Gradients(inputs, factors)
