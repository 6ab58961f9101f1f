"""What is seen of several tasks, and in what order: one task in each optimizer step, as often as its share."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from nlptl.data.batching import without_end
from nlptl.records import Batch, Batches

#: Input that says which task a batch is of.
WHICH = "which_task"


def steps_alone(batches: int, gradient_accumulation_steps: int) -> int:
    """Count the optimizer steps of one pass over a task's own batches."""
    return math.ceil(batches / gradient_accumulation_steps)


def shares(sizes: Sequence[float], temperature: float = 1.0) -> np.ndarray:
    """Return each task's share of the mix, p_i proportional to n_i^(1/T) (Devlin, 2019; Raffel et al., 2020).

    Example:
        >>> shares([100, 300]).tolist(), shares([100, 300], float("inf")).tolist()
        ([0.25, 0.75], [0.5, 0.5])

    Args:
        sizes: What the shares are counted in, such as steps of a pass over each task.
        temperature: T, above 0: 1 is proportional, infinity uniform.
    """
    counts = np.asarray(sizes, dtype=np.float64)
    found = (counts / counts.max()) ** (1 / temperature)
    return found / found.sum()


def mix_steps(sizes: Sequence[int], temperature: float = 1.0) -> list[int]:
    """Divide one epoch of the mix among the tasks: whole steps, one at least, in all as many as ``sizes`` has.

    The numbers are the shares to within one step, by the largest remainder. They are the same in each epoch,
    so that a task's steps are known beforehand; only their order is drawn.

    Example:
        >>> mix_steps([30, 10]), mix_steps([30, 10], float("inf"))
        ([30, 10], [20, 20])

    Args:
        sizes: Steps of a pass over each task.
        temperature: T of :func:`shares`.
    """
    total = sum(sizes)
    wanted = shares(sizes, temperature) * total
    found = np.floor(wanted + 1e-9).astype(int)
    order = np.argsort(found - wanted, kind="stable")  # those that are furthest below first
    found[order[: total - int(found.sum())]] += 1
    for place in np.flatnonzero(found == 0):
        found[np.argmax(found)] -= 1
        found[place] = 1
    return found.tolist()


class Mixed:
    """Batches of several tasks, those of one optimizer step all of one task.

    In an epoch each task has a fixed number of steps, in an order that depends on seed and epoch alone.
    A task goes on where it stopped in the epoch before, and begins again, in another order, when its own
    epoch ends; so the mix begins at any position, as a resumed run needs it. A single task is passed on as it
    is.

    Args:
        streams: A stream for each task.
        steps: Optimizer steps of each task in an epoch (:func:`mix_steps`).
        seed: Seed of the order of the tasks.
        gradient_accumulation_steps: Batches of a step.
    """

    def __init__(
        self,
        streams: Sequence[Batches],
        steps: Sequence[int],
        *,
        seed: int,
        gradient_accumulation_steps: int = 1,
    ) -> None:
        self.streams, self.steps, self.seed = list(streams), list(steps), seed
        self.together = gradient_accumulation_steps
        self.alone = len(self.streams) == 1
        self.fed = self.alone and bool(getattr(streams[0], "fed", False))

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.streams[0]) if self.alone else self.together * sum(self.steps)

    def order(self, number: int) -> np.ndarray:
        """Return the number of the task of each batch of an epoch, shape ``(batches,)``."""
        if self.alone:
            return np.zeros(len(self), dtype=int)
        each = np.repeat(np.arange(len(self.steps)), self.steps)
        rng = np.random.default_rng([self.seed, number, 11])
        return np.repeat(rng.permutation(each), self.together)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position ``start`` on, each with the number of its task."""
        if self.alone:
            for batch in self.streams[0].epoch(number, start):
                yield _of_task(batch, 0)
            return
        order = self.order(number)
        before = np.bincount(order[:start], minlength=len(self.steps))
        streams = [
            without_end(stream, number * self.together * steps + int(done))
            for stream, steps, done in zip(self.streams, self.steps, before, strict=True)
        ]
        for task in order[start:]:
            yield _of_task(next(streams[task]), int(task))

    def seen(self, batches: int) -> list[int]:
        """Count the batches of each task among the first so many batches, over all epochs."""
        whole, rest = divmod(batches, len(self))
        counts = np.zeros(len(self.streams), dtype=int)
        for number in range(whole + 1):
            order = self.order(number)
            counts += np.bincount(order[: rest if number == whole else None], minlength=len(counts))
        return counts.tolist()


def _of_task(batch: Batch, number: int) -> Batch:
    return replace(batch, inputs={**batch.inputs, WHICH: torch.tensor(number)})
