"""Comparison of a checkpoint's tensors with what its configuration says; only a head may differ."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from nlptl.errors import ModelError, listed

#: Last parts of the names of tensors that older files hold and models make again: no weights.
BUFFERS = ("position_ids", "inv_freq", "masked_bias", "token_type_ids")


def refuse_lost(name: str, lost: Iterable[str]) -> None:
    """Refuse a checkpoint that lacks tensors of the backbone."""
    if lost := sorted(lost):
        raise ModelError(
            f"--model {name}: {len(lost)} tensors of the backbone are missing in the checkpoint "
            f"({listed(lost, 3)}). The file is damaged, or of another architecture than its config."
        )


def refuse_other_shape(name: str, differ: Iterable[tuple[str, Any, Any]]) -> None:
    """Refuse a checkpoint whose backbone has tensors of another shape than its configuration says."""
    if differ := sorted(differ, key=lambda each: each[0]):
        shown = [
            f"{key}: {list(file)} in the file, {list(model)} by config.json"
            for key, file, model in differ
        ]
        raise ModelError(
            f"--model {name}: {len(differ)} tensors of the backbone have another shape than config.json says "
            f"({listed(shown, 3)}). Give the config.json that belongs to the weights."
        )


def refuse_not_finite(name: str, model: torch.nn.Module) -> None:
    """Refuse a checkpoint in which a number of the weights is infinite or none (NaN): no rate trains it."""
    wrong = [
        key for key, p in model.named_parameters() if not p.is_meta and not torch.isfinite(p).all()
    ]
    if wrong:
        raise ModelError(
            f"--model {name}: {len(wrong)} tensors of the checkpoint hold numbers that are infinite or none "
            f"(NaN): {listed(sorted(wrong), 3)}. A training that diverged leaves such weights. Take an "
            "earlier checkpoint, or another one."
        )


def check_shapes(name: str, folder: Path, config: Any) -> None:
    """Compare the shapes in a local checkpoint's safetensors with its configuration, without reading weights.

    Loading compares them again, of every kind of file; this is before data is read and other models train.

    Args:
        name: Name of the checkpoint as the user gave it.
        folder: Folder of the transformer; nothing is compared if it holds no safetensors.
        config: Its configuration.

    Raises:
        ModelError: If a tensor of the body has another shape.
    """
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return
    from safetensors import safe_open
    from transformers import AutoModel

    try:
        with torch.device("meta"):
            body = AutoModel.from_config(config, trust_remote_code=False)
        shapes = {}
        for file in files:
            with safe_open(file, framework="pt") as tensors:
                shapes |= {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118
    except Exception:  # the loader says what cannot be read
        return
    prefix = f"{body.base_model_prefix}."
    own = {key: list(value.shape) for key, value in body.named_parameters()}
    plain = {key.removeprefix(prefix): list(shape) for key, shape in shapes.items()}
    refuse_other_shape(
        name,
        [(key, plain[key], shape) for key, shape in own.items() if plain.get(key, shape) != shape],
    )


def refuse_left_out(
    name: str, model: Any, parts: Mapping[str, str], unexpected: Iterable[str]
) -> None:
    """Refuse a checkpoint with tensors in its blocks for which the configuration has no place.

    Args:
        name: Name of the checkpoint as the user gave it.
        model: The model that was read.
        parts: Part of each of its parameters (:meth:`nlptl.models.layer_map.LayerMap.part_of`).
        unexpected: Names of the tensors in the file that found no place.

    Raises:
        ModelError: For blocks above the number that the configuration says, and for weights inside a block
            that it does not have (a bias, an adapter).
    """
    prefix = f"{getattr(model, 'base_model_prefix', '')}."

    def form(key: str) -> str:
        return re.sub(r"\d+", "#", key.removeprefix(prefix))

    inside = [form(key) for key, part in parts.items() if part.startswith("block")]
    stacks = {key.partition("#")[0] for key in inside if "#" in key}
    left = sorted(
        key
        for key in unexpected
        if (plain := form(key)).partition("#")[0] in stacks
        and "#" in plain
        and plain.rpartition(".")[2] not in BUFFERS
    )
    if not left:
        return
    if more := [key for key in left if form(key) in inside]:
        raise ModelError(
            f"--model {name}: the checkpoint holds more blocks than its config.json says: {len(more)} tensors "
            f"have no place ({listed(more, 3)}). Give the config.json that belongs to the weights; to train "
            "fewer blocks, --keep-layers chooses which."
        )
    raise ModelError(
        f"--model {name}: {len(left)} tensors of the checkpoint's blocks have no place in the model that "
        f"config.json says ({listed(left, 3)}). Give the config.json that belongs to the weights."
    )
