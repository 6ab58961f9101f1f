"""Whether a cache pays, and where it goes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Kind = Literal["auto", "off", "memory", "disk"]

#: Sustained speed of the frozen blocks and of fetching states, for the pay-off: orders of magnitude.
FLOPS = {"cpu": 1e11, "accelerator": 3e13}
BYTES = {"memory": 1e10, "disk": 1e9}
#: Shares of what is free that a cache may take.
OF_MEMORY, OF_DISK = 0.4, 0.5
#: How states are kept, exact first, and bytes a value.
DTYPES = {"float32": 4, "float16": 2}


@dataclass(frozen=True)
class CachePlan:
    """What is decided.

    Attributes:
        kind: ``off``, ``memory`` or ``disk``.
        dtype: ``float32`` where it fits, else ``float16``.
        reason: Why, in words.
    """

    kind: Kind
    dtype: str = "float32"
    reason: str = ""


def refusal(asked: Kind, *, blocks: int, passes: float, machines: int = 1) -> str:
    """Why nothing is to be kept, whatever room there is; empty if nothing speaks against it.

    Args:
        asked: ``--cache``.
        blocks: Frozen blocks at the bottom.
        passes: How often each text goes through the model in the whole run.
        machines: That the processes run on; their files are not each other's.
    """
    if asked == "off":
        return "--cache off"
    if not blocks:
        return "no block is frozen with all that lies below it"
    if asked == "auto" and passes < 2:
        return "every text is seen once only"
    return "the processes are on several machines" if machines > 1 else ""


def places(asked: Kind, processes: int) -> list[Kind]:
    """Where states may go; several processes share a file."""
    if processes > 1:
        return ["disk"]
    return ["memory", "disk"] if asked == "auto" else [asked]


def choose(
    asked: Kind,
    *,
    blocks: int,
    values: int,
    width: int,
    passes: float,
    free_memory: int,
    free_disk: int,
    processes: int = 1,
    on_cpu: bool = True,
    pooled: bool = False,
    kept: Collection[tuple[Kind, str]] = (),
) -> CachePlan:
    """Decide where the states of ``blocks`` frozen blocks are kept.

    A cache saves all passes through the frozen blocks but one. It pays if there are two or more, and if
    fetching a token's states takes less time than computing them: bandwidth > P b / (24 k d), with P
    FLOP a second, b bytes a value, k blocks of width d.

    Args:
        asked: ``--cache``.
        blocks: Frozen blocks at the bottom.
        values: Numbers to keep in all.
        width: Hidden size.
        passes: How often each text goes through the model in the whole run.
        free_memory: Bytes.
        free_disk: Bytes below the cache's limit.
        processes: Processes on this machine; several share a file.
        on_cpu: Whether the model runs on the CPU.
        pooled: Whether one token a text is kept only; fetching it costs nothing to speak of.
        kept: Places and types in which an earlier run left all states. They take no new room, and come first:
            what is free now is less than what that run found, so that a fresh decision could be another one.
    """
    if reason := refusal(asked, blocks=blocks, passes=passes):
        return CachePlan("off", reason=reason)
    room = {"memory": OF_MEMORY * free_memory, "disk": OF_DISK * free_disk}
    speed = FLOPS["cpu" if on_cpu else "accelerator"]
    ways: list[tuple[Kind, str]]
    ways = [(kind, dtype) for dtype in DTYPES for kind in places(asked, processes)]
    for kind, dtype in sorted(ways, key=lambda way: way not in kept):
        size = DTYPES[dtype]
        slow = BYTES[kind] < speed * size / (24 * blocks * width)
        fits = (kind, dtype) in kept or size * values <= room[kind]
        if fits and not (asked == "auto" and slow and not pooled):
            return CachePlan(kind, dtype)
    need = f"{2 * values / 1e9:.1f} GB in float16"
    return CachePlan("off", reason=f"the states would take {need}, which neither fits nor pays")
