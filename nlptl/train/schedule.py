"""How far several runs are, and how long the rest may take."""

import time
from collections.abc import Mapping

from nlptl.errors import many
from nlptl.train.epoch_table import about


class Schedule:
    """Several runs of several kinds, of which some are done.

    Args:
        runs: Name of a kind to its number of runs.
        costs: Name of a kind to the cost of one run, in any unit, for kinds of which none is done yet; None
            takes them for equal.
    """

    def __init__(self, runs: Mapping[str, int], costs: Mapping[str, float] | None = None) -> None:
        self.runs, self.costs = dict(runs), dict(costs or dict.fromkeys(runs, 1.0))
        self.total, self.number = sum(runs.values()), 0
        self.left = dict(runs)
        self.took: dict[str, float] = {}  # of the last run of a kind
        self.began = time.perf_counter()

    def knows(self, name: str, seconds: float) -> None:
        """Note the time of a run of a kind that was made before, and is none of these."""
        self.took[name] = seconds

    def plan(self) -> str:
        """Return how many runs there are, and about how long they take, if that can be guessed yet."""
        seconds = self.seconds_left()
        return many(self.total, "run") + (f", about {about(seconds)}" if seconds else "")

    def begin(self) -> str:
        """Begin the next run; return which it is, and about how much time is left."""
        self.number += 1
        self.began = time.perf_counter()
        return f"run {self.number} of {self.total}{self.rest()}"

    def end(self, name: str, *, found: bool = False) -> None:
        """End a run.

        Args:
            name: Its kind.
            found: Whether it was kept from before, so that its time says nothing.
        """
        self.left[name] -= 1
        if not found:
            self.took[name] = time.perf_counter() - self.began

    def seconds_left(self) -> float | None:
        """Estimate the seconds of all runs that are not done; None as long as nothing is known.

        A kind takes as long as its last run did, because the first one has more to prepare; a kind without a
        run takes its cost at the mean speed of the other kinds.
        """
        spent, paid = sum(self.took.values()), sum(self.costs[name] for name in self.took)
        if not paid:
            return None
        return sum(
            count * self.took.get(name, self.costs[name] * spent / paid)
            for name, count in self.left.items()
        )

    def rest(self) -> str:
        """Return ``, about 5 min left``; empty as long as nothing is known, and at the end."""
        seconds = self.seconds_left()
        return f", about {about(seconds)} left" if seconds else ""


def run_cost(
    *, blocks: int, frozen: int, epochs: float, train: int, validation: int, test: int
) -> float:
    """Estimate the cost of a fine-tuning, in passes of one text through one block.

    A step takes three times a forward pass; frozen blocks are computed once.

    Args:
        blocks: Blocks of the model.
        frozen: Lowest blocks that do not train.
        epochs: Passes over the training set.
        train: Training texts.
        validation: Validation texts, scored after each epoch.
        test: Test texts.
    """
    above = blocks - frozen
    return (train + validation + test) * blocks + epochs * above * (3 * train + validation)
