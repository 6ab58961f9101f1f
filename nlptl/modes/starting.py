"""Modes that say where to start: from the checkpoint with its head as it is, or from random weights."""

from typing import Any

from nlptl.models.reuse import draw_again
from nlptl.modes.definition import Epochs, freeze, mode


@mode(
    "as-is",
    help="nothing: the checkpoint is scored with the head that it has",
    when="the checkpoint was trained for this task already",
    untrained=True,
    convex_start=False,
    epochs=Epochs(0, 0, 0),
    frozen=lambda depth: depth,
)
def as_is(model: Any) -> Any:
    """Freeze everything, the head included."""
    freeze(model)
    return model


@mode(
    "scratch",
    help="everything, from random weights",
    when="only to see what the pretraining was worth",
    trains_all=True,
    random=True,
    convex_start=False,  # on random states there is little to fit
)
def scratch(model: Any) -> Any:
    """Draw all weights as the model's own configuration says, and train them.

    The seed is that of torch's generator, which a run sets first, so that the weights are those of the
    transfer report's arm without pretraining (:func:`nlptl.models.reuse.draw_again`).
    """
    return draw_again(model)
