"""Modes of stages: one plain mode after the other, each with its own optimizer and schedule."""

from typing import Any

from nlptl.errors import ModeError
from nlptl.modes.base import Stage, parse_mode
from nlptl.modes.definition import FLAGS, mode


@mode(
    "lp-ft",
    help="the head alone, then everything",
    when="test data differ from the training data: full distorts the states for a random head",
    staged=True,
    frozen=lambda depth: 0,
)
def lp_ft() -> list[Stage]:
    """Train the head, then everything (Kumar et al., 2022).

    A quarter of the steps goes to the head, whose states can be computed once.
    """
    return [Stage(parse_mode("head-only"), 1, None), Stage(parse_mode("full"), 3, None)]


@mode(
    "gradual[-{k:int}]",
    help="the head, then N blocks more a stage (by default 1) from the top down, then everything",
    when="full forgets or is unstable on little data",
    staged=True,
    frozen=lambda depth, **_: 0,
)
def gradual(depth: int, k: int = 1) -> list[Stage]:
    """Unfreeze from the top down (ULMFiT, Howard & Ruder, 2018).

    Every stage before the last has the same share of the steps, and the last one as many as all of them.
    ULMFiT has one epoch a stage and trains on until the loss converges; its rates fall from block to block
    (``--layer-decay``) and follow a slanted triangle (``--schedule slanted``).

    Args:
        depth: Number of the model's blocks.
        k: Number of blocks that each stage adds.

    Raises:
        ModeError: If no block is added.
    """
    if k < 1:
        raise ModeError(
            f"--mode gradual-{k}: expected 1 or more blocks a stage, such as gradual-1."
        )
    names = ["head-only", *(f"top-{count}" for count in range(k, depth, k))]
    stages = [Stage(parse_mode(name), 1, None) for name in names]
    return [*stages, Stage(parse_mode("full"), len(names), None)]


def _settings(modes: tuple[str, ...], **flags: Any) -> dict[str, Any]:
    """Check the modes of a chain, and whether some of them takes each flag."""
    if len(modes) < 2 or not all(modes):
        raise ModeError(
            f"--mode chain:{','.join(modes)}: expected two or more modes with commas between them, such as "
            "chain:head-only,full."
        )
    parsed = [_part(name, flags) for name in modes]
    takers = {flag for part in parsed for flag in part.definition.flags}
    if wrong := [FLAGS[name] for name in flags if name not in takers]:
        raise ModeError(f"{' and '.join(wrong)}: no mode of chain:{','.join(modes)} takes it.")
    for part in parsed:
        if part.definition.untrained or (part.definition.random and part is not parsed[0]):
            raise ModeError(
                f"--mode chain:{','.join(modes)}: {part.name} cannot stand there; expected modes that go on "
                "from the weights of the one before."
            )
    for part in parsed[:-1]:
        if not part.merges:
            raise ModeError(
                f"--mode chain:{','.join(modes)}: prompts cannot be merged into the weights, so nothing can "
                "come "
                f"after {part.name}. Put it last."
            )
    return {"modes": modes, **flags}


def _part(name: str, flags: dict[str, Any]) -> Any:
    own = parse_mode(name).definition.flags
    return parse_mode(name, **{flag: value for flag, value in flags.items() if flag in own})


@mode(
    "chain:{modes:modes}",
    help="one mode after the other; adapters are merged before the next one",
    when="a recipe of your own, such as chain:lora,top-2",
    staged=True,
    flags=tuple(FLAGS),
    settings=_settings,
)
def chain(depth: int, modes: tuple[str, ...], **flags: Any) -> list[Stage]:
    """Train in several modes, with the same share of the steps and each at its own default rate.

    ``--learning-rate`` is the last mode's; if it is not the default, the others' change by the same factor.

    Args:
        depth: Number of the model's blocks.
        modes: Names of the modes; one with stages of its own counts as one.
        flags: Settings of adapters, for the modes that take them.
    """
    found = []
    for name in modes:
        part = _part(name, flags)
        inner = part.stages(depth) or (Stage(part, 1, None),)
        whole = sum(stage.share for stage in inner)
        found += [Stage(stage.mode, stage.share / whole, stage.rate) for stage in inner]
    return found
