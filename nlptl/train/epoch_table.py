"""The table of a training's epochs, line by line, and the sentence that says which epoch was kept, and why."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nlptl.train.hooks import ERRORS, known_error

#: Largest value of a metric that is a share; those above are percents, or numbers without a limit.
SHARE = 1.0


class EpochTable:
    """Lines of a table that fits 80 columns.

    Args:
        metric: Name of the metric that chooses the epoch.
        scale: Value of the metric if everything is right: 1, or 100 for a metric in percent.
        write: Function that prints a line.
    """

    def __init__(
        self, metric: str, scale: float = 1.0, write: Callable[[str], None] = lambda line: None
    ) -> None:
        self.metric, self.write = metric, write
        self.begun = False
        self.digits = 3 if scale <= SHARE else 1
        self.width = max(15, len(metric))

    def report(self, history: Sequence[Mapping[str, Any]], seconds: float) -> None:
        """Print the line of the last epoch; before the first one the heading, and what earlier sessions had.

        Args:
            history: The lines of all epochs so far.
            seconds: Time since the training began.
        """
        if not self.begun:
            self.write(self.heading())
            for line in history[:-1]:
                self.write(self.line(line))
        self.begun = True
        self.write(self.line(history[-1], seconds))

    def report_kept(self, history: Sequence[Mapping[str, Any]], best: int) -> None:
        """Print which epoch was kept, and why, if there were several."""
        if len(history) > 1:
            self.write(self.kept(history, best))

    def heading(self) -> str:
        """Return the line with the names of the columns."""
        return f"{'epoch':>5}  {'train loss':>10}  {'val loss':>8}  {self.metric:>{self.width}}  {'time':>7}"

    def line(self, line: Mapping[str, Any], seconds: float | None = None) -> str:
        """Return the line of an epoch.

        Args:
            line: An entry of the history (:attr:`nlptl.train.hooks.KeepBest.history`).
            seconds: Time since the training began; None if it is not known, as of an earlier session.
        """
        train = line["train_loss"]
        return (
            f"{line['epoch']:>5g}  {'' if train is None else f'{train:.4f}':>10}  "
            f"{line['validation_loss']:>8.4f}  {self.score(line):>{self.width}}  "
            f"{'' if seconds is None else clock(seconds):>7}"
        )

    def score(self, line: Mapping[str, Any]) -> str:
        """Return the metric of an epoch with its standard error, where that is known."""
        error = line.get(f"validation_{self.metric}_se")
        score = f"{line[f'validation_{self.metric}']:.{self.digits}f}"
        known = error is not None and math.isfinite(error)
        return score + (f" ± {error:.{self.digits}f}" if known else "")

    def alone(self, line: Mapping[str, Any]) -> str:
        """Return the line of a training without steps."""
        return f"validation: {self.metric} {self.score(line)}, loss {line['validation_loss']:.4f}"

    def kept(self, history: Sequence[Mapping[str, Any]], best: int) -> str:
        """Say which epoch was kept, and why (:func:`nlptl.train.hooks.preferred`).

        Args:
            history: The lines of all epochs.
            best: Place of the one that was kept.
        """
        own, name = history[best], self.metric
        scores = [line[f"validation_{name}"] for line in history]
        losses = [line["validation_loss"] for line in history]
        peak = scores.index(max(scores))
        last = f" of {history[-1]['epoch']:g}" if history[-1]["epoch"] else ""
        start = f"kept epoch {own['epoch']:g}{last}: "
        highest, lowest = scores[best] == scores[peak], losses[best] == min(losses)
        if highest and lowest:
            return f"{start}highest {name} ({self.score(own)}) and lowest loss ({losses[best]:.4f})"
        if highest:
            return f"{start}highest {name} ({self.score(own)})"
        other = f"highest: epoch {history[peak]['epoch']:g}, {self.score(history[peak])}"
        near = ERRORS * known_error(own, f"validation_{name}")
        if best == 0 and not own["epoch"]:
            return f"{start}{name} {self.score(own)}; no later epoch was better beyond chance ({other})"
        if lowest and scores[peak] - scores[best] <= near:
            return (
                f"{start}lowest loss ({losses[best]:.4f}), and its {name} ({self.score(own)}) is the highest "
                f"within chance ({other})"
            )
        return (
            f"{start}{name} {self.score(own)}, loss {losses[best]:.4f}; no later epoch was better beyond "
            f"chance, or as good with a lower loss ({other})"
        )


def clock(seconds: float) -> str:
    """Write a time as a clock does.

    Example:
        >>> clock(8.4), clock(80), clock(3725)
        ('0:08', '1:20', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """Write a time as a person says it.

    Example:
        >>> about(8), about(95), about(5400)
        ('10 s', '2 min', '1.5 h')
    """
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 3600:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h"
