"""Keep-best and early stopping, on scores written by hand."""

import math
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from test_learner import TRAIN, learner

from nlptl.records import FitState
from nlptl.train.hooks import EvaluateEvery, KeepBest, Quiet


def walk(scores, errors=None, patience=None, losses=None):
    """Give KeepBest one epoch a score; the model's weight is the epoch's number."""
    model = nn.Linear(1, 1, bias=False)
    losses = losses or [0.0] * len(scores)
    lines = [{"accuracy": s, "loss": loss} for s, loss in zip(scores, losses, strict=True)]
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


def test_the_loss_chooses_among_epochs_that_the_metric_cannot_tell_apart():
    errors, losses = [0.025] * 4, [0.5, 0.4, 0.6, 0.5]
    assert walk([0.80, 0.80, 0.84, 0.83], errors, losses=losses) == (1, 4)
    assert walk([0.80, 0.80, 0.86, 0.83], errors, losses=losses) == (3, 4)  # 0.86 is told apart
    assert walk([0.80, 0.70, 0.80, 0.80], errors, losses=losses) == (3, 4)  # 0.70 is worse
    assert walk([0.5, 0.9, 0.86], [math.nan] * 3) == (1, 3)  # one group: no error is known


def test_the_model_before_the_first_step_may_be_kept():
    model = nn.Linear(1, 1, bias=False)
    figures = iter([{"accuracy": 0.8, "loss": 0.4}, {"accuracy": 0.7, "loss": 0.5}])
    keeper = KeepBest(lambda m: next(figures), "accuracy", Accelerator(cpu=True), from_start=True)
    state, start = FitState(model, None, 1, 1), model.weight.item()
    keeper.on_start(state)
    state.step = 1
    with torch.no_grad():
        model.weight.fill_(9.0)
    keeper.on_epoch(state)
    keeper.on_end(state)
    assert model.weight.item() == start
    assert [line["epoch"] for line in keeper.history] == [0, 1]
    assert keeper.history[0]["train_loss"] is None


def test_the_start_is_left_for_a_loss_that_is_lower_by_more_than_an_error():
    def chosen(*later):
        lines = [{"loss": 0.5, "losses": [0.4, 0.6, 0.4, 0.6]}]
        lines += [{"loss": sum(losses) / 4, "losses": losses} for losses in later]
        figures = iter([{"accuracy": 0.7, "accuracy_se": 0.2, **line} for line in lines])
        keeper = KeepBest(
            lambda m: next(figures), "accuracy", Accelerator(cpu=True), from_start=True
        )
        state = FitState(nn.Linear(1, 1), None, 2, 1)
        keeper.on_start(state)
        for step in range(1, len(lines)):
            state.step = step
            keeper.on_epoch(state)
        assert "validation_losses" not in keeper.history[0]
        return keeper.best

    clear, unclear = [0.3, 0.5, 0.3, 0.5], [0.1, 0.8, 0.1, 0.9]  # -0.1 ± 0; -0.025 ± 0.17
    assert chosen(clear) == 1 and chosen(unclear) == 0
    assert chosen(unclear, clear) == 2
    assert (
        chosen(clear, [0.1, 0.6, 0.1, 0.7]) == 2
    )  # 0.375 < 0.4: among later epochs any difference


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


def test_scores_of_a_pretraining_are_printed_below_one_another(tmp_path):
    said = []
    hook = EvaluateEvery(
        lambda m: {"loss": 1.5},
        tmp_path / "log.jsonl",
        Accelerator(cpu=True),
        every=1000,
        report=said.append,
    )
    state = FitState(nn.Linear(1, 1), None, 1000, 1)
    hook.on_start(state)
    state.step, state.loss = 1000, 2.0
    hook.on_step(state)
    assert said[0] == "step     0 of 1,000  held-out loss 1.5000"
    assert said[1].startswith("step 1,000 of 1,000  held-out loss 1.5000  train loss 2.0000  ")


def test_a_hook_that_reads_the_loss_gets_that_of_its_step(checkpoints):
    """Eight steps: without being asked for, the loss is read at the first one and at the ends of epochs."""

    class Losses(Quiet):
        def __init__(self, asks):
            self.asks, self.seen = asks, []

        def reads(self, state):
            return self.asks

        def on_step(self, state):
            self.seen.append(state.loss)
            return False

    seen = []
    for asks in (False, True):
        made = learner(checkpoints["bert"], "full")
        hook = Losses(asks)
        made.fit(TRAIN, hooks=[hook])
        seen.append(hook.seen)
    assert [len(set(each)) for each in seen] == [3, 8]
    assert sum(seen[1][4:]) / 4 == pytest.approx(seen[0][-1], rel=1e-5)  # steps 5 to 8 together
