"""The training loop, and the pass that predicts; neither knows tasks, modes or devices."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from nlptl.data.progress import counted
from nlptl.errors import Diverged, RunError, listed
from nlptl.records import Batch, Batches, FitState, Hook
from nlptl.train.machine import gather

#: Losses are summed, divided by this, and scaled to a mean when the whole step's size is known.
#: It is a power of two, so that it changes no bit in float32; it keeps fp16's loss scale where it is.
LOSS_UNIT = 64.0
#: Divisor instead of a size of zero.
TINY = 1e-30
#: Number of steps between readings of the loss, which wait for a GPU.
READ_EVERY = 10


def fit(
    loss: nn.Module,
    batches: Batches,
    *,
    optimizers: Mapping[str, Any],
    schedules: Sequence[Any],
    accelerator: Any,
    steps: int,
    gradient_accumulation_steps: int = 1,
    max_grad_norm: float | None = 1.0,
    hooks: Sequence[Hook] = (),
    state: FitState | None = None,
) -> FitState:
    """Train for ``steps`` optimizer steps.

    The loop, with every point where something can be attached::

        hook.on_start
        while steps are left:
            for each window of `gradient_accumulation_steps` batches of the epoch:
                for each batch:  found = loss(**batch.inputs);  backward(found.loss * found.size)
                gradients /= total size over the window and over all processes
                clip;  optimizers[batch.turn].step;  schedules.step      # one step
                hook.on_step                                             # may ask to stop
            hook.on_epoch                                                # may ask to stop
        hook.on_end

    Gradients are divided by the summed sizes, so accumulating k batches equals one batch k times as
    large, with a ragged end and with uneven processes too.

    Args:
        loss: A :class:`nlptl.train.losses.Loss`, as returned by ``accelerator.prepare``.
        batches: Source of batches; its order depends on the epoch's number alone.
        optimizers: Mapping from the turn of a batch to the optimizer that steps after it, as returned by
            ``accelerator.prepare``.
        schedules: One schedule per optimizer, each stepped once per optimizer step; not prepared.
        accelerator: Accelerator with device, processes and precision.
        steps: Number of optimizer steps.
        gradient_accumulation_steps: Batches per optimizer step.
        max_grad_norm: Global norm that gradients are clipped to; None for no clipping.
        hooks: Observers.
        state: State to continue from (:func:`nlptl.train.checkpoints.restore`); None starts at the beginning.

    Returns:
        The final state.

    Raises:
        Diverged: If the loss is not finite.
        RunError: If the batches of one step belong to several turns, or to one that has no optimizer.
    """
    per_epoch = math.ceil(len(batches) / gradient_accumulation_steps)
    if state is None:
        state = FitState(loss, dict(optimizers), steps, per_epoch)
    alone = gradient_accumulation_steps == 1 and accelerator.num_processes == 1
    loss.train()  # all of it: a wrapper's own flag says nothing of what it wraps
    for hook in hooks:
        hook.on_start(state)
    stop = False  # asked for in the middle of an epoch; state.stopped is a decision that a checkpoint keeps
    while state.step < steps and not (stop or state.stopped):
        stream = batches.epoch(state.epoch, start=state.batch)
        while state.step < steps and (window := list(islice(stream, gradient_accumulation_steps))):
            if not loss.training:
                loss.train()
            optimizer = optimizers[_turn(window, optimizers)]
            sizes = []
            for position, batch in enumerate(window):
                last = position == len(window) - 1
                with nullcontext() if last else accelerator.no_sync(loss):
                    with accelerator.autocast():
                        found = loss(**batch.to(accelerator.device).inputs)
                    size = found["size"] if batch.indices else 0.0
                    # Where a batch is the whole step its loss is a mean already: nothing to scale.
                    accelerator.backward(found["loss"] * (1.0 if alone else size / LOSS_UNIT))
                state.sums.add(found["loss"], size, batch.padding, found["terms"])
                sizes.append(size)
                state.examples += batch.size
            if not alone:
                total = _over_processes(accelerator, sum(sizes))
                _scale_gradients(optimizer, accelerator.num_processes * LOSS_UNIT, total)
            if max_grad_norm is not None:
                clipped = _stepped(loss, optimizer, alone=len(optimizers) == 1)
                state.grad_norm = accelerator.clip_grad_norm_(clipped, max_grad_norm)
            state.learning_rate = optimizer.param_groups[0]["lr"]
            state.lr_history.append(state.learning_rate)
            optimizer.step()
            for each in optimizers.values():  # another turn's parameters may have gradients too
                each.zero_grad()
            if not accelerator.optimizer_step_was_skipped:
                for schedule in schedules:
                    schedule.step()
            state.step += 1
            state.batch += len(window)
            ended = state.batch >= len(batches)
            asked = any(reads(state) for hook in hooks if (reads := getattr(hook, "reads", None)))
            if state.step % READ_EVERY == 0 or state.step in (1, steps) or ended or asked:
                _read_loss(state, accelerator)
            stop = any([hook.on_step(state) for hook in hooks])
            if stop:
                break
        else:
            if state.batch >= len(batches):
                state.epoch, state.batch = state.epoch + 1, 0
            for hook in hooks:  # in order: what writes checkpoints comes behind what decides
                state.stopped |= hook.on_epoch(state)
    for hook in hooks:
        hook.on_end(state)
    return state


def _turn(window: Sequence[Batch], optimizers: Mapping[str, Any]) -> str:
    turns = {batch.turn for batch in window}
    if len(turns) > 1 or not turns <= set(optimizers):
        raise RunError(
            f"The batches of one step belong to the turns {listed(sorted(turns))}; expected one of "
            f"{listed(list(optimizers))} in all of them. Loss.turns() names the turns, Batch.turn a batch's."
        )
    return turns.pop()


def _stepped(loss: nn.Module, optimizer: Any, *, alone: bool) -> Any:
    """List the parameters that an optimizer steps, in the order of the module's parameters."""
    if alone:
        return loss.parameters()
    own = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [p for p in loss.parameters() if id(p) in own]


