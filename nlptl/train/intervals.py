"""The time between checkpoints. Nothing heavy is imported here: the flags are checked with it."""

import math
from contextlib import suppress
from dataclasses import dataclass

from nlptl.errors import ConfigError


@dataclass(frozen=True)
class Interval:
    """Time between checkpoints, in steps or in seconds.

    Attributes:
        steps: Number of steps; 0 if it is a time.
        seconds: Number of seconds; 0 if it is a number of steps.
        ends: Whether the ends of epochs and of the training have checkpoints too.
    """

    steps: int = 0
    seconds: float = 0.0
    ends: bool = True


def interval_of(every: "int | str | Interval") -> Interval:
    """Read ``--save-every``: a number of steps, or minutes with an m behind them.

    Raises:
        ConfigError: If it is neither.

    Example:
        >>> interval_of(200), interval_of("10m")
        (Interval(steps=200, seconds=0.0, ends=True), Interval(steps=0, seconds=600.0, ends=True))
    """
    if isinstance(every, Interval):
        return every
    word = str(every).strip()
    number = word.removesuffix("m")
    with suppress(ValueError):
        if word.endswith("m") and 0 < float(number) < math.inf:
            return Interval(seconds=60 * float(number))
        if int(number) > 0:
            return Interval(steps=int(number))
    raise ConfigError(
        f"--save-every is {every}; expected a number of steps above 0, or minutes, such as 10m."
    )
