"""Rates within one run: by block depth, and of single parameters."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from nlptl.models.adapters import plain_name, unwrap_peft
from nlptl.models.layer_map import layer_map


def decayed_groups(
    model: Any, decay: float, own: Sequence[Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Group parameters so that the rate falls from the head down (discriminative rates, Howard & Ruder, 2018).

    The head has the factor 1, the highest of L blocks ``decay``, the lowest ``decay ** L`` and the embeddings
    ``decay ** (L + 1)``, as Zhang et al. (2021) have it. An encoder-decoder's blocks count in running order.

    Args:
        model: Model in its mode, wrapped by peft or not.
        decay: Factor from block to block, in (0, 1].
        own: Groups of the mode itself, whose factors are multiplied.
    """
    base = unwrap_peft(model)
    layers = layer_map(base)
    parts, depth = layers.part_of(base), len(layers.blocks)
    factors = {id(p): float(group["rate"]) for group in own or () for p in group["params"]}
    found: dict[float, list[Any]] = defaultdict(list)
    for name, parameter in base.named_parameters():
        part = parts[name]
        power = depth + 1 if part == "embeddings" else 0
        if part.startswith("block"):
            power = depth - int(part.split()[1])
        found[decay**power * factors.get(id(parameter), 1.0)].append(parameter)
    return [{"params": params, "rate": rate} for rate, params in found.items()]


def scaled_groups(
    model: Any, factors: Mapping[str, float], own: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]] | None:
    """Multiply the rates of single parameters by factors.

    Args:
        model: Model in its mode, wrapped by peft or not.
        factors: Factors of the rate by the parameters' names on the Hugging Face model itself.
        own: Groups that there are already, whose own factors count too.

    Returns:
        The groups; ``own`` if there is nothing to multiply.
    """
    if not factors:
        return own
    named = unwrap_peft(model).named_parameters()
    scaled = {id(p): factors.get(plain_name(name), 1.0) for name, p in named}
    known = {id(p): float(group["rate"]) for group in own or () for p in group["params"]}
    found: dict[float, list[Any]] = defaultdict(list)
    for parameter in model.parameters():
        factor = scaled.get(id(parameter), 1.0) * known.get(id(parameter), 1.0)
        found[factor].append(parameter)
    return [{"params": params, "rate": rate} for rate, params in found.items()]
