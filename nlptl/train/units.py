"""Outputs of a regression in the numbers' own unit: what training counted in deviations goes into the head."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from nlptl.models.heads import scale_output

if TYPE_CHECKING:
    from nlptl.train.learner import Learner


def in_own_unit(learner: "Learner", table: Any) -> Any:
    """Let a model give numbers in their own unit, and return the task that reads them.

    The last layer's weights and biases are multiplied by the standard deviation, and the mean is added to the
    biases; so plain transformers reads the numbers from ``model/`` without knowing either. A layer without
    biases takes the deviation alone, and what is left stays with the task.

    Args:
        learner: Learner after its fit and its scores.
        table: Examples, of which one is looked at.

    Returns:
        The learner's task with a mean of 0 and a deviation of 1; the task as it was, if it has neither or no
        linear layer gives the outputs.
    """
    task = learner.task
    mean, deviation = getattr(task, "mean", 0.0), getattr(task, "deviation", 1.0)
    if task.head_fit != "numbers" or (mean, deviation) == (0.0, 1.0):
        return task
    _, _, read = learner.head_states(table.select([0]))
    if read is None or not hasattr(task, "deviation"):
        return task
    scale_output(read.output, deviation)
    if read.output.bias is None:
        return replace(task, deviation=1.0)
    with torch.no_grad():
        read.output.bias.add_(mean)
    return replace(task, mean=0.0, deviation=1.0)
