"""A learning rate found on training batches: a range test (Smith, 2017).

"Cyclical Learning Rates for Training Neural Networks", section 3.3: train for some steps at a rate that
grows, and watch the loss. Departures: the rate grows exponentially; from each batch's loss that of the
untouched model on the same batch is subtracted, because small batches differ by more than some steps change;
the curve is smoothed on both sides after the test; and the answer is one peak rate. Each batch is a step,
whatever is accumulated later. Weights and random numbers are put back, so that a run at the rate that was
found equals the run that is given this rate. Validation and test data are not an argument.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from nlptl.records import Batch, Batches
from nlptl.train.losses import Loss
from nlptl.train.machine import gather
from nlptl.train.optimizer import make_optimizer
from nlptl.train.setup import TrainArgs

#: Lowest and highest rate of a test, and number of its steps: 17 to each power of ten.
LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
#: Steps that a smoothed loss is made from, about a power of ten of rates.
WINDOW = 15
#: A test ends early where the mean loss is so many untouched models' losses above its lowest.
BLOWN_UP = 2.0
#: Half a power of ten. A whole one, which is usual with SGD, left AdamW too slow: ``bundled/bert`` in full on
#: 500 sentences of SST-2 scored 69.5 at the rate that it gives, and 75.8 at the default, six times as high.
MARGIN = 10**0.5
#: Weight of the past in the mean that ends a test.
MEMORY = 0.8
#: Standard errors that the smoothed loss must fall by; one curve of pure noise in a hundred does.
CLEAR = 4.0


@dataclass(frozen=True)
class RateSearch:
    """The result of a range test.

    Attributes:
        rates: Learning rate of each step.
        losses: Loss of each step's batch before the step, less the untouched model's, plus the mean of those.
        rate: The rate that was chosen; None where no rate lowered the loss clearly.
        seconds: Time that the test took.
    """

    rates: list[float]
    losses: list[float]
    rate: float | None
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """Return the test as JSON."""
        known = [loss if math.isfinite(loss) else None for loss in self.losses]
        return {**asdict(self), "losses": known, "rates": [float(f"{r:.6g}") for r in self.rates]}

    def __str__(self) -> str:
        last = f"{len(self.rates)} steps, {self.rates[0]:.1g} to {self.rates[-1]:.1g}"
        if self.rate is None:
            return f"range test ({last}): no rate lowered the loss clearly; the mode's default is taken."
        return f"range test ({last}): learning rate {self.rate:.2g}"


def _grid(steps: int = STEPS) -> list[float]:
    """List the rates of a test, each the same factor above the one before."""
    return np.geomspace(LOWEST, HIGHEST, steps).tolist()


def choose_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate at which the loss falls fastest, at most that of its minimum over :data:`MARGIN`.

    Loss and slope over log(rate) are those of straight lines through :data:`WINDOW` neighbouring steps.

    Example:
        >>> grid = [10 ** (i / 20) for i in range(-100, 0)]
        >>> falls = [1 / (1 + (rate / 1e-3) ** 2) + (rate / 0.05) ** 2 for rate in grid]
        >>> 5e-4 < choose_rate(grid, falls) < 1.5e-3
        True

    Args:
        rates: Rising rates.
        losses: The loss at each; what follows the first one that is not finite is left out.

    Returns:
        The rate; None if the loss falls by no more than noise would make it.
    """
    from scipy.signal import savgol_filter

    odd = [i for i, loss in enumerate(losses) if not math.isfinite(loss)]
    known = np.asarray(losses[: odd[0] if odd else None], dtype=float)
    if len(known) < WINDOW:
        return None
    smooth = np.asarray(savgol_filter(known, WINDOW, 1))
    slope = np.asarray(savgol_filter(known, WINDOW, 1, deriv=1))
    lowest = int(smooth.argmin())
    if lowest == 0:
        return None
    # Neighbours differ by noise alone. Of a normal variable, the median size is 0.674 standard deviations; and
    # the median does not see that losses jump where the rate is too high.
    noise = float(np.median(np.abs(np.diff(known[: lowest + 1])))) / 0.674 / math.sqrt(WINDOW)
    if (
        known[:WINDOW].mean() - smooth[lowest] <= CLEAR * noise
    ):  # the first are the untouched model's
        return None
    steepest = int(slope[: lowest + 1].argmin())
    return float(f"{min(rates[steepest], rates[lowest] / MARGIN):.2g}")


