"""The small records that pass between packages, and the protocols of what can be attached."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

#: Function that pads features to tensors, and draws whatever is random from the generator.
Collate = Callable[[Sequence[Mapping[str, Any]], np.random.Generator], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Batch:
    """Features, padded to one length.

    Attributes:
        inputs: Keyword arguments of the model's ``forward``; tensors of shape ``(batch, …)``. A single number,
            shape ``()``, tells Python something, such as ``size``, and stays on the CPU.
        indices: Numbers of the features, in the order of the rows. Empty for a filler: a copy of
            some row that keeps a process in step with the others and counts for nothing.
        size: Number of features in the whole batch, over all processes.
        padding: Share of the token positions that hold padding, in [0, 1].
        turn: Name of the optimizer that steps after it (:meth:`nlptl.train.losses.Loss.turns`).
    """

    inputs: Mapping[str, Tensor]
    indices: tuple[int, ...]
    size: int
    padding: float = 0.0
    turn: str = "model"

    def to(self, device: Any) -> "Batch":
        """Return the batch with its tensors on ``device``; to a GPU they are copied while it computes."""
        pinned = torch.device(device).type == "cuda"  # only from pinned memory does a copy not wait
        moved = {
            key: (value.pin_memory() if pinned else value).to(device, non_blocking=True)
            if value.ndim
            else value
            for key, value in self.inputs.items()
        }
        return replace(self, inputs=moved)


class Batches(Protocol):
    """Source of batches: decides what is seen and in what order, and never touches the model."""

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        ...

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch ``number`` from position ``start`` on."""
        ...


@dataclass
class Sums:
    """Running sums over the batches of this process; a checkpoint holds them.

    Attributes:
        loss: Loss times size since the loss was last read; a tensor until then.
        terms: The same sum for each named term of the loss.
        size: Sum of the sizes since then.
        padding: Sum of the shares of padding, over all batches so far.
        batches: Number of those batches.
    """

    loss: Any = 0.0
    size: float = 0.0
    padding: float = 0.0
    batches: int = 0
    terms: dict[str, Any] = field(default_factory=dict)

    def add(
        self, loss: Tensor, size: float, padding: float, terms: Mapping[str, Tensor] | None = None
    ) -> None:
        """Count one batch."""
        self.loss = self.loss + loss.detach().float() * size
        for name, value in (terms if terms and len(terms) > 1 else {}).items():
            self.terms[name] = self.terms.get(name, 0.0) + value.detach().float() * size
        self.size += size
        self.padding += padding
        self.batches += 1


@dataclass
class Clock:
    """The time that a run has spent on training and on scores, over all its sessions; a checkpoint holds it.

    Attributes:
        began: When the run would have begun if it had only trained since (``time.perf_counter``).
        scoring: Seconds spent on scores.
    """

    began: float = field(default_factory=time.perf_counter)
    scoring: float = 0.0

    @property
    def training(self) -> float:
        """Seconds of training until now."""
        return time.perf_counter() - self.began

    @contextmanager
    def scores(self) -> Iterator[None]:
        """Count the time within as scoring, not as training."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.scoring += spent
            self.began += spent

    def add(self, *, training: float, scoring: float) -> None:
        """Count the seconds of earlier sessions."""
        self.began -= training
        self.scoring += scoring


@dataclass
class FitState:
    """The state of a training; hooks read it.

    Attributes:
        model: The loss module as the loop calls it (wrapped, when several processes train).
        optimizers: Mapping from the turn of a batch to the optimizer that steps after it.
        total_steps: Optimizer steps of the whole run.
        steps_per_epoch: Optimizer steps per epoch.
        step: Optimizer steps made so far.
        epoch: Epochs begun so far, minus one.
        batch: Batches of this epoch consumed so far.
        examples: Features consumed so far, over all processes.
        loss: Mean loss per unit of size over the steps between the last two readings.
        terms: The same mean for each term, where the loss is a sum of several.
        learning_rate: Learning rate of the last step (of the first parameter group).
        grad_norm: Norm of the last step's gradient before clipping, None without clipping.
        lr_history: Learning rate of every step.
        stopped: Whether a hook asked to stop at the end of an epoch.
        sums: Sums that the next reading of the loss is made from.
        clock: Time spent so far.
    """

    model: nn.Module
    optimizers: dict[str, Any]
    total_steps: int
    steps_per_epoch: int
    step: int = 0
    epoch: int = 0
    batch: int = 0
    examples: int = 0
    loss: float = float("nan")
    terms: dict[str, float] = field(default_factory=dict)
    learning_rate: float = 0.0
    grad_norm: float | None = None
    lr_history: list[float] = field(default_factory=list)
    stopped: bool = False
    sums: Sums = field(default_factory=Sums)
    clock: Clock = field(default_factory=Clock)

    @property
    def padding(self) -> float:
        """Share of padding over the batches so far."""
        return self.sums.padding / max(1, self.sums.batches)


class Hook(Protocol):
    """Observer of a training: logs, saves or keeps the best, and never changes the mathematics."""

    def on_start(self, state: FitState) -> None:
        """Do what is to be done once, before the first step."""
        ...

    def on_step(self, state: FitState) -> bool:
        """Do what is to be done after each optimizer step; True asks the loop to stop."""
        ...

    def on_epoch(self, state: FitState) -> bool:
        """Do what is to be done at the end of each epoch; True asks the loop to stop."""
        ...

    def on_end(self, state: FitState) -> None:
        """Do what is to be done once, after the last step."""
        ...
