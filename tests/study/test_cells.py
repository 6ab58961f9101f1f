"""A study that was killed within a run goes on within it."""

import os
import time

import pytest
from datasets import Dataset
from launching import Killed
from tiny import sentences

from nlptl.errors import ConfigError
from nlptl.modes.base import parse_mode
from nlptl.runs.locking import NAME
from nlptl.study import cells
from nlptl.study.arms import ArmSpec
from nlptl.study.methods import FunctionMethod, get_method, goes_on
from nlptl.study.study import Study
from nlptl.tasks.classification import TextClassification
from nlptl.train.hooks import ProgressBar
from nlptl.train.intervals import Interval
from nlptl.train.setup import FinetuneArgs, new_accelerator

TASK = TextClassification(("no", "yes"))


@pytest.fixture(scope="module")
def splits():
    def rows(count, seed):
        texts = sentences(count, seed)
        labels = ["yes" if "good" in text else "no" for text in texts]
        return Dataset.from_dict({"text": texts, "label": labels})

    return {"train": rows(60, 1), "validation": rows(20, 2), "test": rows(30, 3)}


def one(model, splits, *, epochs, seed=0):
    """An arm of one run."""
    given = {"learning_rate": 1e-3, "batch_size": 10, "head": "random"}
    full = FinetuneArgs(model=str(model), mode=parse_mode("full"), epochs=epochs, **given)
    spec = ArmSpec(full)
    return Study(TASK, splits, {"one": spec}, (seed,)).run_one(spec, seed)


@pytest.fixture
def begins(monkeypatch):
    """The step that each training begins at; with ``begins.kill`` one is killed after that step."""

    class Begins(list):
        kill = 0

    found, start, step = Begins(), ProgressBar.on_start, ProgressBar.on_step

    def on_start(bar, state):
        found.append(state.step)
        start(bar, state)

    def on_step(bar, state):
        if state.step == found.kill:
            raise Killed
        return step(bar, state)

    monkeypatch.setattr(ProgressBar, "on_start", on_start)
    monkeypatch.setattr(ProgressBar, "on_step", on_step)
    monkeypatch.setattr("nlptl.study.study.EVERY", Interval(steps=1, ends=False))
    return found


def test_it_goes_on_at_the_step_and_ends_as_if_unbroken(
    checkpoints, splits, tmp_path, monkeypatch, begins
):
    model = checkpoints["bert"]
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "whole"))
    whole = one(model, splits, epochs=2)
    assert not [*cells.folder().iterdir()]  # nothing is left of a finished run
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "killed"))
    begins.kill = 9
    with pytest.raises(Killed):
        one(model, splits, epochs=2)
    (home,) = cells.folder().iterdir()
    assert home.stat().st_mode & 0o777 == 0o700 and not (home / NAME).exists()
    begins.kill = 0
    again = one(model, splits, epochs=2)
    assert begins == [0, 0, 8]
    assert (again.statistics, again.validation) == (whole.statistics, whole.validation)
    assert not home.exists()


def test_checkpoints_of_another_nlptl_are_left_aside(tmp_path):
    accelerator, homes = new_accelerator(), []

    def make(home=None):
        homes.append(home and sorted(path.name for path in home.iterdir()))
        if len(homes) < 3:
            raise ConfigError("written by an older version of nlptl")
        return "made"

    with pytest.raises(ConfigError):  # no checkpoint is to blame
        cells.going_on(make, tmp_path, accelerator, seed=0)
    (tmp_path / "step-0000001").mkdir()
    (tmp_path / NAME).touch()
    assert cells.going_on(make, tmp_path, accelerator, seed=0) == "made"
    assert homes == [[], [NAME, "step-0000001"], [NAME]]
    assert cells.going_on(make, None, accelerator, seed=0) == "made"


def test_two_sessions_do_not_share_checkpoints_and_old_ones_go(tmp_path, monkeypatch):
    from filelock import FileLock

    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path))
    accelerator = new_accelerator()
    for name in ("mine", "old"):
        (tmp_path / "unfinished" / name).mkdir(parents=True)
    long_ago = time.time() - 2 * cells.OLD
    os.utime(tmp_path / "unfinished/old", (long_ago, long_ago))
    other = FileLock(tmp_path / "unfinished/mine" / NAME)
    with other, cells.unfinished("mine", accelerator) as home:
        assert home is None
    assert (tmp_path / "unfinished/mine").exists()

    def broken(name, *folders):
        with cells.unfinished(name, accelerator) as home:
            for folder in folders:
                (home / folder).mkdir()
            raise Killed

    with pytest.raises(Killed):
        broken("mine", "step-1")
    assert (tmp_path / "unfinished/mine/step-1").exists()
    assert not (tmp_path / "unfinished/old").exists()
    with pytest.raises(Killed):
        broken("new")
    assert not (tmp_path / "unfinished/new").exists()  # nothing was in it


def test_methods_that_take_a_home_go_on():
    def plain(task, splits, args, *, accelerator):
        return accelerator

    def kept(task, splits, args, *, accelerator, home=None):
        return home

    assert goes_on(get_method("finetune")) and goes_on(FunctionMethod("kept", kept))
    assert not goes_on(FunctionMethod("plain", plain))
    assert FunctionMethod("kept", kept)(TASK, {}, None, accelerator=None, home=1) == 1
