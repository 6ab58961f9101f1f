"""Observers of the loop: progress, logs, checkpoints, keeping the best. None of them changes a step."""

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nlptl.data.files import json_line, write_whole
from nlptl.data.progress import NARROW, NESTED, WIDE, bar, is_nested
from nlptl.records import FitState
from nlptl.train import checkpoints

if TYPE_CHECKING:
    from nlptl.train.epoch_table import EpochTable


class Quiet:
    """A hook that does nothing; the others override what they need."""

    def on_start(self, state: FitState) -> None:
        """Do nothing."""

    def on_step(self, state: FitState) -> bool:
        """Go on."""
        return False

    def on_epoch(self, state: FitState) -> bool:
        """Go on."""
        return False

    def on_end(self, state: FitState) -> None:
        """Do nothing."""


class ProgressBar(Quiet):
    """Hook that draws a bar with epoch, loss, examples per second and the time left."""

    def __init__(self) -> None:
        self.bar: Any = None

    def on_start(self, state: FitState) -> None:
        """Open the bar."""
        self.bar = bar(state.total_steps, "training", "steps", initial=state.step)
        self.began, self.examples = time.perf_counter(), state.examples

    def on_step(self, state: FitState) -> bool:
        """Advance the bar."""
        if not self.bar.disable:
            self.bar.set_postfix_str(self._figures(state), refresh=False)
            self.bar.update()
        return False

    def _figures(self, state: FitState) -> str:
        rate = (state.examples - self.examples) / (time.perf_counter() - self.began)
        found = [f"epoch {state.epoch + 1}", f"loss {state.loss:.3f}", f"{rate:.0f} texts/s"]
        room = (self.bar.ncols or 0) - NESTED * is_nested()
        if room >= WIDE:
            return ", ".join([*found, f"rate {state.learning_rate:.1e}"])
        return ", ".join(found[:2]) if room >= NARROW else ""

    def on_end(self, state: FitState) -> None:
        """Close the bar."""
        self.bar.close()


class Trackers(Quiet):
    """Hook that sends loss, learning rate and gradient norm to Accelerate's trackers (``--tracker``)."""

    def __init__(self, accelerator: Any, *, every: int = 10) -> None:
        self.accelerator, self.every = accelerator, every

    def on_step(self, state: FitState) -> bool:
        """Log every ``every`` steps."""
        if state.step % self.every == 0 or state.step == state.total_steps:
            values = {"train/loss": state.loss, "train/learning_rate": state.learning_rate}
            values |= {f"train/{name}": value for name, value in state.terms.items()}
            if state.grad_norm is not None:
                values["train/grad_norm"] = float(state.grad_norm)
            self.accelerator.log(values, step=state.step)
        return False


def known_error(line: Mapping[str, float], name: str) -> float:
    """Return the standard error of a figure in an epoch's line; 0 if it is unknown, as for a single group."""
    error = line.get(f"{name}_se", 0.0)
    return error if math.isfinite(error) else 0.0


#: Standard errors that a metric must be ahead by: of ten validation examples two more are right by chance.
ERRORS = 2.0


def preferred(
    new: Mapping[str, Any], kept: Mapping[str, Any], name: str, margin: float = 0.0
) -> bool:
    """Whether an epoch is better than another: by the metric, or by the loss if the metric cannot tell.

    Args:
        new: Line of the later epoch.
        kept: Line of the earlier one.
        name: Name of the metric in both; differences below :data:`ERRORS` of its errors do not count.
        margin: Difference of the losses that counts.
    """
    ahead, error = new[name] - kept[name], ERRORS * known_error(kept, name)
    if abs(ahead) > error:
        return ahead > 0
    return new["validation_loss"] + margin <= kept["validation_loss"]


def paired_error(first: Sequence[float] | None, second: Sequence[float] | None) -> float:
    """Return the standard error of a mean difference, paired by example; 0 if it is not known."""
    if first is None or second is None or len(first) < 2:
        return 0.0
    apart = [one - other for one, other in zip(first, second, strict=True)]
    return statistics.stdev(apart) / math.sqrt(len(apart))


