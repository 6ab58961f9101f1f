"""Modes that train a few parameters in every block: biases, or norms."""

from collections.abc import Callable
from typing import Any

from torch import nn

from nlptl.errors import ModeError
from nlptl.models.layer_map import layer_map, map_of
from nlptl.modes.base import Mode
from nlptl.modes.definition import mode
from nlptl.modes.freezing import name_of

Chooser = Callable[[nn.Module], set[str]]


def bias_names(model: nn.Module) -> set[str]:
    """List the names of the additive biases; T5's table of relative positions is none."""
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() == 1 and name.rsplit(".", 1)[-1].endswith("bias")
    }


def norm_names(model: nn.Module) -> set[str]:
    """List the names of all parameters of norms, found by the class of their module."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if "norm" in type(module).__name__.lower()
        for name, _ in module.named_parameters(recurse=False)
    }


def train_only(model: Any, names: set[str]) -> Any:
    """Train the named parameters and the head, and nothing else.

    The frozen modules stay in train mode: gradients pass through them, and their dropout is the usual one.
    """
    parts = layer_map(model).part_of(model)
    for name, parameter in model.named_parameters():
        if name not in names and parts[name] != "head":
            parameter.requires_grad_(False)
    return model


def _has_any(chooser: Chooser, kind: str, instead: str) -> Callable[[Mode, int, str, Any], None]:
    """Make a check that a configuration's model has such parameters; no weight is read."""

    def check(mode: Mode, depth: int, name: str, config: Any) -> None:
        if config is not None and (layers := map_of(config)):
            names = {name for block in layers.blocks for name in chooser(block)}
            _refuse_none(names, mode.name, name, kind, instead)

    return check


def _refuse_none(names: set[str], mode: str, model: str, kind: str, instead: str) -> None:
    if not names:
        raise ModeError(
            f"--mode {mode}: {model} has no {kind}; expected some to train. Take {instead}."
        )


@mode(
    "bitfit",
    help="all biases, and the head",
    when="many tasks on one checkpoint, each a small file; little data",
    peak=4e-4,  # of 1e-4, 4e-4, 7e-4, 1e-3 (Ben Zaken et al., 2022, appendix A.2)
    matrices=False,
    check=_has_any(bias_names, "biases", "norm-only or lora"),
)
def bitfit(model: Any) -> Any:
    """Train the biases, those of norms and embeddings included, and the head (Ben Zaken et al., 2022).

    Raises:
        ModeError: If the model has no biases below the head, as T5.
    """
    own = {name for name, part in layer_map(model).part_of(model).items() if part != "head"}
    names = bias_names(model) & own
    _refuse_none(names, "bitfit", name_of(model), "biases", "norm-only or lora")
    return train_only(model, names)


@mode(
    "norm-only",
    help="the weights and biases of all norms, and the head",
    when="as bitfit; the only one of the two for models without biases, such as T5",
    peak=1e-3,  # the highest of BitFit's: as few parameters, and all of them scales and shifts
    matrices=False,
    check=_has_any(norm_names, "norms", "bitfit or lora"),
)
def norm_only(model: Any) -> Any:
    """Train the parameters of norms, and the head.

    Raises:
        ModeError: If the model has no norms below the head.
    """
    own = {name for name, part in layer_map(model).part_of(model).items() if part != "head"}
    names = norm_names(model) & own
    _refuse_none(names, "norm-only", name_of(model), "norms", "bitfit or lora")
    return train_only(model, names)
