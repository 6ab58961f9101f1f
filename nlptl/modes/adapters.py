"""Modes that put small trained modules into frozen blocks (peft)."""

import math
from collections.abc import Sequence
from typing import Any

from nlptl.errors import ModeError, Problems, many
from nlptl.models.adapters import add_ia3, add_lora, add_prompt, check_targets
from nlptl.models.layer_map import depth as blocks_of
from nlptl.models.layer_map import layer_map, longest_text, map_of
from nlptl.modes.base import Mode
from nlptl.modes.definition import mode
from nlptl.modes.freezing import check_partial, freeze_parts, name_of

LORA_RANK = 8
#: Number of trained vectors before a text.
TOKENS = 16
#: Fewest tokens that must be left to a text.
FEWEST = 8


def _settings(
    rank: int = LORA_RANK,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: Sequence[str] | None = None,
    above: int = 0,
    top: int | None = None,
) -> dict[str, Any]:
    """Fill in LoRA's settings: alpha is twice the rank (Hu et al., 2022, used 16 with rank 8)."""
    problems = Problems()
    if rank < 1:
        problems.add(
            f"--lora-rank is {rank}; expected 1 or more, or leave it out for the usual {LORA_RANK}."
        )
    if alpha is not None and not 0 < alpha < math.inf:
        problems.add(
            f"--lora-alpha is {alpha}; expected a number above 0, or leave it out for twice the rank."
        )
    if not 0 <= dropout < 1:
        problems.add(f"--lora-dropout is {dropout}; expected 0 or more and less than 1.")
    problems.raise_if_any()
    alpha = 2.0 * rank if alpha is None else alpha
    named = {"rank": rank, "alpha": alpha, "dropout": dropout, "targets": targets, "above": above}
    return {**named, **({} if top is None else {"top": top})}


def _lowest(depth: int, above: int = 0, top: int | None = None, **_: Any) -> int:
    """Count the lowest blocks without adapters."""
    return above if top is None else depth - top


def _check(mode: Mode, depth: int, name: str, config: Any) -> None:
    above, targets = _lowest(depth, **mode.settings), mode.settings["targets"]
    if above and config is not None and (layers := map_of(config)):
        check_partial(layers.partial, above, name)
    check_above(above, depth, name, mode.name)
    if targets:  # blocks that a model grows by are like those that it has
        check_targets(config, targets, above=above if above < sum(blocks_of(config)) else 0)


def check_above(above: int, depth: int, name: str, mode: str) -> None:
    """Make sure that LoRA's adapters have a block to go into.

    Raises:
        ModeError: If there is none, or fewer than are asked for; the message names the model and its depth.
    """
    if above >= depth:
        raise ModeError(
            f"--mode {mode}: {name} has {many(depth, 'block')}, so none is left for an adapter. Choose "
            f"above-0 to above-{depth - 1}, or head-only."
        )
    if above < 0:
        raise ModeError(
            f"--mode {mode}: {name} has {many(depth, 'block')}; expected top-1 to top-{depth}."
        )


FORM = "[-r{rank:int}][-above-{above:int}|-top-{top:int}]"
#: What LoRA and its kin have in common.
LOW_RANK: dict[str, Any] = {
    "peak": 5e-4,  # Hu et al., 2022, scripts
    "frozen": lambda depth, **settings: _lowest(depth, **settings),
    "adapter": True,
    "flags": ("rank", "alpha", "dropout", "targets"),
    "settings": _settings,
    "check": _check,
}


@mode(
    f"lora{FORM}",
    help=(
        "low-rank updates of query and value, and the head; above N, or top N: in the blocks above the N "
        "lowest, "
        "or in the N highest, while those below stay frozen"
    ),
    when="as full, with a small file for each task and less memory",
    **LOW_RANK,
)
def lora(
    model: Any,
    *,
    rank: int = LORA_RANK,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: Sequence[str] | None = None,
    above: int = 0,
    top: int | None = None,
    task_type: str | None = None,
) -> Any:
    """Freeze the embeddings, put low-rank adapters into the blocks, train them and the head.

    The frozen modules stay in train mode here: gradients pass through them, and their dropout is
    the regulariser that LoRA was published with. Below the lowest adapter this is different: ``above`` leaves
    so many blocks frozen, as :func:`nlptl.modes.freezing.freeze_lower` does, and their output can be cached.

    Args:
        model: A mapped model; changed in place.
        rank: Rank of the update.
        alpha: Numerator of its scale; twice the rank unless given.
        dropout: Dropout rate on the adapters' input.
        targets: Linear layers that get an adapter; None for query and value.
        above: Number of lowest blocks without adapters.
        top: Number of highest blocks with adapters, instead of ``above``.
        task_type: peft's name of the task.

    Raises:
        ModeError: If no block is left to adapt, or a target names no layer.
    """
    given = _settings(rank, alpha, dropout, targets, above, top)
    return _low_rank(model, "lora", given, task_type)


