"""Watch over the processes of a run: where one no longer answers, the others end and say so."""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from nlptl.train.stillness import ALL_HUNG, HUNG, Stillness

#: Seconds between signs of life, and of silence after which a process counts as lost.
BEAT, SILENCE = 5.0, 40.0
#: Seconds in which all processes of a run have to begin.
BEGIN = 600.0
#: Words of gloo and NCCL where a connection has ended.
LOST = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "remote process exited",
)
ALL_WAIT = (
    f"no process of this run has moved for {ALL_HUNG:.0f} seconds: each waits for another one. The processes "
    "end. Go on with the same command and --resume; if it comes again, please report it."
)
_WATCHES: list["Watch"] = []


class Watch(threading.Thread):
    """A thread that gives signs of life in a store, and looks for those of the other processes.

    A process that is stopped, swapped out or cut off gives none. One that computes for long gives them. One
    whose main thread hangs ends itself; where all hang, each waiting for another one, so do all
    (:mod:`nlptl.train.stillness`).

    Args:
        store: Store that all processes share (``torch.distributed``).
        rank: This process's number.
        count: Number of processes.
        beat: Seconds between signs of life.
        silence: Seconds of silence after which a process counts as lost.
        end: Function that is called with the message where one is lost; it ends this process.
        stillness: What knows how long this process has not moved.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        count: int,
        *,
        beat: float = BEAT,
        silence: float = SILENCE,
        end: Callable[[str], None] | None = None,
        stillness: Stillness | None = None,
    ) -> None:
        super().__init__(daemon=True, name="watch over the processes")
        self.store, self.rank, self.count = store, rank, count
        self.beat, self.silence, self.end = beat, silence, end or self._end
        self.stillness = stillness or Stillness()
        self.over = threading.Event()

    def run(self) -> None:
        """Beat and look until the process ends, or another one is lost."""
        seen: dict[int, tuple[bytes, float]] = {}
        number, last = 0, time.monotonic()
        while not self.over.wait(self.beat if number else 0.0):
            now = time.monotonic()
            if (
                now - last > 3 * self.beat
            ):  # this one was stopped itself, perhaps with all the others
                seen.clear()
                self.stillness = Stillness()
            number, last = number + 1, now
            still = self.stillness.look(now)
            if (where := self.stillness.hung(still)) and not self.over.is_set():
                return self.end(self.hangs(where))
            try:
                self.store.set(_key(self.rank), f"{number} {still:.0f}")
                lost = self._silent(seen, now)
                if self._all_still(seen, still) and not self.over.is_set():
                    return self.end(ALL_WAIT)
            except Exception:  # whatever the store raises: its home has gone
                lost = [] if self.over.is_set() else [0]
            if lost and not self.over.is_set():
                return self.end(self.message(lost[0]))

    def _silent(self, seen: dict[int, tuple[bytes, float]], now: float) -> list[int]:
        """List the processes that have been silent for too long, or that do not begin."""
        lost = []
        for other in range(self.count):
            if other == self.rank:
                continue
            key = _key(other)
            sign = self.store.get(key) if self.store.check([key]) else b""
            if other not in seen or seen[other][0] != sign:
                seen[other] = (sign, now)
            elif sign != b"over" and now - seen[other][1] > (self.silence if sign else BEGIN):
                lost.append(other)
        return lost

    def _all_still(self, seen: dict[int, tuple[bytes, float]], own: float) -> bool:
        """Whether no process has moved for long; one that has not begun or has ended makes it no."""
        signs = [seen[other][0].split() for other in seen if seen[other][0] != b"over"]
        others = [float(sign[1]) for sign in signs if len(sign) == 2]
        return len(others) == self.count - 1 and min([own, *others]) >= ALL_HUNG

    def hangs(self, where: str) -> str:
        """Say that this process hangs, and where."""
        return (
            f"process {self.rank} of {self.count} (counted from 0) has not moved for {HUNG:.0f} seconds, in "
            f"{where}: a disk, a network or a lock may not answer. The processes end. Go on with the same "
            "command and --resume."
        )

    def message(self, lost: int) -> str:
        """Say which process is lost and how to go on."""
        return (
            f"process {lost} of {self.count} (counted from 0) has not answered for {self.silence:.0f} "
            "seconds: it was stopped or has died, or its machine cannot be reached. The other processes end. "
            "Look at what it wrote last, and go on with the same command and --resume."
        )

    def close(self) -> None:
        """Say that this process ends as it should."""
        self.over.set()
        if self.is_alive():  # a sign of life that is on its way must not come after this
            self.join(self.silence)
        try:
            self.store.set(_key(self.rank), "over")
        except Exception:  # its home has ended before
            return

    def first_to_tell(self) -> bool:
        """Whether this process is the first of the group that has something to say; the others keep quiet."""
        try:
            return self.store.add("nlptl/told", 1) == 1
        except Exception:  # the store has gone with process 0
            return self.rank == 1

    def _end(self, message: str) -> None:
        if self.first_to_tell():
            print(f"\nerror: {message}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)  # the main thread waits for the lost one, in code that hears nothing


def _key(rank: int) -> str:
    return f"nlptl/alive/{rank}"


@contextmanager
def begun_together(group: Mapping[str, str]) -> Iterator[None]:
    """End this process if what is done within, the start of the group, waits for :data:`BEGIN` seconds.

    torchrun ends the others where a process dies before that. Other launchers do not.

    Args:
        group: Variables that a launcher sets (``os.environ``).
    """
    count = int(group.get("WORLD_SIZE", "1"))
    if count == 1:
        yield
        return
    timer = threading.Timer(BEGIN, _end_alone, [group.get("RANK", "0"), count])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_alone(rank: str, count: int) -> None:
    print(  # noqa: T201
        f"\nerror: process {rank} of {count} (counted from 0) has waited {BEGIN:.0f} seconds for the others "
        "to begin: one has died, or cannot reach the address of process 0 (MASTER_ADDR, MASTER_PORT). Look at "
        "what each wrote last, and start all of them again.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)  # the main thread waits in code that hears nothing


def watch_over(accelerator: Any) -> None:
    """Begin to watch over the processes of a run, once; a single process needs no watch."""
    if accelerator.num_processes == 1 or _WATCHES:
        return
    from torch.distributed.distributed_c10d import _get_default_store

    default: Any = _get_default_store()
    store = default.clone()  # a connection of its own: others wait on theirs
    store.set_timeout(timedelta(seconds=SILENCE))
    watch = Watch(store, accelerator.process_index, accelerator.num_processes)
    _WATCHES.append(watch)
    atexit.register(watch.close)
    watch.start()


def is_lost_process(error: BaseException) -> bool:
    """Whether an error says that another process of the run has ended."""
    words = str(error).lower()
    return bool(_WATCHES) and isinstance(error, RuntimeError) and any(w in words for w in LOST)


def tell_lost_process() -> None:
    """Say once, for the whole group, that another process has ended."""
    if _WATCHES and _WATCHES[0].first_to_tell():
        print(  # noqa: T201
            "\nerror: another process of this run has ended; what it wrote last says why. The others end too. "
            "Go on with the same command and --resume.",
            file=sys.stderr,
        )
