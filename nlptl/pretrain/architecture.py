"""Architectures of new models: a family with depth and width, or a configuration."""

import math
from pathlib import Path
from typing import Any

import torch

from nlptl.errors import ModelError, Problems, listed, suggest
from nlptl.models.families import FAMILIES, check_family
from nlptl.models.layer_map import longest_text
from nlptl.models.loading import load_config, load_tokenizer, resolve
from nlptl.models.reuse import untrained_weights
from nlptl.models.sentence_encoder import declare_like
from nlptl.models.tracing import width_of

#: Sizes of a model if only the family is given.
DEPTH, WIDTH, POSITIONS = 12, 128, 256


def is_family(architecture: str) -> bool:
    """Whether ``--architecture`` names a family, and not a configuration."""
    return architecture in FAMILIES and not Path(architecture).exists()


def _is_bare(architecture: str) -> bool:
    """Whether it is a family, a misspelt one, or a hub name of one word."""
    return not ("/" in architecture or Path(architecture).exists())


def check_architecture(
    architecture: str, *, depth: int | None, width: int | None, positions: int | None
) -> str:
    """Make sure that a model from scratch can be built.

    Args:
        architecture: ``bert``, ``roberta``, ``t5``; or what :meth:`transformers.AutoConfig.from_pretrained`
            takes: a ``config.json``, a model directory, or a hub name.
        depth: Number of blocks; None for the configuration's own, or 12.
        width: Hidden size, a multiple of 32; None for the configuration's own, or 128.
        positions: Longest input; None for the configuration's own, or 256.

    Returns:
        The family.

    Raises:
        UserError: With all that is wrong.
    """
    problems = Problems()
    for name, value in (("depth", depth), ("positions", positions)):
        if value is not None and value < 1:
            problems.add(f"--{name} is {value}; expected a number above 0.")
    config = None if is_family(architecture) else problems.run(_given_config, architecture)
    if config is None and _is_bare(architecture):
        if width is not None and (width < 1 or width % 32):
            problems.add(
                f"--width is {width}; expected a multiple of 32 (heads have 32 dimensions)."
            )
    elif width is not None:
        problems.add("--width and a configuration in --architecture: the file says the width.")
    problems.raise_if_any()
    return config.model_type if config else architecture


def new_config(
    architecture: str,
    *,
    tokenizer: Any,
    depth: int | None = None,
    width: int | None = None,
    positions: int | None = None,
) -> Any:
    """Make the configuration of a new model, with the tokenizer's vocabulary and special tokens.

    A family alone gives heads of 32 dimensions, a feed-forward layer four times as wide, and dropout
    0.1 (pretraining switches it off, see :func:`nlptl.pretrain.building.set_dropout`); a T5 gets two decoder
    blocks besides ``depth`` encoder blocks, since the tasks here read texts and write little. A given
    configuration decides everything but the weights' type, which is float32.

    Args:
        architecture: Family or configuration, as for :func:`check_architecture`.
        tokenizer: Tokenizer, whose size is the vocabulary's.
        depth: Number of blocks, as there.
        width: Hidden size, as there.
        positions: Longest input, as there.

    Raises:
        UserError: As :func:`check_architecture` does.
    """
    family = check_architecture(architecture, depth=depth, width=width, positions=positions)
    if is_family(architecture):
        config = _family_config(family, depth or DEPTH, width or WIDTH)
        positions = positions or POSITIONS
    else:
        config = _given_config(architecture)
        config.dtype = torch.float32
        if depth is not None:
            config.num_hidden_layers = depth
    config.vocab_size = len(tokenizer)
    config.pad_token_id = pad = tokenizer.pad_token_id
    if family == "t5":
        config.decoder_start_token_id = pad
        config.eos_token_id = tokenizer.eos_token_id
        return config
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    if positions is not None:
        # RoBERTa's positions start after the padding index.
        config.max_position_embeddings = positions + (pad + 1 if family == "roberta" else 0)
    return config


def new_model(config: Any) -> Any:
    """Build a model with random weights and its pretraining head."""
    from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    seq2seq = getattr(config, "is_encoder_decoder", False)
    return (AutoModelForSeq2SeqLM if seq2seq else AutoModelForMaskedLM).from_config(
        config, trust_remote_code=False
    )


def save_untrained(name: str, directory: Path, *, seed: int) -> None:
    """Write a checkpoint's twin without pretraining: same architecture and tokenizer, random weights.

    The weights are drawn as its configuration says, pretraining head included; a pooling that the checkpoint
    declares, its twin declares too.

    Args:
        name: Bundled name, directory or hub name.
        directory: Directory to write to; it opens like any checkpoint.
        seed: Seed of the weights.
    """
    from safetensors.torch import save_file

    config = load_config(name)
    weights = untrained_weights(config, seed)
    # Not by save_pretrained: of several processes it writes in the first one only, and here each process
    # has its own folder.
    config.save_pretrained(directory)
    declare_like(resolve(name), directory, width=width_of(config))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    load_tokenizer(name, split_special_tokens=False).save_pretrained(directory)


def longest_position(architecture: str, positions: int | None, asked: int | None) -> int:
    """Return the number of tokens that a new model takes.

    Args:
        architecture: Family or configuration, as for :func:`check_architecture`.
        positions: Longest input, as there.
        asked: ``--max-length``: a T5, whose positions are relative, takes any length.

    Returns:
        The number in ``positions`` or the configuration, or 256; for T5 without the former at least ``asked``.
    """
    if positions is not None:
        return positions
    if is_family(architecture):
        limit, usual = None if architecture == "t5" else POSITIONS, POSITIONS
    else:
        config = _given_config(architecture)
        limit, usual = longest_text(config), 512
    return limit or max(usual, asked or 0)


def _family_config(family: str, depth: int, width: int) -> Any:
    from transformers import AutoConfig

    if family == "t5":
        return AutoConfig.for_model(
            family,
            d_model=width,
            d_ff=4 * width,
            d_kv=32,
            num_heads=width // 32,
            num_layers=depth,
            num_decoder_layers=2,
        )
    return AutoConfig.for_model(
        family,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        type_vocab_size=1 if family == "roberta" else 2,
        # BERT's 0.02 belongs to a width of 768: a narrow model needs larger weights for the same
        # activations, and left the unigram plateau sooner with them.
        initializer_range=round(0.02 * math.sqrt(768 / width), 4),
    )


def _given_config(name: str) -> Any:
    from transformers import AutoConfig

    path = Path(name)
    if path.suffix == ".json" and not path.exists():
        near = suggest(path.name, [p.name for p in path.parent.glob("*")])
        raise ModelError(f"--architecture {name}: there is no such file.{near}")
    if not path.is_file():
        try:
            config = load_config(name, flag="--architecture")
        except ModelError as error:
            if not _is_bare(name) or error.__cause__ is None:
                raise
            near = suggest(name, list(FAMILIES))
            families = f"or name a family: {listed(list(FAMILIES))}."
            raise ModelError(f"{str(error).removesuffix('.')}, {families}{near}") from error
        check_family(config.model_type, f"--architecture {name}")
        return config
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"--architecture {name}: is not a model configuration ({str(error).splitlines()[0]})."
        ) from error
    check_family(config.model_type, f"--architecture {name}")
    return config
