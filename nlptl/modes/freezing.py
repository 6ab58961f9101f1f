"""Modes that freeze blocks from the input up: none, some or all of them."""

from collections.abc import Collection
from typing import Any

from nlptl.errors import ModeError
from nlptl.models.layer_map import layer_map
from nlptl.modes.base import Mode
from nlptl.modes.definition import Epochs, freeze, mode


def check_depth(blocks: int, depth: int, name: str) -> None:
    """Make sure that a model has as many blocks as are to be frozen.

    Raises:
        ModeError: If it has fewer; the message names the model and its depth.
    """
    if blocks > depth:
        raise ModeError(
            f"--mode freeze-lower-{blocks}: {name} has {depth} blocks. Choose 0 (freezes the embeddings "
            f"only) to {depth} (leaves the head only)."
        )


def _check(mode: Mode, depth: int, name: str, config: Any) -> None:
    check_depth(mode.settings["n"], depth, name)


@mode(
    "head-only",
    help="everything above the blocks (BERT's pooler, T5's last norm included)",
    peak=2e-3,  # a head alone takes 1e-3 to 1e-2
    epochs=Epochs(5, 1000, 40),  # twice the steps
    frozen=lambda depth: depth,
)
def head_only(model: Any) -> Any:
    """Freeze the embeddings and all blocks."""
    return freeze_lower(model, len(layer_map(model).blocks))


@mode(
    "freeze-lower-{n:int}",
    help="the head and the blocks above the N lowest; 0 freezes the embeddings only",
    # Freezing needs a higher rate than full (Saad-Falcon et al., 2023, hyper-parameter files: up to ten times
    # with 75 % frozen).
    rate=2.0,
    rates={
        "roberta": 5e-5 / 2e-5,
        "t5": 1.5e-4 / 1e-4,
    },  # the peaks that were tried, relative to those of full
    frozen=lambda depth, n: n,
    check=_check,
)
def freeze_lower(model: Any, n: int) -> Any:
    """Freeze the embeddings and the lowest ``n`` blocks; the rest and the head train.

    Training only the upper quarter of the layers keeps most of the quality (Lee, Tang & Lin, 2019,
    "What Would Elsa Do?"). 0 freezes the embeddings only; all blocks leave just the head. A
    tensor that a frozen module shares with an upper one (BERT's masked-LM decoder is its word
    embeddings) is frozen in both.

    Args:
        model: A mapped model; changed in place.
        n: Number of blocks, counted from the input; for T5 encoder blocks, then decoder blocks.

    Raises:
        ModeError: If the model has fewer blocks.
    """
    layers = layer_map(model)
    check_depth(n, len(layers.blocks), getattr(model, "name_or_path", "") or "the model")
    freeze_parts(model, {"embeddings", *(f"block {number}" for number in range(n))})
    return model


def freeze_parts(model: Any, parts: Collection[str]) -> None:
    """Freeze the parts of a model with these names: ``embeddings``, ``block 0``, ….

    Args:
        model: A mapped model; changed in place.
        parts: Names of parts as in :meth:`nlptl.models.layer_map.LayerMap.part_of`.
    """
    layers = layer_map(model)
    modules = [*layers.embeddings] if "embeddings" in parts else []
    for number, block in enumerate(layers.blocks):
        modules += block if f"block {number}" in parts else ()
    for module in modules:
        freeze(module)


@mode("full", help="everything", trains_all=True)
def full(model: Any) -> Any:
    """Train everything that the model itself does not freeze."""
    return model
