"""Keep-best and early stopping, on scores written by hand."""

import torch
from accelerate import Accelerator
from torch import nn

from nlptl.engine.hooks import KeepBest
from nlptl.records import FitState


def walk(scores, losses=None, patience=None):
    """Give KeepBest one epoch a score; the model's weight is the epoch's number."""
    model = nn.Linear(1, 1, bias=False)
    losses = losses or [0.0] * len(scores)
    figures = iter([{"accuracy": s, "loss": x} for s, x in zip(scores, losses, strict=True)])
    keeper = KeepBest(lambda m: next(figures), "accuracy", Accelerator(cpu=True), patience=patience)
    state = FitState(model, None, len(scores), 1)
    for epoch in range(len(scores)):
        with torch.no_grad():
            model.weight.fill_(epoch)
        state.update = epoch + 1
        if keeper.on_epoch(state):
            break
    keeper.on_end(state)
    return int(model.weight.item()), len(keeper.history)


def test_the_best_epoch_comes_back():
    assert walk([0.5, 0.9, 0.7]) == (1, 3)


def test_ties_go_to_the_smaller_loss_then_to_the_earlier_epoch():
    assert walk([0.9, 0.9, 0.9], [0.3, 0.2, 0.2]) == (1, 3)


def test_patience_counts_epochs_without_a_better_score():
    assert walk([0.5, 0.4, 0.45, 0.9], patience=2) == (0, 3)
    assert walk([0.5, 0.4, 0.6, 0.5, 0.5, 0.9], patience=2) == (2, 5)
