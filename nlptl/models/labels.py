"""A checkpoint's labels and a task's, matched by name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch


def label_order(before: Mapping[int, str], now: Mapping[int, str]) -> list[int] | None:
    """Find where each label stands in a checkpoint, by its name whatever its case.

    Example:
        >>> label_order({0: "POSITIVE", 1: "NEGATIVE"}, {0: "negative", 1: "positive"})
        [1, 0]

    Args:
        before: The checkpoint's labels, by number.
        now: The task's.

    Returns:
        The checkpoint's number of each of the task's labels; None if the names are not the same.
    """
    places = {_plain(name): number for number, name in before.items()}
    names = [_plain(now[number]) for number in sorted(now)]
    if sorted(names) != sorted(_plain(name) for name in before.values()) or len(places) < len(
        names
    ):
        return None
    return [places[name] for name in names]


def _plain(name: Any) -> str:
    return str(name).strip().casefold()


@torch.no_grad()
def reorder_labels(tensors: Iterable[torch.Tensor], order: Sequence[int]) -> None:
    """Put a head's outputs into another order, in place.

    Args:
        tensors: Weights and biases whose first dimension counts the labels.
        order: Present place of each label.
    """
    for tensor in tensors:
        tensor.copy_(tensor[list(order)])


def label_parameters(auto_class: Any, config: Any) -> set[str]:
    """Return the names of the parameters whose shape depends on the number of labels."""
    more = {i: str(i) for i in range(config.num_labels + 1)}
    other = type(config).from_dict({**config.to_dict(), "id2label": more})
    shapes = []
    for each in (config, other):
        with torch.device("meta"):
            model = auto_class.from_config(each, trust_remote_code=False)
            shapes.append({name: p.shape for name, p in model.named_parameters()})
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}
