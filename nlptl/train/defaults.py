"""Default values of a fine-tuning, which depend on its mode, its checkpoint and the number of examples."""

from dataclasses import replace
from typing import Any, Literal

from nlptl.models.loading import trained_config
from nlptl.modes.base import Mode, default_learning_rate
from nlptl.tasks.base import Task
from nlptl.train.setup import FinetuneArgs

HeadKind = Literal["fit", "start", "random"]


def usual_head(task: Task, mode: Mode, *, by_gradient: bool = False) -> HeadKind:
    """Choose the start of a new head: a convex fit wherever there is one.

    Args:
        task: Task of the examples.
        mode: What trains.
        by_gradient: Whether the user gave epochs or a rate; a mode that trains the head alone then trains it
            by gradient, from the fit.
    """
    if task.head_fit is None or not mode.definition.convex_start:
        return "random"
    return "start" if by_gradient and not mode.trains_blocks else "fit"


def usual_values(
    asked: Any, *, mode: Mode, task: Task, head: str, model: Any, examples: int
) -> dict[str, float]:
    """Return the default of each value that was left at None.

    Args:
        asked: Object with ``learning_rate``, ``epochs`` and ``batch_size``.
        mode: What trains; of one that trains nothing there are no defaults.
        task: Task of the examples.
        head: How the head starts.
        model: Configuration of the checkpoint.
        examples: Number of training examples.
    """
    if mode.definition.untrained:
        return {}
    found: dict[str, float] = {}
    if asked.learning_rate is None:
        found["learning_rate"] = default_learning_rate(mode, model)
    if asked.epochs is None:
        fitted = head != "random" and usual_head(task, mode) != "random"
        found["epochs"] = mode.default_epochs(examples, asked.batch_size, fitted=fitted)
    return found


def fill_defaults(args: FinetuneArgs, task: Task, examples: int) -> FinetuneArgs:
    """Fill in the learning rate and the epochs that a program left out, as the recipes do.

    Args:
        args: Arguments; those with a rate and epochs are returned as they are.
        task: Task of the examples.
        examples: Number of training examples.
    """
    if args.learning_rate is not None and args.epochs is not None:
        return args
    if args.mode.definition.untrained:
        return replace(args, learning_rate=args.learning_rate or 0.0, epochs=args.epochs or 0.0)
    model = trained_config(args.model, args.pooling)
    values = usual_values(
        args, mode=args.mode, task=task, head=args.head, model=model, examples=examples
    )
    return replace(args, **values)


def fill_learner(learner: Any, data: Any) -> None:
    """Fill in what a learner's arguments leave out, for its first training set.

    Args:
        learner: A :class:`nlptl.train.learner.Learner`.
        data: A table, or batches; None does nothing.
    """
    if data is not None:
        size = len(data) * (learner.args.batch_size if hasattr(data, "epoch") else 1)
        learner.args = fill_defaults(learner.args, learner.task, size)
