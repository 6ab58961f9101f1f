"""Memory that is free, and the most that a stretch of a program held."""

import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

#: Linux keeps the peak of a process' resident memory, and forgets it when a 5 is written here.
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
    """Bytes of memory that this process may still take: of the machine's, and of its container's share.

    Args:
        groups: Files with limit and use.
    """
    from psutil import virtual_memory

    found = [virtual_memory().available]
    for most, used in groups:
        with suppress(OSError, ValueError):  # no such version; "max" where there is no limit
            found.append(max(0, int(Path(most).read_text()) - int(Path(used).read_text())))
    return min(found)


class PeakMemory:
    """Peak since it was made: of the accelerator's memory, or on CPUs of the process' resident memory.

    Where the system cannot reset its peak (macOS), it is that since the process began.

    Args:
        device: Where the model is.
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        with suppress(OSError):
            _RESET.write_text("5")

    def megabytes(self) -> float:
        """Millions of bytes."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        if _STATUS.exists():
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024 / 1e6
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
