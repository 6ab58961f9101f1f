"""The hook that writes what ``--resume`` needs."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptl.records import FitState
from nlptl.train import checkpoints
from nlptl.train.hooks import Quiet
from nlptl.train.intervals import Interval, interval_of
from nlptl.train.machine import from_main

#: Number of steps after which several processes agree on the time.
TOGETHER = 10


class SaveCheckpoints(Quiet):
    """Hook that writes what ``--resume`` needs: at the ends of epochs, at the end, and every so often.

    Args:
        directory: The ``checkpoints/`` of the run.
        accelerator: Accelerator with devices and processes.
        schedules: Learning-rate schedules, one per optimizer.
        memories: The hooks that have a memory, by name (:func:`nlptl.train.checkpoints.named_memories`).
        every: Number of steps between checkpoints, or minutes, such as ``10m``; None for the ends of epochs
            alone. An :class:`nlptl.train.intervals.Interval` may leave these out.
        about: Values that must be the same when the run is resumed.
    """

    def __init__(
        self,
        directory: Path,
        accelerator: Any,
        schedules: Sequence[Any],
        *,
        memories: Mapping[str, checkpoints.Resumable],
        every: int | str | Interval | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.directory, self.accelerator, self.schedules = directory, accelerator, schedules
        self.memories, self.about = memories, dict(about or {})
        self.every = None if every is None else interval_of(every)
        self.written = time.monotonic()

    def on_step(self, state: FitState) -> bool:
        """Write, if it is time; also after the last step, before the model is saved."""
        if (self._ends and state.step == state.total_steps) or self._due(state):
            self.write(state)
        return False

    def _due(self, state: FitState) -> bool:
        if self.every is None:
            return False
        if self.every.steps:
            return state.step % self.every.steps == 0
        alone = self.accelerator.num_processes == 1
        if not alone and state.step % TOGETHER:  # the processes agree on it now and then
            return False
        late = time.monotonic() - self.written >= self.every.seconds
        return from_main(late, self.accelerator)

    def on_epoch(self, state: FitState) -> bool:
        """Write what the end of an epoch has changed: its scores, and whether training stops."""
        if self._ends:
            self.write(state)
        return False

    @property
    def _ends(self) -> bool:
        return self.every is None or self.every.ends

    def write(self, state: FitState) -> None:
        """Write a checkpoint now."""
        checkpoints.save(
            self.directory,
            state=state,
            accelerator=self.accelerator,
            schedules=self.schedules,
            memories=self.memories,
            about=self.about,
        )
        self.written = time.monotonic()
