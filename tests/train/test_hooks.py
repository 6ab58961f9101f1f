"""Keep-best and early stopping, on scores written by hand."""

import math
import time

import torch
from accelerate import Accelerator
from torch import nn

from nlptl.records import FitState
from nlptl.train.hooks import EvaluateEvery, KeepBest


def walk(scores, errors=None, patience=None):
    """Give KeepBest one epoch a score; the model's weight is the epoch's number."""
    model = nn.Linear(1, 1, bias=False)
    lines = [{"accuracy": score, "loss": 0.0} for score in scores]
    for line, error in zip(lines, errors or [], strict=False):
        line["accuracy_se"] = error
    figures = iter(lines)
    keeper = KeepBest(lambda m: next(figures), "accuracy", Accelerator(cpu=True), patience=patience)
    state = FitState(model, None, len(scores), 1)
    for epoch in range(len(scores)):
        with torch.no_grad():
            model.weight.fill_(epoch)
        state.step = epoch + 1
        if keeper.on_epoch(state):
            break
    keeper.on_end(state)
    assert keeper.best == model.weight.item()
    return keeper.best, len(keeper.history)


def test_the_best_epoch_comes_back():
    assert walk([0.5, 0.9, 0.7]) == (1, 3)


def test_ties_go_to_the_later_epoch():
    assert walk([0.9, 0.8, 0.9, 0.8]) == (2, 4)


def test_the_latest_epoch_within_one_standard_error_of_the_best():
    errors = [0.1, 0.05, 0.2, 0.2]
    assert walk([0.5, 0.9, 0.86, 0.7], errors) == (2, 4)  # 0.9 - 0.05, the best one's own error
    assert walk([0.5, 0.9, 0.84, 0.7], errors) == (1, 4)
    assert walk([0.88, 0.9, 0.8, 0.86], errors) == (3, 4)
    assert walk([0.5, 0.9, 0.86], [math.nan] * 3) == (1, 3)  # one group: no error is known


def test_patience_counts_epochs_without_a_better_score():
    assert walk([0.5, 0.4, 0.45, 0.9], patience=2) == (0, 3)
    assert walk([0.5, 0.4, 0.6, 0.5, 0.5, 0.9], patience=2) == (2, 5)
    assert walk([0.6, 0.5, 0.6, 0.9], [0.2] * 4, patience=2) == (2, 3)  # as good is not better


def test_a_figure_that_is_not_known_is_null_in_the_log(tmp_path):
    """One batch of held-out text has no standard error; nan is no JSON."""
    log = tmp_path / "log.jsonl"
    figures = {"loss": 1.5, "se": math.nan}
    hook = EvaluateEvery(lambda m: figures, log, Accelerator(cpu=True), every=1)
    hook.on_start(FitState(nn.Linear(1, 1), None, 1, 1))
    assert log.read_text() == '{"step": 0, "examples": 0, "loss": 1.5, "se": null}\n'


def test_scoring_is_no_training(tmp_path):
    def slow(model):
        time.sleep(0.2)
        return {"loss": 1.0, "accuracy": 0.5}

    began = time.perf_counter()
    state = FitState(nn.Linear(1, 1), None, 1, 1)
    accelerator = Accelerator(cpu=True)
    EvaluateEvery(slow, tmp_path / "log.jsonl", accelerator, every=1).on_start(state)
    KeepBest(slow, "accuracy", accelerator).on_epoch(state)
    assert state.clock.scoring >= 0.4
    assert state.clock.training <= time.perf_counter() - began - 0.4
