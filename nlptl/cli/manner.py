"""Flags about how to train that would have nothing to act on."""

import dataclasses
from collections.abc import Sequence
from math import ceil
from typing import Any, Literal

from nlptl.errors import Problems, listed
from nlptl.modes.base import SOME, Mode
from nlptl.tasks.base import Task
from nlptl.train.defaults import usual_head
from nlptl.train.optimizer import warmup_steps
from nlptl.train.setup import steps_for

#: Fields that say how the steps of a training are made, after the two whose defaults depend on the run.
OWN = ("epochs", "learning_rate")
STEPPING = (
    *("schedule", "warmup", "weight_decay", "max_grad_norm", "gradient_accumulation_steps"),
    "patience",
)


def asked_of_steps(config: Any, names: Sequence[str]) -> list[str]:
    """List the flags of some names that are not at their defaults."""
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    given = [n for n in names if n in fields and getattr(config, n) != fields[n]]
    return [f"--{name.replace('_', '-')}" for name in given]


def check_manner(config: Any, mode: Mode) -> None:
    """Make sure that each flag about how to train has something to act on in this mode.

    Raises:
        UserError: With all flags that have not.
    """
    problems, about = Problems(), mode.definition
    if about.untrained:
        for flag in asked_of_steps(config, OWN + STEPPING):
            problems.add(f"{flag}: --mode {mode.name} trains nothing. Leave it out.")
    if getattr(config, "layer_decay", 1) != 1 and not (mode.trains_blocks and mode.merges):
        problems.add(
            f"--layer-decay: --mode {mode.name} trains nothing in the blocks; expected a mode that does, "
            "such as full."
        )
    moving = [
        each.definition
        for each in [stage.mode for stage in mode.stages(SOME)] or [mode]
        if each.trains_blocks and not each.is_adapter and not each.definition.random
    ]
    mixed = any(each.matrices for each in moving)  # mixout is for weight matrices alone
    for name, what, acts in (
        ("l2_sp", "weight", bool(moving)),
        ("mixout", "weight matrix of a block", mixed),
    ):
        if getattr(config, name, 0) and not acts:
            problems.add(
                f"--{name.replace('_', '-')}: under --mode {mode.name} no pretrained {what} trains that "
                "could be kept close to what it was. Take a mode such as full."
            )
    if getattr(config, "head", None) not in (None, "random") and not about.convex_start:
        problems.add(
            f"--head {config.head}: the mode {mode.name} does not start from a fit. Leave the flag out."
        )
    problems.raise_if_any()


def head_of(config: Any, mode: Mode, task: Task) -> Literal["fit", "start", "random"]:
    """Return how a new head starts: as ``--head`` says, or by the usual way of mode and task."""
    by_gradient = config.epochs is not None or config.learning_rate is not None
    return config.head or usual_head(task, mode, by_gradient=by_gradient)


def check_without_steps(config: Any, mode: Mode, task: Task) -> None:
    """Make sure that no flag asks for a manner of steps where the head is fitted without any.

    Epochs and rate may be there: the ``config.yaml`` of such a run has those that training would have taken.

    Raises:
        UserError: If one does.
    """
    convex = task.head_fit is not None and mode.definition.convex_start
    if mode.trains_blocks or not convex or head_of(config, mode, task) != "fit":
        return
    problems = Problems()
    if asked := asked_of_steps(config, STEPPING):
        problems.add(
            f"{listed(asked)}: --mode {mode.name} fits its head in one go, without steps. Add --head start to "
            f"train it by steps from the fit, or leave {'the flag' if len(asked) == 1 else 'them'} out."
        )
    problems.raise_if_any()


def check_warmup(config: Any, mode: Mode, task: Task, examples: int) -> None:
    """Make sure that the warm-up of a training on whole texts ends before the training does.

    How many steps other training sets take shows when they are encoded; the training checks it then.

    Args:
        config: Configuration with its defaults filled in.
        mode: Its mode.
        task: Task of the run.
        examples: Number of training examples.

    Raises:
        ConfigError: If it does not.
    """
    fitted = config.head == "fit" and not mode.trains_blocks
    if fitted or mode.definition.untrained or not task.pooled or config.augment:
        return
    batches, together = ceil(examples / config.batch_size), config.gradient_accumulation_steps
    warmup_steps(config.warmup, steps_for(config.epochs, batches, together))
