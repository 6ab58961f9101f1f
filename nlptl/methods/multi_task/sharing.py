"""One body under several heads: the models of the tasks hold the same parameters below their heads."""

from typing import Any

from torch import nn

from nlptl.errors import ModelError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.layer_map import layer_map

#: A body's parameters by their part, ``embeddings`` or ``block N``, with their names.
Body = dict[str, list[tuple[str, nn.Parameter]]]


def body_of(model: Any) -> Body:
    """List the parameters of embeddings and blocks, those of adapters too, in the model's order.

    Args:
        model: A mapped model under its mode, wrapped by peft or not.
    """
    base = unwrap_peft(model)
    parts, found = layer_map(base).part_of(base), {}
    for name, parameter in base.named_parameters():
        if parts[name] not in ("head", "unused"):
            found.setdefault(parts[name], []).append((name, parameter))
    return found


def share_body(first: Any, other: Any) -> None:
    """Let a model hold another one's embeddings and blocks; its head stays its own.

    The modules stay each model's own, so that what is done to one of them (dropout, one token of the last
    block, peft's wrappers) concerns one task. Their parameters are the same objects.

    Args:
        first: Model that gives its body.
        other: Model with another head, of the same checkpoint and under the same mode.

    Raises:
        ModelError: If the two bodies differ, as those of some heads of encoder-decoders do.
    """
    mine, theirs = body_of(first), body_of(other)
    shapes = [
        {part: [tuple(p.shape) for _, p in rows] for part, rows in body.items()}
        for body in (mine, theirs)
    ]
    if shapes[0] != shapes[1]:
        odd = sorted(
            part for part in {*mine, *theirs} if shapes[0].get(part) != shapes[1].get(part)
        )
        raise ModelError(
            f"{type(unwrap_peft(other)).__name__} has another body than {type(unwrap_peft(first)).__name__} "
            f"({odd[0]} differs), so the tasks cannot share one. Leave one of them out, or take an encoder "
            "such as bundled/bert."
        )
    replaced = {
        id(old): new
        for part, rows in theirs.items()
        for (_, old), (_, new) in zip(rows, mine[part], strict=True)
    }
    _replace(other, replaced)


def own_body(model: Any) -> None:
    """Give a model a copy of the body that it shares."""
    copies = {
        id(p): nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad)
        for rows in body_of(model).values()
        for _, p in rows
    }
    _replace(model, copies)


def _replace(model: nn.Module, replaced: dict[int, nn.Parameter]) -> None:
    """Put other parameters in the place of some, wherever the model holds them."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) in replaced:
                module._parameters[name] = replaced[id(parameter)]
