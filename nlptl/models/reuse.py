"""Models that take a part of a checkpoint: fewer blocks, some blocks at random, or its form alone."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from nlptl.errors import ModelError, many
from nlptl.models.layer_map import class_of_body, depth, layer_map

#: Entries of configurations that hold the number of an encoder's blocks, or a decoder's.
ENCODER = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers")
DECODER = ("num_decoder_layers", "decoder_layers")
#: Most digits of a block's number: no model has a hundred thousand.
DIGITS = 5


def read_kept(text: str) -> tuple[int, ...]:
    """Read ``--keep-layers``: a number of lowest blocks, or the blocks' own numbers.

    Example:
        >>> read_kept("3"), read_kept("0,2,4")
        ((0, 1, 2), (0, 2, 4))

    Raises:
        ModelError: If it is neither.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= DIGITS for part in parts):
        raise _not_read(text)
    numbers = [int(part) for part in parts]
    kept = tuple(range(numbers[0])) if len(numbers) == 1 else tuple(numbers)
    if not kept or list(kept) != sorted(set(kept)):
        raise _not_read(text)
    return kept


def _not_read(text: str) -> ModelError:
    return ModelError(
        f"--keep-layers {text}: expected a number of blocks from 1 up, such as 6, or the numbers of two or "
        "more "
        "blocks in rising order, such as 0,2,4."
    )


def reused(model: Any, kept: str | None, top: int) -> tuple[Any, frozenset[str]]:
    """Take only some blocks of a model, and draw again what is not to be taken over.

    Args:
        model: Model as it was loaded, with its head.
        kept: Blocks to keep, as :func:`read_kept` reads them; None for all.
        top: Number of highest blocks to draw again (:func:`redraw_top`).

    Returns:
        The model, and the names of the parameters that are new by that.
    """
    new: frozenset[str] = frozenset()
    if kept:
        model, new = keep_layers(model, read_kept(kept))
    return model, new | redraw_top(model, top) if top else new


def check_kept(kept: Iterable[int], config: Any, name: str) -> int:
    """Make sure that a checkpoint has the blocks that are to be kept, in its decoder too.

    Returns:
        The number of blocks that are left.

    Raises:
        ModelError: If it has not.
    """
    stacks = [count for count in depth(config) if count]
    kept = tuple(kept)
    if max(kept) >= min(stacks):
        which = " and a decoder of ".join(map(str, stacks))
        both = " The same blocks of both are kept." if len(stacks) > 1 else ""
        raise ModelError(
            f"--keep-layers: {name} has {which} blocks, numbered from 0; the block {max(kept)} is not there."
            f"{both}"
        )
    return len(kept) * len(stacks)


def keep_layers(model: Any, kept: tuple[int, ...]) -> tuple[Any, frozenset[str]]:
    """Build a shallower model of the same class from some blocks of a checkpoint.

    Dropping upper blocks keeps most of the quality (Sajjad et al., 2023, "On the effect of dropping layers"):
    of a BERT-base's 92.4 on SST-2, 90.3 are left with 6 of 12.

    Args:
        model: Model as it was loaded, with its head; not changed.
        kept: Numbers of the blocks to keep, from 0 up; of an encoder-decoder in each of the two.

    Returns:
        The model, and the names of the head's parameters, which are new.

    Raises:
        ModelError: If it has no such blocks, or the model cannot be built from these alone.
    """
    name = getattr(model, "name_or_path", "") or "the model"
    check_kept(kept, model.config, name)
    config = deepcopy(model.config)
    stacks = depth(config)
    for entries, count in ((ENCODER, stacks[0]), (DECODER, stacks[1])):
        for entry in entries:
            if count and getattr(config, entry, None) == count:
                _set(config, entry, len(kept), name)
    if len(getattr(config, "layer_types", None) or ()) == stacks[0]:
        config.layer_types = [config.layer_types[number] for number in kept]
    again = getattr(model, "rebuilt", type(model))  # a head of nlptl's own is built around a body
    made = again(config).to(model.dtype)
    old, new = layer_map(model).names, layer_map(made).names
    wanted = [
        start + number for start in (0, stacks[0])[: 2 if stacks[1] else 1] for number in kept
    ]
    if len(new) != len(wanted):
        raise ModelError(
            f"--keep-layers: {name}'s configuration does not lead to a model of {len(wanted)} blocks, but of "
            f"{len(new)}. Take all blocks."
        )
    source = {one: old[number] for one, number in zip(new, wanted, strict=True)}
    _copy(model, made, source, name)
    made.name_or_path = model.name_or_path
    return made, frozenset(draw_head(made))


def _set(config: Any, entry: str, count: int, name: str) -> None:
    try:
        setattr(config, entry, count)
    except NotImplementedError as error:  # Funnel counts its blocks in groups
        raise ModelError(
            f"--keep-layers: {name}'s configuration takes no other number of blocks ({error}). Take all."
        ) from error


