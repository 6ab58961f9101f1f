"""The machine: its processes, cores and memory."""

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch

from nlptl.train.launch import on

T = TypeVar("T")


def gather(items: list[T], accelerator: Any) -> list[T]:
    """Gather the items of all processes, in the order of their ranks; any objects that pickle takes."""
    if accelerator.num_processes == 1:
        return items
    from accelerate.utils import gather_object

    return gather_object(items)


def from_main(value: T, accelerator: Any) -> T:
    """Return the main process' value, any object that pickle takes."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


#: Words of a launcher's command line.
LAUNCHERS = ("accelerate", "torchrun", "torch.distributed")


def use_cores() -> None:
    """Undo what ``accelerate launch`` and ``torchrun`` set: ``OMP_NUM_THREADS=1`` for every process.

    If the user asked for it, the launcher's own environment has the variable too, and it stays. Each of
    several processes on a machine gets an equal share of the cores. On two cores, fine-tuning
    ``bundled/bert`` in full was 1.3 to 1.6 times as fast as with the launcher's one thread.
    """
    on_cpu = not torch.accelerator.is_available() or on(os.environ, "ACCELERATE_USE_CPU")
    if not on_cpu or os.environ.get("OMP_NUM_THREADS") != "1":
        return
    if launched_alone(*_parent()):
        share = cores() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        torch.set_num_threads(max(1, share))


def _parent() -> tuple[list[str], Mapping[str, str]]:
    """Return the parent's command line and environment, as far as they may be read."""
    try:
        parent = psutil.Process().parent()
        return ([], {}) if parent is None else (parent.cmdline(), parent.environ())
    except (psutil.Error, OSError):
        return [], {}


def launched_by_accelerate() -> tuple[list[str], Mapping[str, str]] | None:
    """Return command line and environment of ``accelerate launch``; None under another parent."""
    command, given = _parent()
    return (command, given) if any("accelerate" in word for word in command[:3]) else None


def launchers_environment() -> Mapping[str, str] | None:
    """Return the environment that ``accelerate launch`` was started with; None under another parent."""
    launcher = launched_by_accelerate()
    return launcher and launcher[1]


def launched_alone(command: list[str], environment: Mapping[str, str]) -> bool:
    """Whether a launcher, and not a user, chose the number of threads.

    Args:
        command: Command line of the parent process.
        environment: Environment with which it was started.
    """
    launcher = any(name in word for word in command for name in LAUNCHERS)
    return launcher and "OMP_NUM_THREADS" not in environment


def cores() -> int:
    """Count the physical cores that this process may use."""
    allowed = getattr(psutil.Process(), "cpu_affinity", None)  # not on macOS
    logical = len(allowed()) if allowed else psutil.cpu_count() or 1
    return max(1, min(logical, psutil.cpu_count(logical=False) or logical))


#: Linux keeps the peak of a process' resident memory, and resets it when a 5 is written here.
_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


#: A container's limit and use, in the two versions of Linux' control groups.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def free_memory(groups: Sequence[tuple[str, str]] = _GROUPS) -> int:
    """Return the bytes of memory that this process may still take, of the machine's and of its container's.

    Args:
        groups: Files with the limit and the use.
    """
    from psutil import virtual_memory

    found = [virtual_memory().available]
    for most, used in groups:
        with suppress(OSError, ValueError):  # no such version; "max" where there is no limit
            found.append(max(0, int(Path(most).read_text()) - int(Path(used).read_text())))
    return min(found)


class PeakMemory:
    """The peak since it was made of the accelerator's memory, or on CPUs of the process' resident memory.

    If the system cannot reset its peak (macOS), it is the peak since the process began.

    Args:
        device: Device of the model.
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        with suppress(OSError):
            _RESET.write_text("5")

    def megabytes(self) -> float:
        """Return the peak in millions of bytes."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        if _STATUS.exists():
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024 / 1e6
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
