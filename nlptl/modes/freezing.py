"""Modes that freeze parts whole: the embeddings, the lowest blocks, or all blocks but some."""

from collections.abc import Collection
from typing import Any

from nlptl.errors import ModeError, many
from nlptl.models.frozen_stem import above, between, border_problem
from nlptl.models.layer_map import layer_map, map_of
from nlptl.modes.base import Mode
from nlptl.modes.definition import Epochs, freeze_one, mode


def freeze_parts(model: Any, parts: Collection[str]) -> None:
    """Freeze the parts of a model with these names: ``embeddings``, ``block 0``, …, ``head``.

    Their parameters get no gradient, and their modules stay in eval mode. With the embeddings, everything of
    the backbone that is not inside an unfrozen block or the head stays in eval mode too, one by one: BART
    drops out embeddings in the forward function of the stack around them, and skips blocks at random there.
    That the states above what is frozen at the bottom are constant is checked by running them twice.

    Args:
        model: A mapped model; changed in place. :func:`nlptl.modes.definition.thaw` undoes it.
        parts: Names of parts as in :meth:`nlptl.models.layer_map.LayerMap.part_of`.

    Raises:
        ModeError: If the blocks share weights, so that only all or none can be frozen; or if the states above
            the frozen blocks change from pass to pass, or need a gradient.
    """
    layers = layer_map(model)
    some = sum(f"block {number}" in parts for number in range(len(layers.blocks)))
    if some < len(layers.blocks):
        check_partial(layers.partial, some, getattr(model, "name_or_path", "") or "the model")
    where, frozen = layers.part_of(model), set(parts)
    ids = {id(p) for name, p in model.named_parameters() if where[name] in frozen}
    quiet = _quiet(model, frozen)
    for module in model.modules():
        own = [name for name, p in module.named_parameters(recurse=False) if id(p) in ids]
        if own or id(module) in quiet:
            freeze_one(module, own, drops=id(module) not in quiet)
    count = 0
    while "embeddings" in frozen and f"block {count}" in frozen:
        count += 1
    if count and (why := border_problem(model, count)):
        raise ModeError(
            f"The blocks of a model of the architecture '{model.config.model_type}' cannot be frozen: above "
            f"the {count} lowest ones the states {why}. Choose full."
        )


def _quiet(model: Any, frozen: Collection[str]) -> set[int]:
    """Return the identities of the modules that stay in eval mode when these parts are frozen."""
    layers = layer_map(model)
    inside = [
        {id(module) for module in block.modules()}
        for number, block in enumerate(layers.blocks)
        if f"block {number}" in frozen
    ]
    quiet = set[int]().union(*inside)
    if "embeddings" in frozen:
        quiet |= {id(module) for module in between(model)}
    if "head" in frozen:
        quiet |= {id(module) for module in above(model)}
    return quiet - {id(model)}  # whose own flag says whether the model trains


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
            f"--mode freeze-lower-{blocks}: {name} has {many(depth, 'block')}. Choose 0 (freezes "
            "the embeddings "
            f"only) to {depth} (leaves the head only)."
        )


def _check(mode: Mode, depth: int, name: str, config: Any) -> None:
    n = mode.settings["n"]
    check_shared(config, n, name)
    check_depth(n, depth, name)


def check_shared(config: Any, frozen: int, name: str) -> None:
    """Make sure by a configuration that some of its model's blocks can be frozen (:func:`check_partial`)."""
    if frozen and config is not None and (layers := map_of(config)):
        check_partial(layers.partial, frozen, name)


def check_partial(partial: str | None, frozen: int, name: str) -> None:
    """Make sure that some of a model's blocks can be frozen.

    Args:
        partial: Reason why they cannot, or None (:attr:`nlptl.models.layer_map.LayerMap.partial`).
        frozen: Number of blocks that are to be frozen.
        name: Name of the model.

    Raises:
        ModeError: If they cannot.
    """
    if partial and frozen:
        raise ModeError(
            f"{name}: a part of its blocks cannot be frozen: {partial}. Choose freeze-lower-0 (freezes the "
            "embeddings only), head-only, lora or full."
        )


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
    blocks = range(len(layer_map(model).blocks))
    freeze_parts(model, {"embeddings", *(f"block {number}" for number in blocks)})
    return model


@mode(
    "freeze-lower-{n:int}",
    help="the head and the blocks above the N lowest; 0 freezes the embeddings only",
    when="some hundred labels or more, and little time: the lower blocks are computed once",
    # Freezing needs a higher rate than full (Saad-Falcon et al., 2023, hyper-parameter files: up to ten times
    # with 75 % frozen).
    rate=2.0,
    rates={
        "roberta": 5e-5 / 2e-5,
        "pre-norm": 1.5e-4 / 1e-4,  # T5's
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
        ModeError: If the model has fewer blocks, or if they share their weights.
    """
    layers = layer_map(model)
    check_partial(layers.partial, n, name_of(model))
    check_depth(n, len(layers.blocks), name_of(model))
    freeze_all_but(model, n, len(layers.blocks))
    return model


def check_top(blocks: int, depth: int, name: str) -> None:
    """Make sure that a model has as many blocks as are to be trained.

    Raises:
        ModeError: If it has fewer; the message names the model and its depth.
    """
    if blocks > depth:
        raise ModeError(
            f"--mode top-{blocks}: {name} has {many(depth, 'block')}. Choose 0 (trains the head "
            f"only) to {depth} "
            "(freezes the embeddings only)."
        )


def _check_top(mode: Mode, depth: int, name: str, config: Any) -> None:
    n = mode.settings["n"]
    check_top(n, depth, name)
    check_shared(config, depth - n if n else 0, name)


@mode(
    "top-{n:int}",
    help="the head and the N highest blocks",
    when="as freeze-lower-N, where checkpoints differ in depth",
    rate=2.0,  # as freeze-lower's, and for its reasons
    rates={"roberta": 5e-5 / 2e-5, "pre-norm": 1.5e-4 / 1e-4},
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
    first, last = mode.settings["first"], mode.settings["last"]
    check_span(first, last, depth, name)
    check_shared(config, depth - 1 - last + first, name)


@mode(
    "blocks-{first:int}-{last:int}",
    help="the head and the blocks numbered M to N, from 0 up (surgical fine-tuning)",
    when="the input differs from the pretraining (low blocks), or the meaning does (middle, high)",
    rate=2.0,  # as freeze-lower's
    rates={"roberta": 5e-5 / 2e-5, "pre-norm": 1.5e-4 / 1e-4},
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
