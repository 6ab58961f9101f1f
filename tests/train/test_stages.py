"""Modes with stages: each stage trains what its mode says; a killed run goes on in the stage where it was."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from doors import Wish
from test_learner import OTHER, TASK, TEST, TRAIN, Killed, learner, same, weights

from nlptl.errors import UserError
from nlptl.models.adapters import merge_adapter
from nlptl.models.layer_map import layer_map
from nlptl.modes.base import Stage, parse_mode
from nlptl.modes.definition import MODES, mode
from nlptl.train.finetune import finetune
from nlptl.train.hooks import Quiet
from nlptl.train.losses import Plus
from nlptl.train.setup import start_accelerator


@pytest.fixture(autouse=True)
def staged():
    """Head first, then the upper block too, then all: shares 1, 1 and 2 of the steps."""

    @mode("try-gradual", help="the head, then more and more", staged=True)
    def gradual():
        names = (("head-only", 1, 1.0), ("freeze-lower-2", 1, 0.5), ("full", 2, 0.25))
        return [Stage(parse_mode(name), share, rate) for name, share, rate in names]

    yield
    MODES.things.pop("try-gradual")


class Watch(Quiet):
    """Which blocks train and drop out at each step."""

    def __init__(self, made):
        self.made, self.seen = made, []

    def on_step(self, state):
        blocks = layer_map(self.made.model).blocks
        trains = [any(p.requires_grad for p in block.parameters()) for block in blocks]
        drops = [all(m.training for m in block.modules()) for block in blocks]
        assert trains == drops
        self.seen.append((sum(trains), state.learning_rate))
        return False


def test_each_stage_trains_what_its_mode_says_at_its_own_rate(checkpoints):
    """16 steps: 4, 4 and 8; no warm-up, so that the first rate of each stage is its peak."""
    made = learner(checkpoints["bert"], "try-gradual", epochs=4.0, head="start", warmup=0.0)
    watch = Watch(made)
    state = made.fit(TRAIN, validation=OTHER, hooks=[watch])
    assert [blocks for blocks, _ in watch.seen] == [0] * 4 + [1] * 4 + [3] * 8
    peaks = [watch.seen[i][1] for i in (0, 4, 8)]
    assert peaks == pytest.approx([2e-3, 1e-3, 5e-4])
    assert state.step == 16 and state.lr_history == [rate for _, rate in watch.seen]
    assert state.examples == 16 * 8
    assert [line["stage"] for line in made.history] == [1, 1, 2, 2, 3, 3, 3]
    assert made.current.name == "try-gradual" and made.best in (4, 5, 6)


@pytest.mark.parametrize(
    "killed_at",
    [
        pytest.param((0, 4), marks=pytest.mark.slow),
        (1, 2),
        pytest.param((2, 1), marks=pytest.mark.slow),
        pytest.param((2, 6), marks=pytest.mark.slow),
    ],
)
def test_killed_in_any_stage_it_ends_with_the_same_bits(checkpoints, tmp_path, killed_at):
    def run(home, *, kill=None, resume=False):
        made = learner(checkpoints["bert"], "try-gradual", epochs=4.0, head="start")

        class Kill(Quiet):
            stage = -1

            def on_start(self, state):
                self.stage += 1

            def on_step(self, state):
                if kill == (self.stage, state.step):
                    raise Killed
                return False

        watch = Kill()
        state = made.fit(TRAIN, validation=OTHER, hooks=[watch], home=home, resume=resume)
        return made, state, watch.stage + 1

    whole, state, started = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", kill=killed_at)
    again, _, went_on = run(tmp_path / "b", resume=True)
    assert (started, went_on) == (3, 3 - killed_at[0])  # what a finished stage left is read
    assert same(weights(whole), weights(again))
    assert whole.history == again.history and whole.best == again.best
    done, read, none = run(tmp_path / "b", resume=True)  # nothing is left to do
    assert same(weights(whole), weights(done)) and done.history == whole.history and none == 0
    assert (read.step, read.examples, done.flops) == (16, 16 * 8, pytest.approx(whole.flops))
    assert read.lr_history == state.lr_history
    records = [json.loads(path.read_text("utf-8")) for path in tmp_path.glob("b/stage-*/done.json")]
    seconds = [sum(record["seconds"][i] for record in records) for i in (0, 1)]
    assert read.clock.scoring == pytest.approx(seconds[1])
    assert seconds[0] <= read.clock.training < seconds[0] + 0.5  # the clock goes on after the fit


def test_finetune_goes_through_the_stages(checkpoints, tmp_path):
    made = learner(checkpoints["bert"], "try-gradual", epochs=4.0, head="start")
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    splits = {"train": TRAIN, "validation": OTHER, "test": TEST}
    run = finetune(TASK, splits, made.args, accelerator=accelerator, checkpoint_dir=tmp_path)
    made.fit(TRAIN, validation=OTHER)
    assert same(weights(made), dict(run.model.named_parameters()))
    kept = ({key: one[key] for key in made.predict(TEST)[0]} for one in run.predictions)
    assert made.predict(TEST) == list(kept)
    assert [line["stage"] for line in run.history] == [1, 1, 2, 2, 3, 3, 3]
    assert run.flops == pytest.approx(made.flops) and len(run.lr_history) == 16
    assert sorted(p.name for p in tmp_path.glob("stage-*")) == ["stage-0", "stage-1", "stage-2"]


@pytest.fixture
def through_lora():
    """The head, adapters above the lowest block, then everything: what the adapters learned is merged."""

    @mode("try-lora", help="the head, then adapters, then all", staged=True)
    def stages():
        names = ("head-only", "lora-r2-above-1", "full")
        return [
            Stage(parse_mode(name), share) for name, share in zip(names, (1, 1, 2), strict=True)
        ]

    yield
    MODES.things.pop("try-lora")


def test_stages_are_fits_one_after_the_other(checkpoints, family, through_lora):
    """Of 16 steps 4, 4 and 8, as three fits by hand on one model."""
    made = learner(checkpoints[family], "try-lora", epochs=4.0, head="start")
    rates = made.fit(TRAIN).lr_history
    by_hand, found = learner(checkpoints[family], "head-only", epochs=4.0, head="start"), []
    flops = 0.0
    for epoch, (name, steps) in enumerate([("head-only", 4), ("lora-r2-above-1", 4), ("full", 8)]):
        torch.manual_seed(0)
        by_hand.model = merge_adapter(by_hand.model)
        by_hand.mode(parse_mode(name))
        plan = replace(by_hand.args.plan(4), steps=steps, first_epoch=epoch)
        found += by_hand.fit(TRAIN, plan=plan).lr_history
        flops += by_hand.flops
    assert rates == found and len(rates) == 16 and made.flops == pytest.approx(flops)
    assert same(weights(made), weights(by_hand))
    assert set(weights(made)) == set(weights(learner(checkpoints[family], "full")))
    assert all(p.requires_grad for p in made.model.parameters())


def test_every_stage_trains_on_the_loss_that_was_asked_for(checkpoints):
    asked = []

    def wish(made):
        asked.append(made.current.name)
        return Plus(made.loss(), Wish(torch.zeros(32)), name="wish")

    made = learner(checkpoints["bert"], "try-gradual", epochs=4.0, head="start")
    made.fit(TRAIN, loss=wish, validation=OTHER)
    assert asked == ["head-only", "freeze-lower-2", "full"]
    assert [line["stage"] for line in made.history if "train_wish" in line] == [1, 2, 3, 3]


def test_a_stage_of_lora_begins_alike_where_the_stage_before_is_read(
    checkpoints, tmp_path, through_lora
):
    """Its matrices are drawn when the mode is set: from the seed, not from where the stage before ended."""
    whole = learner(checkpoints["bert"], "try-lora", epochs=4.0)
    whole.fit(TRAIN, home=tmp_path / "a")

    class Kill(Quiet):
        def on_step(self, state):
            if "lora" in next(n for n, p in killed.model.named_parameters() if p.requires_grad):
                raise Killed  # before the stage has a checkpoint
            return False

    killed = learner(checkpoints["bert"], "try-lora", epochs=4.0)
    with pytest.raises(Killed):
        killed.fit(TRAIN, home=tmp_path / "b", hooks=[Kill()])
    again = learner(checkpoints["bert"], "try-lora", epochs=4.0)
    again.fit(TRAIN, home=tmp_path / "b", resume=True)
    assert same(weights(whole), weights(again))


def test_pretraining_refuses_stages(tmp_path):
    from nlptl.cli.config import PretrainConfig
    from nlptl.cli.pretrain import prepare_pretraining

    config = PretrainConfig(model="bundled/bert", mode="try-gradual", output_dir=tmp_path / "out")
    with pytest.raises(
        UserError, match="its stages are for fine-tuning; pretrain in one mode, such as full"
    ):
        prepare_pretraining(config)
