"""Modes that freeze parts whole: the embeddings, the lowest blocks, or all blocks but some."""

from collections.abc import Collection
from typing import Any

from nlptl.errors import ModeError
from nlptl.models.layer_map import layer_map
from nlptl.modes.base import Mode
from nlptl.modes.definition import Epochs, freeze, mode


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


def freeze_all_but(model: Any, first: int, last: int) -> None:
    """Freeze the embeddings and all blocks but those from ``first`` to before ``last``."""
    numbers = set(range(len(layer_map(model).blocks))) - set(range(first, last))
    freeze_parts(model, {"embeddings", *(f"block {number}" for number in numbers)})


def name_of(model: Any) -> str:
    """Return a model's name for messages."""
    return getattr(model, "name_or_path", "") or "the model"


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
    when="few labels, or many tasks on one checkpoint; the first thing to try",
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
    when="some hundred labels or more, and little time: the lower blocks are computed once",
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
    depth = len(layer_map(model).blocks)
    check_depth(n, depth, name_of(model))
    freeze_all_but(model, n, depth)
    return model


def check_top(blocks: int, depth: int, name: str) -> None:
    """Make sure that a model has as many blocks as are to be trained.

    Raises:
        ModeError: If it has fewer; the message names the model and its depth.
    """
    if blocks > depth:
        raise ModeError(
            f"--mode top-{blocks}: {name} has {depth} blocks. Choose 0 (trains the head only) to {depth} "
            "(freezes the embeddings only)."
        )


def _check_top(mode: Mode, depth: int, name: str, config: Any) -> None:
    check_top(mode.settings["n"], depth, name)


@mode(
    "top-{n:int}",
    help="the head and the N highest blocks",
    when="as freeze-lower-N, where checkpoints differ in depth",
    rate=2.0,  # as freeze-lower's, and for its reasons
    rates={"roberta": 5e-5 / 2e-5, "t5": 1.5e-4 / 1e-4},
    frozen=lambda depth, n: depth - n,
    check=_check_top,
)
def top(model: Any, n: int) -> Any:
    """Train the ``n`` highest blocks and the head; the same as :func:`freeze_lower`, counted from above.

    Args:
        model: A mapped model; changed in place.
        n: Number of blocks, counted from the head; for T5 decoder blocks, then encoder blocks.

    Raises:
        ModeError: If the model has fewer blocks.
    """
    depth = len(layer_map(model).blocks)
    check_top(n, depth, name_of(model))
    freeze_all_but(model, depth - n, depth)
    return model


def check_span(first: int, last: int, depth: int, name: str) -> None:
    """Make sure that a model has blocks of these numbers.

    Raises:
        ModeError: If it has not, or the first comes after the last.
    """
    if not first <= last < depth:
        raise ModeError(
            f"--mode blocks-{first}-{last}: {name} has the blocks 0 to {depth - 1}. Choose two of these "
            "numbers, "
            "the lower one first, such as "
            f"blocks-0-{min(2, depth - 1)}."
        )


def _check_span(mode: Mode, depth: int, name: str, config: Any) -> None:
    check_span(mode.settings["first"], mode.settings["last"], depth, name)


@mode(
    "blocks-{first:int}-{last:int}",
    help="the head and the blocks numbered M to N, from 0 up (surgical fine-tuning)",
    when="the input differs from the pretraining (low blocks), or the meaning does (middle, high)",
    rate=2.0,  # as freeze-lower's
    rates={"roberta": 5e-5 / 2e-5, "t5": 1.5e-4 / 1e-4},
    frozen=lambda depth, first, last: first,
    check=_check_span,
)
def blocks(model: Any, first: int, last: int) -> Any:
    """Train one run of blocks and the head (surgical fine-tuning, Lee et al., 2023).

    The frozen blocks above pass the gradient on and do not drop out.

    Args:
        model: A mapped model; changed in place.
        first: Number of the lowest block that trains, from 0 up; for T5 encoder blocks, then decoder blocks.
        last: Number of the highest one.

    Raises:
        ModeError: If the model has no such blocks.
    """
    check_span(first, last, len(layer_map(model).blocks), name_of(model))
    freeze_all_but(model, first, last + 1)
    return model


@mode(
    "freeze-embeddings",
    help="everything but the embeddings",
    when="as full, with less memory: the vocabulary's table is often a third of the model",
    # Nothing that the rates of full are for changes.
)
def freeze_embeddings(model: Any) -> Any:
    """Freeze the embeddings only, as ``freeze-lower-0`` does, at the rate of ``full``."""
    freeze_parts(model, {"embeddings"})
    return model


@mode(
    "full",
    help="everything",
    when="a thousand labels or more, and time",
    trains_all=True,
)
def full(model: Any) -> Any:
    """Train everything that the model itself does not freeze."""
    return model
