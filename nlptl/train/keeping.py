"""Validation scores of a learner's fits, and the fits that make no step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nlptl.records import FitState
from nlptl.train.hooks import KeepBest
from nlptl.train.losses import Loss
from nlptl.train.terminal import say

if TYPE_CHECKING:
    from nlptl.train.learner import Learner


def keep_best(learner: "Learner", validation: Any) -> KeepBest:
    """Make the hook that scores a learner on validation data after each epoch, and chooses one of them."""

    def score(model: Any) -> dict[str, float]:
        predictions, loss = learner.judge(validation)
        return {**learner.task.calibrate(predictions).score(predictions), "loss": loss}

    return KeepBest(
        score,
        learner.task.selection,
        learner.accelerator,
        from_start=learner.head_fitted,
        patience=learner.args.patience,
        report=say,
    )


def only_score(learner: "Learner", loss: Loss, validation: Any) -> FitState:
    """Score a model that does not train on validation data, as epoch 0."""
    state = FitState(loss, {}, 0, 1)
    learner.identity = loss.identity()
    if validation is not None:
        keeper = keep_best(learner, validation)
        keeper.from_start = True
        keeper.on_start(state)
        learner.history = keeper.history
    return state


def fit_alone(
    learner: "Learner", loss: Loss, batches: int, keepers: Sequence[KeepBest]
) -> FitState:
    """Return the state of a training that is the convex fit alone, scored on validation data."""
    assert learner.head is not None
    state = FitState(loss, {}, 0, batches, examples=learner.head.examples)
    state.clock.add(training=learner.head.seconds, scoring=0.0)
    for hook in keepers:
        hook.on_start(state)
        learner.history, learner.best = hook.history, 0
    return state