def find_rate(loss: Loss, batches: Batches, *, args: TrainArgs, accelerator: Any) -> RateSearch:
    """Run a range test on the model inside a loss, and put everything back.

    Args:
        loss: Training loss around a model that is already frozen where it does not train.
        batches: The training set's batches; the test goes through them in the order of the run.
        args: Manner of the training: weight decay, clipping, parameter groups.
        accelerator: Accelerator with devices, processes and precision.

    Returns:
        The test and its choice, the same on every process.
    """
    began = time.perf_counter()
    with _put_back(loss, accelerator):
        optimizer = make_optimizer(
            loss,
            learning_rate=1.0,  # of each group: its factor
            weight_decay=args.weight_decay,
            betas=args.betas,
            groups=args.groups,
        )
        factors = [group["lr"] for group in optimizer.param_groups]
        wrapped, prepared = accelerator.prepare(loss, optimizer)
        wrapped.train()
        rates, losses = _grid(), []
        kept = list(islice(batches.epoch(0), len(rates)))
        with torch.no_grad():
            untouched = [_loss(wrapped, batch, accelerator)[1] for batch in kept]
        usual = float(np.mean(untouched))
        mean = best = 0.0
        for number, rate in enumerate(rates):
            turn = number % len(kept)
            for group, factor in zip(prepared.param_groups, factors, strict=True):
                group["lr"] = rate * factor
            now = _step(wrapped, prepared, kept[turn], args, accelerator)
            losses.append(now - untouched[turn] + usual)
            mean = MEMORY * mean + (1 - MEMORY) * losses[-1]
            now = mean / (1 - MEMORY ** (number + 1))
            best = now if number == 0 else min(best, now)
            if not now <= best + BLOWN_UP * usual:  # or not a number
                break
        accelerator._models.clear()
        accelerator._optimizers.clear()
    rates = rates[: len(losses)]
    return RateSearch(rates, losses, choose_rate(rates, losses), time.perf_counter() - began)


def _loss(loss: nn.Module, batch: Batch, accelerator: Any) -> tuple[Any, float]:
    """Run a batch; return what to differentiate, and the mean loss over all processes."""
    with accelerator.autocast():
        found = loss(**batch.to(accelerator.device).inputs)
    size = found["size"] if batch.indices else 0.0
    parts = gather([(float(found["loss"].detach()) * size, size)], accelerator)
    mean = sum(part for part, _ in parts) / max(1e-30, sum(size for _, size in parts))
    return found["loss"] * (1.0 if size else 0.0), mean


def _step(
    loss: nn.Module, optimizer: Any, batch: Batch, args: TrainArgs, accelerator: Any
) -> float:
    """Make one step, and return the mean loss before it."""
    value, mean = _loss(loss, batch, accelerator)
    accelerator.backward(value)
    if args.max_grad_norm is not None:
        accelerator.clip_grad_norm_(loss.parameters(), args.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return mean


@contextmanager
def _put_back(loss: nn.Module, accelerator: Any) -> Iterator[None]:
    """Restore weights, buffers, training flags, random numbers and the scale of fp16 afterwards."""
    state = {n: t.detach().clone() for n, t in _changeable(loss)}
    training = [(module, module.training) for module in loss.modules()]
    drawn = torch.get_rng_state()
    device = accelerator.device
    on_device = (
        torch.get_device_module(device).get_rng_state(device) if device.type != "cpu" else None
    )
    scaler = getattr(accelerator, "scaler", None)
    scale = scaler.state_dict() if scaler else None
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in _changeable(loss):
                tensor.copy_(state[name])
        for module, flag in training:
            module.training = flag
        for parameter in loss.parameters():
            parameter.grad = None
        torch.set_rng_state(drawn)
        if on_device is not None:
            torch.get_device_module(device).set_rng_state(on_device, device)
        if scaler and scale:
            scaler.load_state_dict(scale)


def _changeable(loss: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from ((name, p) for name, p in loss.named_parameters() if p.requires_grad)
    yield from loss.named_buffers()
