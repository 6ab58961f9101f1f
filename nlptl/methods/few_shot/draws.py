"""What a draw sees: so many labels of each class, the smaller draw within the larger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlptl.data.sampling import stratified_order
from nlptl.errors import DataError, listed
from nlptl.tasks.base import Task


@dataclass(frozen=True)
class Shots:
    """So many labelled examples of each class: a view of a study's splits.

    Attributes:
        shots: Number of examples a class.
        validation: Whether there are as many validation examples a class; else there are none.
        classes: Number of classes.
    """

    shots: int
    validation: bool = False
    classes: int = 2

    @property
    def examples(self) -> int:
        """Number of training examples."""
        return self.shots * self.classes

    def __call__(self, task: Task, splits: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Return ``train``, ``test`` and maybe ``validation`` of a draw."""
        names = ("train", *["validation"] * self.validation)
        drawn = {
            name: splits[name].select(draw(task.gold(splits[name]), self.shots, seed))
            for name in names
        }
        return {**drawn, "test": splits["test"]}


def draw(gold: Sequence[str], shots: int, seed: int) -> np.ndarray:
    """Draw so many examples of each class at random.

    Args:
        gold: Class of each example.
        shots: Number of examples of each class.
        seed: Seed of the draw; with the same one the smaller draw lies within the larger.

    Returns:
        Their numbers, rising.
    """
    seen: Counter[str] = Counter()
    kept = []
    for row in stratified_order(gold, seed):
        name = gold[int(row)]
        if seen[name] < shots:
            kept.append(int(row))
        seen[name] += 1
    return np.sort(np.asarray(kept, int))


def check_enough(task: Task, splits: Mapping[str, Any], most: int, names: Sequence[str]) -> None:
    """Make sure that each class has examples enough.

    Args:
        task: Task of the examples.
        splits: Splits of the study.
        most: Number of examples a class that is asked for.
        names: Splits that are drawn from.

    Raises:
        DataError: If a class has fewer.
    """
    for name in names:
        counts = Counter(task.gold(splits[name]))
        short = [f"{label} ({counts[label]})" for label in task.labels if counts[label] < most]
        if short:
            hint = " or take --validation none" if name == "validation" else ""
            raise DataError(
                f"--shots {most}: expected as many examples of each class in the {name} split, found fewer of "
                f"{listed(short)}. Lower --shots{hint}."
            )