def _low_rank(model: Any, name: str, settings: dict[str, Any], task_type: str | None) -> Any:
    layers = layer_map(model)
    depth = len(layers.blocks)
    above = _lowest(depth, **settings)
    check_partial(layers.partial, above, name_of(model))
    suffix = f"top-{settings['top']}" if "top" in settings else f"above-{above}"
    check_above(above, depth, name_of(model), f"{name}-{suffix}")
    if above:
        freeze_parts(model, {"embeddings", *(f"block {number}" for number in range(above))})
    own = {key: settings[key] for key in ("rank", "alpha", "dropout", "targets")}
    own |= {kind: kind == name for kind in ("rslora", "dora")}
    return add_lora(model, **own, above=above, task_type=task_type)


@mode(
    f"rslora{FORM}",
    help="as lora, scaled by the square root of the rank",
    when="as lora, with a rank of 32 and more",
    **LOW_RANK,
)
def rslora(model: Any, *, task_type: str | None = None, **settings: Any) -> Any:
    """Train adapters as :func:`lora` does, with the scale alpha / sqrt(rank) (Kalajdzievski, 2023).

    With alpha / rank the steps get smaller as the rank grows. Settings are those of :func:`lora`.
    """
    return _low_rank(model, "rslora", _settings(**settings), task_type)


@mode(
    f"dora{FORM}",
    help="as lora, and the length of each weight column by itself",
    when="lora stays behind full, and time is there",
    **LOW_RANK,
)
def dora(model: Any, *, task_type: str | None = None, **settings: Any) -> Any:
    """Train adapters as :func:`lora` does, for the direction of weights, and their lengths (Liu et al., 2024).

    Settings are those of :func:`lora`.
    """
    return _low_rank(model, "dora", _settings(**settings), task_type)


@mode(
    "ia3",
    help="a factor for each key, value and inner feed-forward state, and the head",
    when="as lora, with a tenth of its parameters",
    peak=3e-3,  # Liu et al., 2022, section 3.3
    adapter=True,
)
def ia3(model: Any, *, task_type: str | None = None) -> Any:
    """Scale keys, values and inner feed-forward states by trained factors ((IA)^3, Liu et al., 2022).

    Args:
        model: A mapped model; changed in place.
        task_type: peft's name of the task.

    Raises:
        ModeError: If the model has no layers of these kinds.
    """
    return add_ia3(model, task_type=task_type)


def _prompt_settings(tokens: int = TOKENS) -> dict[str, Any]:
    if tokens < 1:
        raise ModeError(f"--mode prompt-{tokens} or prefix-{tokens}: expected 1 or more vectors.")
    return {"tokens": tokens}


def _check_prompt(mode: Mode, depth: int, name: str, config: Any) -> None:
    kind = mode.definition.pattern.partition("[")[0]
    if getattr(config, "is_encoder_decoder", False):
        raise ModeError(
            f"--mode {kind}: {name} is an encoder-decoder, whose classifier takes no vectors in place of "
            "tokens in transformers. Take lora."
        )
    positions, tokens = longest_text(config), mode.vectors
    if positions is not None and positions - tokens < FEWEST:
        raise ModeError(
            f"--mode {mode.name}: {name} has {positions} positions, and {tokens} vectors leave fewer than "
            f"{FEWEST} of them to a text. Take at most {positions - FEWEST} vectors."
        )


#: What prompts and prefixes have in common.
PROMPT: dict[str, Any] = {
    "peak": 5e-3,  # of 5e-3 to 2e-2 (P-tuning v2, Liu et al., 2022, scripts)
    "adapter": True,
    "merges": False,
    "convex_start": False,  # the states are other ones with random vectors before the text
    "settings": _prompt_settings,
    "check": _check_prompt,
}


@mode(
    "prefix[-{tokens:int}]",
    help=f"N vectors (by default {TOKENS}) before every block's keys and values, and the head",
    when="the weights must stay as they are: one model serves many tasks",
    **PROMPT,
)
def prefix(model: Any, *, tokens: int = TOKENS, task_type: str | None = None) -> Any:
    """Train vectors before the keys and values of every block (prefix tuning, Li & Liang, 2021).

    Args:
        model: A mapped encoder or decoder; changed in place.
        tokens: Number of vectors.
        task_type: peft's name of the task; for whole texts only.

    Raises:
        ModeError: If the model or the task does not take them.
    """
    return add_prompt(model, kind="prefix", tokens=tokens, task_type=task_type)


@mode(
    "prompt[-{tokens:int}]",
    help=f"N vectors (by default {TOKENS}) before the text's tokens, and the head",
    when="as prefix, with the smallest file; large models",
    **PROMPT,
)
def prompt(model: Any, *, tokens: int = TOKENS, task_type: str | None = None) -> Any:
    """Train vectors before the embedded text (prompt tuning, Lester et al., 2021).

    Args:
        model: A mapped encoder or decoder; changed in place.
        tokens: Number of vectors.
        task_type: peft's name of the task; for whole texts only.

    Raises:
        ModeError: If the model or the task does not take them.
    """
    return add_prompt(model, kind="prompt", tokens=tokens, task_type=task_type)
