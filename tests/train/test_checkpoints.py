"""Kill and resume: the same weights as without the kill, bit for bit; damage is survived."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from accelerate import Accelerator
from launching import KillAt, Killed
from torch import nn

from nlptl.data.batching import LengthBatches
from nlptl.data.files import seal_folder
from nlptl.errors import ConfigError, RunError
from nlptl.records import FitState, Sums
from nlptl.train import checkpoints, saving
from nlptl.train.hooks import KeepBest, Quiet
from nlptl.train.intervals import Interval, interval_of
from nlptl.train.losses import Loss
from nlptl.train.setup import TrainArgs, train


def collate(features, rng):
    x = torch.stack([f["x"] for f in features])
    noise = torch.from_numpy(rng.standard_normal(x.shape).astype("float32"))
    return {"x": x + 0.1 * noise, "y": torch.stack([f["y"] for f in features])}


class SquaredError(Loss):
    def forward(self, x, y):
        loss = nn.functional.mse_loss(self.model(x), y)
        return {"loss": loss, "size": len(x), "outputs": {}, "terms": {"task": loss}}


def run(directory, *, hooks=(), resume=False, every=2, seed=0, about=None):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    data = torch.Generator().manual_seed(1)
    rows = [
        {"x": torch.randn(4, generator=data), "y": torch.randn(1, generator=data)}
        for _ in range(23)
    ]
    batches = LengthBatches(rows, list(range(1, 24)), collate, batch_size=4, seed=5)
    accelerator = Accelerator(cpu=True)
    keeper = KeepBest(
        lambda m: {"score": -float(m.model[0].weight.detach().abs().sum()), "loss": 0.0},
        "score",
        accelerator,
    )
    state = train(
        SquaredError(model),
        batches,
        args=TrainArgs(steps=15, learning_rate=0.05, gradient_accumulation_steps=1),
        accelerator=accelerator,
        hooks=[keeper, *hooks],
        checkpoint_dir=directory,
        checkpoint_every=every,
        resume=resume,
        about=about,
    )
    return model, state, keeper


@pytest.mark.parametrize("killed_at", [1, 5, 6, 7, 14])
def test_resumed_weights_are_bit_equal(tmp_path, killed_at):
    """Six steps an epoch: before the first checkpoint, inside an epoch, at its end, and late."""
    whole, state, keeper = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", hooks=[KillAt(killed_at)])
    seed = 99 if killed_at > 1 else 0  # before the first checkpoint, the run starts anew
    again, other, kept = run(tmp_path / "b", resume=True, seed=seed)
    assert kept.history == keeper.history and kept.best == keeper.best
    for one, two in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    assert state.lr_history == other.lr_history and state.examples == other.examples


class Rank:
    """One of two processes, in a thread."""

    num_processes, mixed_precision, scaler = 2, "no", None

    def __init__(self, number, barrier):
        self.process_index, self.is_main_process = number, not number
        self.wait_for_everyone = barrier.wait

    def unwrap_model(self, model):
        return model


def test_each_process_takes_back_its_own_sums(tmp_path):
    """With the first one's for all, the training loss after a resume was wrong; the weights were right."""
    barrier, model = Barrier(2, timeout=60), nn.Linear(2, 1)
    ranks = [Rank(number, barrier) for number in (0, 1)]
    own = [Sums(loss=3.0, size=2.0, batches=1), Sums(torch.tensor(5.0), 4.0, 0.5, 2, {"a": 1.0})]
    given = {"schedules": [], "memories": {}}

    def write(number):
        state = FitState(model, {}, 4, 2)
        state.step, state.sums = 1, own[number]
        return checkpoints.save(tmp_path, state=state, accelerator=ranks[number], **given)

    with ThreadPoolExecutor(2) as pool:
        path, other = pool.map(write, (0, 1))
    assert path == other == checkpoints.newest(tmp_path)
    for rank, sums in zip(ranks, own, strict=True):
        state = FitState(model, {}, 4, 2)
        checkpoints.restore(path, state=state, accelerator=rank, **given)
        assert state.step == 1 and state.sums == sums