class KeepBest(Quiet):
    """Hook that scores the model on validation data after each epoch and restores one epoch's weights.

    An epoch takes the place of the one kept so far if its metric is better by more than two standard errors,
    or if the metric cannot tell them apart and its loss is lower. A few hundred examples tell little by
    accuracy; the loss falls and rises smoothly, and a model that is chosen by it gives honest probabilities.
    The model before the first step is the simplest of all: to take its place, a later epoch's loss must be
    lower by more than a standard error, paired by example (Breiman et al., 1984, take the simplest model that
    is so close to the best).

    Args:
        score: Function from the model to figures, among them ``metric`` (higher is better), its standard
            error ``<metric>_se``, if it is known, ``loss``, and ``losses``, a list with each example's, if
            they are known.
        metric: Name of the metric that chooses the epoch.
        accelerator: Accelerator, to reach the model below its wrappers.
        patience: Number of epochs without a better score after which to stop; None never stops.
        from_start: Whether the model before the first step is scored too, as epoch 0, and may be kept.
        table: Table that prints each epoch's line and which one was kept; None prints nothing.
        model: Part of the model whose weights are kept; None for all that the loop trains.
    """

    def __init__(
        self,
        score: Callable[[Any], Mapping[str, Any]],
        metric: str,
        accelerator: Any,
        *,
        patience: int | None = None,
        from_start: bool = False,
        table: "EpochTable | None" = None,
        model: Any = None,
    ) -> None:
        self.score, self.metric, self.accelerator = score, metric, accelerator
        self.model = model
        self.from_start = from_start
        self.patience, self.table = patience, table
        self.history: list[dict[str, Any]] = []
        self.best: int | None = None
        self.weights: dict[str, Tensor] = {}
        self.start_losses: list[float] | None = None

    def on_start(self, state: FitState) -> None:
        """Score the model before the first step, if it is a model already."""
        if self.from_start and state.step == 0 and not self.history:
            with state.clock.scores():
                self._score(state)

    def on_epoch(self, state: FitState) -> bool:
        """Score; keep a copy of the trainable weights if this epoch is to be preferred."""
        with state.clock.scores():
            peak = self._score(state)
        waited = len(self.history) - 1 - peak
        return self.patience is not None and waited >= self.patience

    def _score(self, state: FitState) -> int:
        """Append an epoch's line, and return the place of the best one."""
        figures = dict(self.score(state.model))
        losses, margin = figures.pop("losses", None), 0.0
        epoch = round(state.step / state.steps_per_epoch, 3)
        if not state.step:
            self.start_losses = losses
        elif self.best == 0 and self.from_start:
            margin = paired_error(self.start_losses, losses)
        train = state.loss if state.step else None
        line: dict[str, Any] = {"epoch": epoch, "step": state.step, "train_loss": train}
        line |= {f"train_{name}": value for name, value in state.terms.items()}
        line |= {f"validation_{name}": value for name, value in figures.items()}
        self.history.append(line)
        name = f"validation_{self.metric}"
        scores = [line[name] for line in self.history]
        peak = scores.index(max(scores))
        kept = self.best is None or preferred(line, self.history[self.best], name, margin)
        if kept:
            self.best = len(self.history) - 1
            self.weights = checkpoints.trainable_state(self._whose(state))
        if self.table:
            self.table.report(self.history, state.clock.training + state.clock.scoring)
        return peak

    def on_end(self, state: FitState) -> None:
        """Load the weights that were kept, and say whose they are."""
        if self.table and self.best is not None:
            self.table.report_kept(self.history, self.best)
        if self.weights:
            checkpoints.load_trainable_state(self._whose(state), self.weights)

    def _whose(self, state: FitState) -> Any:
        return self.model or self.accelerator.unwrap_model(state.model)

    def memory(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the scores so far and the weights that were kept, for a checkpoint."""
        values = {"history": self.history, "best": self.best, "start_losses": self.start_losses}
        return values, self.weights

    def remember(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take them back."""
        self.history, self.best, self.weights = values["history"], values["best"], tensors
        self.start_losses = values["start_losses"]


class EvaluateEvery(Quiet):
    """Hook that scores the model every so many steps and appends a line to a log, and remembers the log.

    The line also has the speed since the previous line, without the time spent on scores.

    Args:
        score: Function from the model to figures.
        log: A ``.jsonl`` file; one line ``{"step": …, "examples": …, **figures}`` each time.
        accelerator: Accelerator whose main process writes.
        at: Steps to score at, besides every ``every``.
        every: Steps between scores.
        tokens_each: Mean tokens per example, for the speed.
        report: Function that prints each score in words.
    """

    def __init__(
        self,
        score: Callable[[Any], Mapping[str, float]],
        log: Path,
        accelerator: Any,
        *,
        every: int,
        at: Sequence[int] = (),
        tokens_each: float = 1.0,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.score, self.log, self.accelerator = score, log, accelerator
        self.every, self.at, self.tokens_each = every, frozenset(at), tokens_each
        self.report = report
        self.lines: list[dict[str, Any]] = []

    def on_start(self, state: FitState) -> None:
        """Score the untrained model; or write the log of a resumed run as it was at its checkpoint.

        A run that was killed before its first checkpoint starts over when it is resumed, and so does its log.
        """
        if state.step:
            if self.accelerator.is_main_process:
                write_whole(self.log, "".join(map(json_line, self.lines)))
            self.began, self.examples = time.perf_counter(), state.examples
        else:
            self.lines = []
            if self.accelerator.is_main_process:
                self.log.unlink(missing_ok=True)
            self.write(state)

    def memory(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the lines of the log so far, for a checkpoint."""
        return {"lines": self.lines}, {}

    def remember(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take them back."""
        self.lines = values["lines"]

    def reads(self, state: FitState) -> bool:
        """Whether the step's line needs the training loss up to this step."""
        last = state.step == state.total_steps
        return state.step % self.every == 0 or state.step in self.at or last

    def on_step(self, state: FitState) -> bool:
        """Score, if it is time."""
        if self.reads(state):
            self.write(state)
        return False

    def write(self, state: FitState) -> None:
        """Score now and append the line."""
        train: dict[str, Any] = {}
        if state.step:
            rate = (state.examples - self.examples) / (time.perf_counter() - self.began)
            train = {"train_loss": state.loss, "tokens_per_second": round(rate * self.tokens_each)}
        with state.clock.scores():
            figures = dict(self.score(state.model))
        if self.accelerator.is_main_process:
            line = {"step": state.step, "examples": state.examples, **figures, **train}
            written = json_line(line)
            self.lines.append(json.loads(written))
            with self.log.open("a") as file:
                file.write(written)
            self.report(score_line(line, state.total_steps))
        self.began, self.examples = time.perf_counter(), state.examples


def score_line(line: Mapping[str, Any], steps: int) -> str:
    """Write a line of the log in words, in columns that stand below one another.

    Args:
        line: Entry of the log.
        steps: Optimizer steps of the whole run.

    Example:
        >>> score_line({"step": 0, "loss": 9.01}, 400)
        'step   0 of 400  held-out loss 9.0100'
    """
    width = len(f"{steps:,}")
    said = f"step {line['step']:>{width},} of {steps:,}  held-out loss {line['loss']:.4f}"
    if "train_loss" not in line:
        return said
    return f"{said}  train loss {line['train_loss']:.4f}  {line['tokens_per_second']:>7,} tokens/s"


class SaveModels(Quiet):
    """Hook that keeps whole models at some steps, for a curve over pretraining.

    Args:
        save: Function that writes the model to a directory.
        directory: The ``models/`` of the run; each model goes to ``step-<number>`` below it.
        accelerator: Accelerator whose main process writes.
        at: Steps to keep a model at.
    """

    def __init__(
        self, save: Callable[[Path], None], directory: Path, accelerator: Any, at: Sequence[int]
    ) -> None:
        self.save, self.directory, self.accelerator = save, directory, accelerator
        self.at = frozenset(at)

    def on_step(self, state: FitState) -> bool:
        """Write, if this is one of the steps."""
        if state.step in self.at and self.accelerator.is_main_process:
            self.save(self.directory / f"step-{state.step:07d}")
        return False
