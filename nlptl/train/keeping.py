"""Validation scores of a learner's fits, and the fits that make no step."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nlptl.data.progress import doing
from nlptl.records import FitState
from nlptl.train.epoch_table import EpochTable
from nlptl.train.hooks import KeepBest
from nlptl.train.losses import Loss
from nlptl.train.terminal import say

if TYPE_CHECKING:
    from nlptl.train.learner import Learner


def log_losses(predictions: Sequence[Mapping[str, Any]]) -> list[float]:
    """List the log loss of each example of known class, in nats."""
    shares = [p["scores"][p["gold"]] for p in predictions if p["gold"] in p["scores"]]
    return [-math.log(max(share, sys.float_info.min)) for share in shares]


def keep_best(learner: "Learner", validation: Any, *, alone: bool = True) -> KeepBest:
    """Make the hook that scores a learner on validation data after each epoch, and chooses one of them.

    Args:
        learner: The learner.
        validation: Labelled table.
        alone: Whether its model is all that trains; if not, the weights of its own model are kept.
    """

    def score(model: Any) -> dict[str, Any]:
        with doing("validation"):
            predictions, loss = learner.judge(validation)
        found = {**learner.task.calibrate(predictions).score(predictions), "loss": loss}
        losses = log_losses(predictions) if learner.task.head_fit == "classes" else None
        return {**found, "losses": losses} if losses else found

    return KeepBest(
        score,
        learner.task.selection,
        learner.accelerator,
        from_start=learner.head_fitted,
        patience=learner.args.patience,
        table=EpochTable(learner.task.selection, learner.task.scale, say) if alone else None,
        model=None if alone else learner.model,
    )


def without_steps(
    learner: "Learner", loss: Loss, batches: int, keepers: Sequence[KeepBest]
) -> FitState:
    """Return the state of a training without steps, scored on validation data as epoch 0."""
    head = learner.head
    state = FitState(loss, {}, 0, batches, examples=head.examples if head else 0)
    state.clock.add(training=head.seconds if head else 0.0, scoring=0.0)
    for hook in keepers:
        table, hook.table = hook.table, None
        hook.from_start = True
        hook.on_start(state)
        learner.history, learner.best = hook.history, 0
        if table:
            say(table.alone(hook.history[0]))
    return state