def flip(file):
    """Change one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "flipped": flip,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
    "other": lambda file: file.write_text("{}"),
}
FILES = ("weights", "optimizer", "random-0", "hooks")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage, capsys):
    """Each file of the newest checkpoint in turn: the run goes on from the one before, to the same weights."""
    whole, *_ = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", hooks=[KillAt(9)])
    names = [f"{name}.safetensors" for name in FILES] + ["sums-0.json", "state.json", "files.json"]
    for name in names:
        home = tmp_path / name
        shutil.copytree(tmp_path / "killed", home)
        older, newer = sorted(home.glob("step-*"))
        assert sorted(path.name for path in newer.iterdir()) == sorted(names)
        DAMAGES[damage](newer / name)
        assert checkpoints.newest(home) == older
        assert f"{newer} is damaged" in capsys.readouterr().out
        again, *_ = run(home, resume=True, seed=99)
        for one, two in zip(whole.parameters(), again.parameters(), strict=True):
            assert torch.equal(one, two)
    DAMAGES[damage](sorted((tmp_path / "killed").glob("step-*"))[0] / "state.json")
    DAMAGES[damage](sorted((tmp_path / "killed").glob("step-*"))[1] / "state.json")
    assert checkpoints.newest(tmp_path / "killed") is None


def test_data_and_labels_of_a_resumed_run_are_those_of_its_checkpoint(tmp_path):
    about = {"labels": ["neg", "pos"], "data": "1a"}
    with pytest.raises(Killed):
        run(tmp_path, hooks=[KillAt(9)], about=about)
    with pytest.raises(ConfigError, match="the data have changed since the checkpoint"):
        run(tmp_path, resume=True, about={**about, "data": "2b"})
    with pytest.raises(ConfigError, match="has the labels neg, pos; now they are a, b"):
        run(tmp_path, resume=True, about={**about, "labels": ["a", "b"]})
    run(tmp_path, resume=True, about=about)


@pytest.mark.parametrize(
    ("every", "expected"),
    [(200, Interval(steps=200)), ("200", Interval(steps=200)), ("2.5m", Interval(seconds=150.0))],
)
def test_intervals_are_steps_or_minutes(every, expected):
    assert interval_of(every) == expected


@pytest.mark.parametrize("every", [0, -1, "0m", "m", "10s", "ten", "nanm", "infm", "1.5", ""])
def test_other_intervals_are_refused(every):
    with pytest.raises(ConfigError, match="expected a number of steps above 0, or minutes"):
        interval_of(every)


def test_minutes_between_checkpoints_are_counted(tmp_path, monkeypatch):
    """The clock gains 4 seconds a step: a checkpoint every 3 steps for 10 seconds, and at ends of epochs."""
    written, clock = [], [0.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        checkpoints, "save", lambda *args, state, **rest: written.append(state.step)
    )

    class Clock(Quiet):
        def on_step(self, state):
            clock[0] += 4
            return False

    run(tmp_path, hooks=[Clock()], every=f"{10 / 60}m")
    assert written == [3, 6, 6, 9, 12, 12, 15, 15]


def test_only_the_newest_two_are_kept_and_nothing_half_written(tmp_path):
    run(tmp_path)
    # The last one of 15 steps lies between training and what is saved after it.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000014", "step-0000015"]


def test_another_model_is_refused(tmp_path):
    run(tmp_path)
    tensors = checkpoints.trainable_state(nn.Linear(4, 8))
    with pytest.raises(RunError, match="does not fit the model"):
        checkpoints.load_trainable_state(nn.Linear(4, 8, bias=False), tensors)


class StopAfter(Quiet):
    """Asks to stop at the end of the second epoch."""

    def __init__(self):
        self.epochs = 0

    def on_epoch(self, state):
        self.epochs += 1
        return self.epochs == 2


def test_resumed_after_it_stopped_early_it_trains_no_further(tmp_path):
    """Killed while the test set is scored: training is over, and stays so."""
    stopped, state, keeper = run(tmp_path, hooks=[StopAfter()], every=None)
    assert state.step == 12 and state.stopped
    again, other, kept = run(tmp_path, resume=True, every=None)
    assert other.step == 12 and kept.history == keeper.history
    for one, two in zip(stopped.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def killed(directory, **changes):
    """Kill a run after its checkpoint of step 8; change or, with None, drop what that one holds."""
    with pytest.raises(Killed):
        run(directory, hooks=[KillAt(9)])
    file = directory / "step-0000008/state.json"
    before = json.loads(file.read_text())
    after = {**before, **changes}
    file.write_text(json.dumps({key: value for key, value in after.items() if value is not None}))
    seal_folder(file.parent)
    return before


def test_time_counts_over_all_sessions_and_so_do_the_examples_of_its_speed(tmp_path):
    before = killed(tmp_path, seconds={"training": 1000.0, "scoring": 50.0})
    assert 0 < before["seconds"]["training"] < 60 and before["seconds"]["scoring"] > 0
    _, state, _ = run(tmp_path, resume=True)
    assert 1000 < state.clock.training < 1060 and 50 < state.clock.scoring < 60


@pytest.mark.parametrize(
    ("launch", "then", "start"),
    [
        (
            {"processes": 2, "mixed_precision": "no"},
            "by 2 processes in mixed precision 'no'",
            "nlptl run NAME … --precision fp32 --processes 2 --resume)",
        ),
        (
            {"processes": 1, "mixed_precision": "bf16"},
            "by 1 process in mixed precision 'bf16'",
            "nlptl run NAME … --precision bf16 --resume)",
        ),
    ],
)
def test_another_launch_is_refused(tmp_path, launch, then, start):
    before = killed(tmp_path, launch=launch)
    assert before["launch"] == {"processes": 1, "mixed_precision": "no"}
    with pytest.raises(ConfigError) as caught:
        run(tmp_path, resume=True)
    message = str(caught.value)
    assert f"step-0000008 was written {then}; now it is 1 process in mixed prec" in message
    assert f"Launch it as before ({start}" in message


def test_a_checkpoint_of_an_older_version_is_refused(tmp_path):
    killed(tmp_path, launch=None)
    with pytest.raises(ConfigError, match="written by an older version of nlptl.*Start again"):
        run(tmp_path, resume=True)


class Counter(Quiet):
    """Remembers how many steps it saw, in JSON and in a tensor."""

    def __init__(self):
        self.steps, self.rates = 0, torch.zeros(15)

    def on_step(self, state):
        self.rates[self.steps] = state.learning_rate
        self.steps += 1
        return False

    def memory(self):
        return {"steps": self.steps}, {"rates": self.rates}

    def remember(self, values, tensors):
        self.steps, self.rates = values["steps"], tensors["rates"]


def test_every_hook_with_a_memory_is_in_the_checkpoint(tmp_path):
    """Behind the one that keeps the best, and two of one class."""
    whole = Counter(), Counter()
    _, state, _ = run(tmp_path / "a", hooks=whole)
    with pytest.raises(Killed):
        run(tmp_path / "b", hooks=[Counter(), Counter(), KillAt(9)])
    again = Counter(), Counter()
    run(tmp_path / "b", hooks=again, resume=True)
    for one, two in zip(whole, again, strict=True):
        assert one.steps == two.steps == 15 and torch.equal(one.rates, two.rates)
    assert whole[0].rates.tolist() == pytest.approx(state.lr_history)


def test_other_hooks_are_refused(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, hooks=[Counter(), KillAt(9)])
    with pytest.raises(ConfigError, match="holds the memory of the hooks Counter, KeepBest; now"):
        run(tmp_path, resume=True)