def _scale_gradients(optimizer: Any, factor: float, total: float | torch.Tensor) -> None:
    gradients = [
        p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
    ]
    scale: Any  # where nothing was counted, all gradients are zero
    if isinstance(total, torch.Tensor):  # on the device, which is not waited for
        scale = (factor / total.clamp(min=TINY)).to(gradients[0].dtype)
    else:
        scale = factor / max(total, TINY)
    torch._foreach_mul_(gradients, scale)  # type: ignore[attr-defined]  # public in effect


def _over_processes(accelerator: Any, value: float) -> float | torch.Tensor:
    if accelerator.num_processes == 1:
        return value
    # Filled there: a copy from here would wait for the device.
    tensor = torch.full((), value, device=accelerator.device, dtype=torch.float64)
    return accelerator.reduce(tensor, reduction="sum")


def _read_loss(state: FitState, accelerator: Any) -> None:
    sums = state.sums
    size = float(_over_processes(accelerator, sums.size))
    if not size:  # no example since the last reading had anything to predict
        return
    state.loss = float(_over_processes(accelerator, float(sums.loss))) / size
    state.terms = {
        name: float(_over_processes(accelerator, float(value))) / size
        for name, value in sums.terms.items()
    }
    sums.loss, sums.size, sums.terms = 0.0, 0.0, {}
    if not math.isfinite(state.loss):
        raise Diverged(
            f"The loss became {state.loss} by step {state.step}. Lower --learning-rate, or, with "
            "--precision fp16, use bf16 or fp32 (T5 checkpoints overflow in fp16)."
        )


@torch.no_grad()
def predict(
    loss: nn.Module, batches: Batches, *, accelerator: Any
) -> tuple[dict[str, list[np.ndarray]], float]:
    """Run a model over batches in eval mode.

    Rows, never averages, are gathered from the processes and identified by their index, so that a
    metric over 7 examples is the same on one process and on two.

    Args:
        loss: A :class:`nlptl.train.losses.Loss`, prepared or not; its training flag is left as it was. Its
            losses are averaged over sizes.
        batches: Batches without a shuffle seed.
        accelerator: Accelerator with device, processes and precision.

    Returns:
        Output names to one array per feature, in the order of the features; and the mean loss.
    """
    was_training = loss.training
    loss.eval()
    rows: dict[int, dict[str, np.ndarray]] = {}
    losses: list[tuple[float, float]] = []
    for batch in counted(batches.epoch(0), "", len(batches)):
        with accelerator.autocast():
            found = loss(**batch.to(accelerator.device).inputs)
        outputs = {name: value.float().cpu().numpy() for name, value in found["outputs"].items()}
        for position, index in enumerate(batch.indices):
            rows[index] = {name: value[position] for name, value in outputs.items()}
        if batch.indices:
            losses.append((float(found["loss"]) * found["size"], found["size"]))
    loss.train(was_training)
    rows = dict(gather(list(rows.items()), accelerator))
    losses = gather(losses, accelerator)
    total, size = np.asarray(losses).sum(axis=0)
    names = rows[0].keys()
    ordered = {name: [rows[i][name] for i in range(len(rows))] for name in names}
    return ordered, float(total / size)
