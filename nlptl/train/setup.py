"""What a run needs before the loop: processes, seeds, optimizer, schedule, and where to go on from."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nlptl.records import Batches, Clock, FitState, Hook, Step
from nlptl.train import checkpoints
from nlptl.train.dropout import dropout_made_cheap
from nlptl.train.loop import fit
from nlptl.train.optimizer import make_optimizer, make_schedule, warmup_steps
from nlptl.train.threads import use_cores

#: How long a process waits for another one before it gives up.
LONGEST_WAIT = timedelta(hours=12)


def new_accelerator(**settings: Any) -> Any:
    """Accelerate with the settings of ``accelerate launch``, for any number of processes.

    Args:
        settings: More arguments of :class:`accelerate.Accelerator`.
    """
    from accelerate import Accelerator, InitProcessGroupKwargs

    use_cores()
    # One process tokenizes or reads a teacher for all, which may take longer than the usual ten minutes.
    patient = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    # Without `cpu`, each of several torchrun processes on CPUs would train alone, unsynchronised.
    return Accelerator(
        cpu=not torch.accelerator.is_available(), kwargs_handlers=[patient], **settings
    )


def start_accelerator(*, tracker: str | None, output_dir: Path, seed: int) -> Any:
    """Start Accelerate with the settings of ``accelerate launch``, and seed everything.

    Args:
        tracker: Name of a tracker, or None.
        output_dir: Where a tracker that writes files writes them.
        seed: The same on every process: the head must start equal everywhere.
    """
    from accelerate.utils import set_seed

    accelerator = new_accelerator(
        log_with=tracker, project_dir=str(output_dir) if tracker else None
    )
    if tracker:
        accelerator.init_trackers(output_dir.name)
    set_seed(seed)
    return accelerator


def seed_dropout(accelerator: Any, seed: int) -> None:
    """Seed each process differently: heads start equal everywhere, dropout must not be."""
    from accelerate.utils import set_seed

    set_seed(seed + accelerator.process_index)


@dataclass(frozen=True)
class Plan:
    """How long to train, and how.

    Attributes:
        steps: Optimizer steps in all.
        learning_rate: Peak rate.
        warmup: Share of the steps (below 1) or a count.
        weight_decay: AdamW's.
        gradient_accumulation_steps: Batches a step.
        max_grad_norm: Gradient clipping; None for none.
        schedule: ``linear``, ``cosine`` or ``constant``.
        betas: Adam's.
        optimizer: ``adamw`` or ``adafactor``.
        compile: Whether the model is compiled, for batches of any shape.
        gradient_checkpointing: Whether activations are computed twice instead of kept.
    """

    steps: int
    learning_rate: float
    warmup: float = 0.1
    weight_decay: float = 0.01
    gradient_accumulation_steps: int = 1
    max_grad_norm: float | None = 1.0
    schedule: str = "linear"
    betas: tuple[float, float] = (0.9, 0.999)
    optimizer: str = "adamw"
    compile: bool = False
    gradient_checkpointing: bool = False


def _checkpoint_activations(model: nn.Module) -> None:
    # Not re-entrant: that kind finds no gradient behind frozen blocks and trains nothing.
    found: Any = next(m for m in model.modules() if hasattr(m, "gradient_checkpointing_enable"))
    found.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def steps_for(epochs: float, batches: int, gradient_accumulation_steps: int) -> int:
    """Optimizer steps in ``epochs``, at least one; a ragged last window counts as one."""
    return max(1, round(epochs * math.ceil(batches / gradient_accumulation_steps)))


def train(
    model: nn.Module,
    batches: Batches,
    *,
    step: Step,
    plan: Plan,
    accelerator: Any,
    hooks: Sequence[Hook] = (),
    checkpoint_dir: Path | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
) -> FitState:
    """Prepare a model for its devices, and fit it, from the start or from a checkpoint.

    Args:
        model: Already frozen where it shall not train; trained in place.
        batches: What is seen.
        step: Computes the loss.
        plan: How long and how.
        accelerator: Devices, processes, precision.
        hooks: Observers. One that has a ``memory`` is written into the checkpoints.
        checkpoint_dir: Where checkpoints go; None for none.
        checkpoint_every: Steps between checkpoints; None for the ends of epochs.
        resume: Go on from the newest whole checkpoint, if there is one.

    Returns:
        The final state.
    """
    from nlptl.train.hooks import Resumable, SaveCheckpoints

    clock = Clock()
    if plan.gradient_checkpointing:
        _checkpoint_activations(model)
    if plan.compile:
        model.compile(dynamic=True)  # in place: names and wrappers stay
    optimizer = make_optimizer(
        model,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        betas=plan.betas,
        name=plan.optimizer,
    )
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    schedule = make_schedule(
        optimizer,
        name=plan.schedule,
        warmup=warmup_steps(plan.warmup, plan.steps),
        total=plan.steps,
    )
    per_epoch = math.ceil(len(batches) / plan.gradient_accumulation_steps)
    state = FitState(wrapped, optimizer, plan.steps, per_epoch, clock=clock)
    keeper = next((hook for hook in hooks if isinstance(hook, Resumable)), None)
    if checkpoint_dir and resume and (path := checkpoints.newest(checkpoint_dir)):
        memory = checkpoints.restore(path, state=state, accelerator=accelerator, schedule=schedule)
        if keeper:
            keeper.remember(memory["json"], memory["tensors"])
    if checkpoint_dir:
        saver = SaveCheckpoints(
            checkpoint_dir, accelerator, schedule, keeper=keeper, every=checkpoint_every
        )
        hooks = [*hooks, saver]
    # A compiled model has random numbers of its own.
    with nullcontext() if plan.compile else dropout_made_cheap(model):
        return fit(
            wrapped,
            batches,
            step=step,
            optimizer=optimizer,
            schedule=schedule,
            accelerator=accelerator,
            steps=plan.steps,
            gradient_accumulation_steps=plan.gradient_accumulation_steps,
            max_grad_norm=plan.max_grad_norm,
            hooks=hooks,
            state=state,
        )
