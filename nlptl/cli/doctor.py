"""``nlptl doctor``: what this machine has, and what will be slow on it, and why."""

import os
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nlptl.errors import many
from nlptl.train.terminal import in_lines

#: Side of the matrices that are multiplied to measure the speed, and seconds for each precision.
SIDE, SECONDS = 1024, 0.3
#: Fewest free gigabytes on a disk that caches and checkpoints lie on.
LEAST_DISK, LEAST_MEMORY = 5.0, 4.0
#: Characters of the names of the rows.
INDENT = 14
#: Seconds to wait for the hub.
PATIENCE = 3.0


def examine() -> str:
    """Describe versions, devices, precisions, memory, disk and hub, and what to do about what is slow."""
    import torch

    advice: list[str] = []
    rows = [*_versions(), "", *_devices(torch, advice), "", *_places(advice), "", _hub(advice), ""]
    lines = [part for row in rows for part in in_lines(row, INDENT)]
    lines += [part for one in advice or ["Nothing to complain of."] for part in in_lines(one)]
    return "\n".join(lines)


def own_version() -> str:
    """Return the version of the installed package; "unknown" in a checkout that is not installed."""
    try:
        return version("nlptl")
    except PackageNotFoundError:
        return "unknown"


def _versions() -> list[str]:
    from nlptl.runs.record import versions

    return [f"{name:<{INDENT}}{number}" for name, number in versions().items()]


def _devices(torch: Any, advice: list[str]) -> list[str]:
    """Describe the GPUs, or the cores with their speed in each precision."""
    from nlptl.train.machine import cores, free_memory
    from nlptl.train.precision import has_bf16_units

    lines, memory = [], free_memory() / 1e9
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            lines.append(
                f"{'GPU':<{INDENT}}{number}: {about.name}, {about.total_memory / 1e9:.0f} GB"
            )
    threads = torch.get_num_threads()
    lines.append(f"{'CPU':<{INDENT}}{many(cores(), 'core')}, {many(threads, 'thread')} in use")
    lines.append(f"{'memory':<{INDENT}}{memory:.1f} GB free")
    full, half = speed("float32"), speed("bfloat16")
    lines.append(
        f"{'products':<{INDENT}}{full:.0f} GFLOP/s in float32, {half:.0f} in bfloat16 (CPU)"
    )
    if not torch.accelerator.is_available():
        advice.append(
            "No GPU: a model of the size of BERT-base takes minutes per 1,000 texts and epoch. Modes that "
            "freeze blocks compute them once: --mode head-only, or freeze-lower-8."
        )
        if has_bf16_units():
            advice.append(
                f"bfloat16 products are {half / full:.1f} times as fast here, and --precision auto takes "
                "them; --precision fp32 does not."
            )
    if threads < cores():
        advice.append(
            f"Of {many(cores(), 'core')} only {threads} {'is' if threads == 1 else 'are'} used: "
            f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}."
        )
    if memory < LEAST_MEMORY:
        advice.append(
            f"Little memory is free ({memory:.1f} GB): take smaller batches, and --cache off."
        )
    return lines


def speed(precision: str, side: int = SIDE, seconds: float = SECONDS) -> float:
    """Measure matrix products on the CPU.

    Args:
        precision: Name of the type of their numbers in torch.
        side: Rows and columns of the matrices.
        seconds: Time to measure, after one product to warm up.

    Returns:
        Billions of operations a second.
    """
    import torch

    one = torch.randn(side, side).to(getattr(torch, precision))
    torch.mm(one, one)
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        torch.mm(one, one)
        done += 1
    return 2 * side**3 * done / took / 1e9


def _places(advice: list[str]) -> list[str]:
    """Describe the folders that are written to."""
    from huggingface_hub.constants import HF_HOME

    from nlptl.train.stem_cache import directory

    lines = []
    for name, place, remedy in (
        ("models, data", Path(HF_HOME), "HF_HOME"),
        ("states", Path(directory.folder()), "NLPTL_CACHE"),
        ("runs", Path("runs"), "--output-dir"),
    ):
        there = existing(place)
        free = shutil.disk_usage(there).free / 1e9
        writable = os.access(there, os.W_OK)
        lines.append(
            f"{name:<{INDENT}}{place}: {free:.0f} GB free{'' if writable else ', cannot be written'}"
        )
        if not writable:
            advice.append(f"{place} cannot be written: set {remedy} to a folder that can.")
        elif free < LEAST_DISK:
            advice.append(f"{place} has {free:.1f} GB left: set {remedy} to a larger disk.")
    return lines


def existing(place: Path) -> Path:
    """Return a folder, or the lowest one above it that is there."""
    place = place.expanduser().absolute()
    return next(folder for folder in (place, *place.parents) if folder.exists())


def _hub(advice: list[str]) -> str:
    """Say whether the hub answers."""
    import huggingface_hub
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return f"{'hub':<{INDENT}}switched off (HF_HUB_OFFLINE)"
    try:
        huggingface_hub.get_session().head(ENDPOINT, timeout=PATIENCE)
    except Exception as error:
        advice.append(
            "The hub does not answer: hub names work only if they are in the cache already. Set "
            "HF_HUB_OFFLINE=1 to skip its retries."
        )
        return f"{'hub':<{INDENT}}{ENDPOINT} does not answer ({type(error).__name__})"
    return f"{'hub':<{INDENT}}{ENDPOINT} answers"
