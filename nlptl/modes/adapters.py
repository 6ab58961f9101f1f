"""Modes that put small trained modules into frozen blocks (peft)."""

import math
from collections.abc import Sequence
from typing import Any

from nlptl.errors import ModeError, Problems
from nlptl.models.adapters import add_lora, check_targets
from nlptl.models.layer_map import depth as blocks_of
from nlptl.models.layer_map import layer_map, map_of
from nlptl.modes.base import Mode
from nlptl.modes.definition import mode
from nlptl.modes.freezing import check_partial, freeze_parts

LORA_RANK = 8


def _settings(
    rank: int = LORA_RANK,
    alpha: float | None = None,
    targets: Sequence[str] | None = None,
    above: int = 0,
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
    problems.raise_if_any()
    alpha = 2.0 * rank if alpha is None else alpha
    return {"rank": rank, "alpha": alpha, "targets": targets, "above": above}


def _check(mode: Mode, depth: int, name: str, config: Any) -> None:
    above, targets = mode.settings["above"], mode.settings["targets"]
    if above and config is not None and (layers := map_of(config)):
        check_partial(layers.partial, above, name)
    check_above(above, depth, name, mode.name)
    if targets:  # blocks that a model grows by are like those that it has
        check_targets(config, targets, above=above if above < sum(blocks_of(config)) else 0)


def check_above(above: int, depth: int, name: str, mode: str) -> None:
    """Make sure that LoRA's adapters have a block to go into.

    Raises:
        ModeError: If there is none; the message names the model and its depth.
    """
    if above >= depth:
        raise ModeError(
            f"--mode {mode}: {name} has {depth} blocks, so none is left for an adapter. Choose "
            f"above-0 to above-{depth - 1}, or head-only."
        )


@mode(
    "lora[-r{rank:int}][-above-{above:int}]",
    help=(
        "low-rank updates of query and value (`--lora-rank`, `--lora-alpha`, `--lora-targets`), and the head; "
        "above N: in the blocks above the N lowest, which stay frozen"
    ),
    peak=5e-4,  # Hu et al., 2022, scripts
    frozen=lambda depth, above, **_: above,
    adapter=True,
    flags=("rank", "alpha", "targets"),
    settings=_settings,
    check=_check,
)
def lora(
    model: Any,
    *,
    rank: int = LORA_RANK,
    alpha: float | None = None,
    targets: Sequence[str] | None = None,
    above: int = 0,
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
        targets: Linear layers that get an adapter; None for query and value.
        above: Number of lowest blocks without adapters.
        task_type: peft's name of the task.

    Raises:
        ModeError: If no block is left to adapt, or a target names no layer.
    """
    layers, given = layer_map(model), _settings(rank, alpha, targets, above)
    name = getattr(model, "name_or_path", "") or "the model"
    check_partial(layers.partial, above, name)
    check_above(above, len(layers.blocks), name, f"lora-above-{above}")
    if above:
        freeze_parts(model, {"embeddings", *(f"block {number}" for number in range(above))})
    return add_lora(model, **given, task_type=task_type)
