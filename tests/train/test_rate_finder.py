"""The range test: its choice on planted curves, and that it leaves nothing behind."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import command
from tiny import sentences

from nlptl.modes.base import parse_mode
from nlptl.tasks.classification import TextClassification
from nlptl.train import rate_finder
from nlptl.train.finetune import finetune
from nlptl.train.learner import Learner
from nlptl.train.rate_finder import choose_rate, find_rate
from nlptl.train.setup import FinetuneArgs, start_accelerator

RATES = np.geomspace(1e-6, 1.0, 100)
TASK = TextClassification(("no", "yes"))


def rows(count, seed):
    texts = sentences(count, seed)
    return Dataset.from_dict(
        {"text": texts, "label": ["yes" if "good" in t else "no" for t in texts]}
    )


TRAIN, OTHER, TEST = rows(32, 1), rows(24, 2), rows(12, 3)


def learner(checkpoint, mode, **changes):
    given = {"learning_rate": 2e-3, "epochs": 2.0, "batch_size": 8, **changes}
    args = FinetuneArgs(model=str(checkpoint), mode=parse_mode(mode), head="random", **given)
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    return Learner(TASK, args, accelerator).mode(args.mode)


def weights(made):
    return {name: p.detach().clone() for name, p in made.model.named_parameters()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def curve(middle, lowest, *, noise=0.0, seed=0):
    """A loss that falls from 1 to 0.2 around ``middle``, and explodes above ``lowest``."""
    fall = 0.8 / (1 + (RATES / middle) ** 1.5)
    drawn = noise * np.random.default_rng(seed).standard_normal(len(RATES))
    return 0.2 + fall + (RATES / lowest) ** 3 + drawn


@pytest.mark.parametrize("middle", [1e-5, 3e-4, 1e-2])
def test_the_choice_is_where_the_loss_falls_fastest(middle):
    assert choose_rate(RATES, curve(middle, 100 * middle)) == pytest.approx(middle, rel=0.35)


@pytest.mark.parametrize("seed", range(10))
def test_noise_moves_the_choice_by_less_than_a_factor_of_three(seed):
    found = choose_rate(RATES, curve(1e-3, 0.1, noise=0.08, seed=seed))
    assert found is not None and 1e-3 / 3 < found < 3e-3


def test_the_choice_stays_half_a_power_of_ten_below_the_minimum():
    """The loss falls right before it explodes."""
    losses = np.where(RATES < 1e-3, 1 - 300 * RATES, 5.0)
    found = choose_rate(RATES, losses)
    assert found is not None and 1e-4 < found < 3.5e-4


def test_scale_and_shift_of_the_loss_change_nothing():
    losses = curve(1e-4, 1e-2, noise=0.02)
    assert choose_rate(RATES, losses) == choose_rate(RATES, 1000 * losses + 7)


def test_what_follows_the_first_infinite_loss_is_not_looked_at():
    losses = curve(1e-4, 10.0)
    kept = losses.copy()
    kept[70:] = np.nan
    kept[71:] = -1e9
    assert choose_rate(RATES, kept) == choose_rate(RATES[:70], losses[:70])


@pytest.mark.parametrize(
    "losses",
    [
        np.linspace(1, 2, 100),
        np.full(100, np.nan),
        [1.0, 0.5, 0.1],
    ],
)
def test_a_loss_that_does_not_fall_gives_no_rate(losses):
    assert choose_rate(RATES, losses) is None


def test_noise_alone_seldom_gives_a_rate():
    drawn = 1 + 0.1 * np.random.default_rng(0).standard_normal((200, len(RATES)))
    assert sum(choose_rate(RATES, losses) is not None for losses in drawn) <= 6


def searched(checkpoint, mode="freeze-lower-1", train=TRAIN, **changes):
    made = learner(checkpoint, mode, **changes)
    stream = made.batches(train, seed=0)
    return made, find_rate(
        made.loss(), stream, args=made.args.plan(len(stream)), accelerator=made.accelerator
    )


def test_a_test_puts_weights_flags_gradients_and_random_numbers_back(checkpoints):
    made = learner(checkpoints["bert"], "freeze-lower-1")
    before, flags = weights(made), [m.training for m in made.model.modules()]
    stream, drawn = made.batches(TRAIN, seed=0), torch.get_rng_state()
    moved = []
    made.model.classifier.register_forward_hook(
        lambda module, given, output: moved.append(not same(before, weights(made)))
    )
    found = find_rate(
        made.loss(), stream, args=made.args.plan(len(stream)), accelerator=made.accelerator
    )
    assert moved[0] is False and moved[-1] is True  # it did train
    assert same(before, weights(made))
    assert flags == [m.training for m in made.model.modules()]
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(p.grad is None for p in made.model.parameters())
    assert len(found.rates) == len(found.losses) > 10


def test_the_same_seed_finds_the_same(checkpoints):
    one, two = (searched(checkpoints["bert"])[1] for _ in range(2))
    assert one.losses == two.losses and one.rate == two.rate
    assert one.rates[0] == rate_finder.LOWEST and np.all(np.diff(np.log(one.rates)) > 0)


def test_a_learned_task_has_a_rate_and_a_training_at_it_learns(checkpoints):
    _, found = searched(checkpoints["bert"], "full")
    assert found.rate is not None and 1e-5 < found.rate < 1e-1


def finished(checkpoint, splits, **changes):
    given = learner(checkpoint, "full", **changes).args
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    return finetune(TASK, splits, given, accelerator=accelerator)


def test_a_run_that_finds_its_rate_is_the_run_that_is_given_it(checkpoints):
    """And what stands in validation and test data changes nothing of the search."""
    splits = {"train": TRAIN, "validation": OTHER, "test": TEST}
    found = finished(checkpoints["bert"], splits, find_rate=True, epochs=1.0)
    rate = found.args.learning_rate
    assert rate == found.searches[0]["rate"] == found.settings["learning_rate"] != 2e-3
    given = finished(checkpoints["bert"], splits, learning_rate=rate, epochs=1.0)
    assert found.predictions == given.predictions and given.searches == []
    others = {"train": TRAIN, "validation": rows(16, 8), "test": rows(9, 9)}
    again = finished(checkpoints["bert"], others, find_rate=True, epochs=1.0)
    assert again.searches[0]["losses"] == found.searches[0]["losses"]


def test_the_mode_s_own_rate_is_kept_where_no_rate_helps(checkpoints, monkeypatch, capsys):
    monkeypatch.setattr(rate_finder, "choose_rate", lambda rates, losses: None)
    splits = {"train": TRAIN, "validation": OTHER, "test": TEST}
    found = finished(checkpoints["bert"], splits, find_rate=True, epochs=1.0)
    assert found.settings["learning_rate"] == 2e-3 and found.searches[0]["rate"] is None
    assert "no rate lowered the loss clearly" in capsys.readouterr().out


@pytest.mark.slow
def test_the_flag_is_recorded(checkpoints, reviews, tmp_path):
    done = command(
        *("recipes/sentiment.py", "--model", checkpoints["bert"], "--train-file", reviews),
        *("--learning-rate", "find", "--epochs", 1, "--output-dir", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run/result.json").read_text())
    (search,) = record["learning_rate_searches"]
    assert record["settings"]["find_rate"] and len(search["rates"]) == len(search["losses"])
    assert search["rate"] in (record["settings"]["learning_rate"], None)
    assert "learning_rate: find" in (tmp_path / "run/config.yaml").read_text()
