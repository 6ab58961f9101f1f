"""Decision whether a cache pays, and where it goes."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nlptl.data.progress import bar
from nlptl.errors import ConfigError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.frozen_stem import FrozenStem, frozen_blocks
from nlptl.models.pooling import pooling_of, pools_last_block
from nlptl.models.tracing import width_of
from nlptl.train.losses import Loss
from nlptl.train.machine import free_memory, from_main, gather
from nlptl.train.stem_cache.directory import free_disk
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import say

Kind = Literal["auto", "off", "memory", "disk"]

#: Sustained speed of the frozen blocks and of fetching states, for the pay-off: orders of magnitude.
FLOPS = {"cpu": 1e11, "accelerator": 3e13}
BYTES = {"memory": 1e10, "disk": 1e9}
#: Shares of the free space that a cache may take.
OF_MEMORY, OF_DISK = 0.4, 0.5
#: Types of the kept states, the exact one first, and their bytes per value.
DTYPES = {"float32": 4, "float16": 2}


@dataclass(frozen=True)
class CachePlan:
    """The decision about a cache.

    Attributes:
        kind: Place of the states: ``off``, ``memory`` or ``disk``.
        dtype: Type of the states: ``float32`` if it fits, else ``float16``.
        reason: Reason for the decision, in words.
    """

    kind: Kind
    dtype: str = "float32"
    reason: str = ""


def refusal(asked: Kind, *, blocks: int, passes: float, machines: int = 1) -> str:
    """Say why nothing can be kept, whatever room there is; return an empty string if something can.

    Args:
        asked: ``--cache``.
        blocks: Frozen blocks at the bottom.
        passes: Number of times that each text goes through the model in the whole run.
        machines: Number of machines that the processes run on; each has its own files.
    """
    if asked == "off":
        return "--cache off"
    if not blocks:
        return "no block is frozen with all that lies below it"
    if asked == "auto" and passes < 2:
        return "every text is seen once only"
    return "the processes are on several machines" if machines > 1 else ""


def places(asked: Kind, processes: int) -> list[Kind]:
    """List the places where states may go; several processes share a file."""
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
        values: Number of values to keep.
        width: Hidden size.
        passes: Number of times that each text goes through the model in the whole run.
        free_memory: Free bytes of memory.
        free_disk: Free bytes on disk, below the cache's limit.
        processes: Processes on this machine; several share a file.
        on_cpu: Whether the model runs on the CPU.
        pooled: Whether only one token per text is kept; fetching it takes almost no time.
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


def check_fed(stream: Any, loss: Loss) -> bool:
    """Return whether batches hold cached states.

    Raises:
        ConfigError: If they do, and the loss cannot go with them.
    """
    fed = bool(getattr(stream, "fed", False))
    if fed and not loss.cacheable:
        raise ConfigError(
            "The batches hold cached states, but the loss calls the model more than once per step or sees "
            "a text differently each time. Run with --cache off, or make the batches after "
            "prepare(splits, loss)."
        )
    return fed


def open_cache(learner: Any, loss: Loss | None) -> Any:
    """Keep the states of the frozen blocks of all prepared splits, if that pays (see :func:`choose`).

    Args:
        learner: A :class:`nlptl.train.learner.Learner` with prepared splits.
        loss: Training loss; it says whether states may be kept.

    Returns:
        A :class:`~nlptl.train.stem_cache.stem_cache.StemCache`; None if there is nothing to keep or
        nothing to gain, and a line says why.

    Raises:
        ConfigError: If a cache was asked for and the loss cannot go with one.
    """
    from nlptl.train.stem_cache.stem_cache import TooLarge

    args, accelerator, model = learner.args, learner.accelerator, learner.model
    stem = FrozenStem(model, frozen_blocks(model))
    processes = accelerator.num_processes
    reason = refusal(
        args.cache,
        blocks=stem.blocks,
        passes=args.epochs,
        machines=processes // int(os.environ.get("LOCAL_WORLD_SIZE") or processes),
    )
    if not reason and loss is not None and not loss.cacheable:
        reason = (
            "the loss calls the model more than once per step or sees a text differently each time"
        )
        if args.cache != "auto":
            raise ConfigError(f"--cache {args.cache}: {reason}. Use auto or off.")
    if reason:
        free_states()  # another run's, which are no longer needed
        return _told(learner, reason)
    model.to(accelerator.device)
    cache = _faithful_cache(learner, stem)
    if cache is None:
        free_states()
        return _told(
            learner, "the model computes something else from the states of its frozen blocks"
        )
    free_states(but=cache.weights)
    lengths = np.concatenate([part.lengths for part in learner.encoded.values()])
    texts = len(lengths) if cache.pooled else int(lengths.sum())
    plan = choose(
        args.cache,
        blocks=stem.blocks,
        values=texts * sum(stem.widths.values()),
        width=width_of(unwrap_peft(model).config),
        passes=args.epochs,
        free_memory=free_memory(),
        free_disk=free_disk(),
        processes=processes,
        on_cpu=accelerator.device.type == "cpu",
        pooled=cache.pooled is not None,
        kept=cache.look(learner.encoded, learner.collate, places(args.cache, processes)),
    )
    cache.plan = plan = from_main(plan, accelerator)
    if plan.kind == "off":
        return _told(learner, plan.reason)
    cache.bar = bar(len(lengths), "frozen blocks")
    try:
        for name, part in learner.encoded.items():
            cache.add(name, part.rows, part.lengths, learner.collate)
    except TooLarge:
        return _told(learner, "some states are beyond float16, and float32 does not fit")
    finally:
        cache.bar.close()
    return cache


def _faithful_cache(learner: Any, stem: FrozenStem) -> Any:
    """Return a cache of what the head reads, or of all states; None if the model differs with both.

    A few texts of each split are run with the frozen blocks and without them. The head of some models has a
    norm before it takes the mean, Funnel's blocks shorten a text, XLNet's head reads padding.
    """
    from nlptl.train.stem_cache.stem_cache import StemCache

    pooled = pooling_of(learner.model) if learner.task.pooled else None
    ways = [pooled] if stem.whole_model and pooled in ("first", "last", "mean") else []
    if pooled == "mean" and not pools_last_block(learner.model):
        ways = []
    for way in [*ways, None]:
        cache = StemCache(
            stem,
            outputs=lambda inputs: learner.task.outputs(learner.model, inputs),
            pooled=way,
            accelerator=learner.accelerator,
            report=say,
        )
        part = next(iter(learner.encoded.values()))
        good = (stem.fits or way) and cache.is_faithful(part.rows, part.lengths, learner.collate)
        if min(gather([bool(good)], learner.accelerator)):
            return cache
    return None


def _told(learner: Any, reason: str) -> None:
    if not learner.args.mode.trains_all and learner.args.cache != "off":
        say(f"cache: off, {reason}")