def _copy(model: Any, made: Any, source: dict[str, str], name: str) -> None:
    """Copy all tensors, each block's from the block of the checkpoint that it stands for."""
    own, tensors, used = model.state_dict(), {}, set()
    for key in made.state_dict():
        block = next((one for one in source if key.startswith(f"{one}.")), None)
        old = key if block is None else source[block] + key.removeprefix(block)
        if old not in own:
            raise ModelError(
                f"--keep-layers: {name} needs {key}, and {old} is not in the checkpoint. Its first block "
                "owns more than the others, such as the relative positions of T5: keep block 0."
            )
        tensors[key] = own[old]
        used.add(old)
    kept = tuple(f"{block}." for block in source.values())
    if left := sorted(key for key in own if key.startswith(kept) and key not in used):
        raise ModelError(
            f"--keep-layers: {name} has {left[0]}, which the shallower model has no place for. Its first "
            "block owns less than the others, such as ModernBERT's, which has no norm: keep block 0."
        )
    made.load_state_dict(tensors)


def draw_head(model: Any) -> set[str]:
    """Draw the linear layers above the blocks again; norms stay.

    Returns:
        The names of the parameters that are new.
    """
    parts, new = layer_map(model).part_of(model), set()
    for name, module in model.named_modules():
        own = {f"{name}.{inner}" for inner, _ in module.named_parameters(recurse=False)}
        if isinstance(module, nn.Linear) and own and all(parts.get(n) == "head" for n in own):
            _draw(model, module)
            new |= own
    return new


def redraw_top(model: Any, count: int) -> frozenset[str]:
    """Draw the ``count`` highest blocks and the head again, by the model's own rule (Zhang et al., 2021).

    For BERT that is N(0, initializer_range) for matrices, 0 for biases and 1 for norms. The highest blocks of
    a checkpoint are the most tied to its pretraining task.

    Args:
        model: Model as it was loaded; changed in place.
        count: Number of blocks; for T5 the decoder's, then the encoder's.

    Returns:
        The names of the parameters that are new.

    Raises:
        ModelError: If the model has fewer blocks.
    """
    blocks = layer_map(model).blocks
    if not 0 < count <= len(blocks):
        raise ModelError(
            f"--reinit-top {count}: the model has {many(len(blocks), 'block')}; expected 1 to that."
        )
    modules = blocks[-count:]
    own = {id(p) for module in modules for p in module.parameters()}
    for module in modules:
        for inner in module.modules():
            _draw(model, inner)
    return frozenset({n for n, p in model.named_parameters() if id(p) in own} | draw_head(model))


@torch.no_grad()
def _draw(model: Any, module: nn.Module) -> None:
    """Initialise a module's own tensors as the model's class does."""
    for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        tensor._is_hf_initialized = False  # type: ignore[attr-defined]  # transformers skips what was loaded
    owner = model if hasattr(model, "_init_weights") else model.base_model
    owner._init_weights(module)


def untrained_weights(config: Any, seed: int) -> dict[str, torch.Tensor]:
    """Draw the weights of a configuration's language model, or of its body if there is no such class.

    Args:
        config: Configuration of the architecture.
        seed: Seed of the weights; torch's own generator is not touched.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForSeq2SeqLM,
    )

    seq2seq = getattr(config, "is_encoder_decoder", False)
    classes = (AutoModelForSeq2SeqLM,) if seq2seq else (AutoModelForMaskedLM, AutoModelForCausalLM)
    known = [each for each in classes if type(config) in each._model_mapping]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (*known, class_of_body(config))[0].from_config(config, trust_remote_code=False)
    tied = model.all_tied_weights_keys
    return {key: value for key, value in model.state_dict().items() if key not in tied}


@torch.no_grad()
def draw_again(model: Any) -> Any:
    """Draw all weights of a model as its configuration says; each tensor stays the object that it was.

    The seed is that of torch's generator (:func:`torch.initial_seed`). Body and head are the ones that a run
    would have that starts with this seed from the weights of :func:`untrained_weights`, as the transfer
    report's arm without pretraining does.

    Args:
        model: A Hugging Face model, with or without a head; changed in place.
    """
    from nlptl.models.loading import quiet_transformers

    seed = torch.initial_seed()
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        if hasattr(type(model), "from_pretrained"):
            fresh = type(model).from_pretrained(
                None,
                config=deepcopy(model.config),
                state_dict=untrained_weights(model.config, seed),
                dtype=torch.float32,
                trust_remote_code=False,
            )
            drawn = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                if name in drawn:
                    tensor.copy_(drawn[name])
        else:  # a head of nlptl's own around a body
            for module in model.modules():
                _draw(model, module)
    return model
