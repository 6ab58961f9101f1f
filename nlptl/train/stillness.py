"""Whether a process still moves: a main thread that hangs looks alive to a thread that only beats."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

#: Seconds without a movement after which a process that waits for no other counts as hung.
HUNG = 90.0
#: Seconds after which all processes together count as hung: each waits for another one.
ALL_HUNG = 180.0
#: Share of a processor below which a process does nothing.
IDLE = 0.01
#: Modules whose functions wait for other processes: the innermost one of a main thread that may stand still.
WAITING = (
    *("torch.distributed", "torch.autograd", "torch.nn.parallel", "accelerate"),
    *("multiprocessing", "multiprocess", "concurrent", "subprocess", "selectors"),
)


@dataclass(frozen=True)
class Place:
    """A place where a thread is.

    Attributes:
        stack: Functions and instructions, from the innermost one outwards.
        words: Name of the function and its line, for messages.
        waits: Whether it waits for another process there.
    """

    stack: tuple[tuple[int, int], ...]
    words: str
    waits: bool


def place_of(frame: FrameType | None) -> Place:
    """Describe where a thread is, by its innermost frame."""
    if frame is None:
        return Place((), "nowhere", False)
    module = str(frame.f_globals.get("__name__", ""))
    words = f"{module}.{frame.f_code.co_name}, line {frame.f_lineno}"
    waits = any(module == name or module.startswith(f"{name}.") for name in WAITING)
    stack, one = [], frame
    while one is not None:
        stack.append((id(one.f_code), one.f_lasti))
        one = one.f_back
    return Place(tuple(stack), words, waits)


def main_place() -> Place:
    """Describe where the main thread is."""
    return place_of(sys._current_frames().get(threading.main_thread().ident or 0))


def others_seconds() -> float:
    """Return the processor's seconds that this process took, without those of the calling thread."""
    return time.process_time() - time.thread_time()


class Stillness:
    """The time since a process moved: took the processor, or came to another place of its program.

    Args:
        place: Function that says where the main thread is.
        used: Function that says how many seconds of the processor were used so far.
    """

    def __init__(
        self,
        place: Callable[[], Place] = main_place,
        used: Callable[[], float] = others_seconds,
    ) -> None:
        self._place, self._used = place, used
        self._before: tuple[Place, float, float] | None = None
        self._since = 0.0

    def look(self, now: float) -> float:
        """Return the seconds without a movement.

        Args:
            now: The time, in seconds (``time.monotonic``).
        """
        place, used = self._place(), self._used()
        before, self._before = self._before, (place, used, now)
        if (
            before is None
            or before[0].stack != place.stack
            or used - before[1] > IDLE * (now - before[2])
        ):
            self._since = now
        return now - self._since

    def hung(self, seconds: float) -> str | None:
        """Return where the main thread hangs; None if it does not, or waits for another process.

        Args:
            seconds: What :meth:`look` returned.
        """
        if seconds < HUNG or self._before is None or self._before[0].waits:
            return None
        return self._before[0].words
