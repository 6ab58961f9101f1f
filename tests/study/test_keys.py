"""Keys of kept outcomes: by what is computed, not by what it is called."""

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial

import pytest

from nlptl.modes.base import parse_mode
from nlptl.study.methods import (
    FINETUNE,
    Finetune,
    FunctionMethod,
    get_method,
    identity_of,
    register_method,
)
from nlptl.study.outcomes import outcome_key
from nlptl.tasks.classification import TextClassification
from nlptl.train.setup import FinetuneArgs

TASK = TextClassification(("no", "yes"))
ARGS = FinetuneArgs(model="m", mode=parse_mode("lora-r4"), learning_rate=1e-3, epochs=2)


def key(task=TASK, args=ARGS, method=FINETUNE):
    return outcome_key("start", task, "data", args, method=method, processes=1, device="cpu")


def mine(weight):
    """A class of one name, whose loss differs by what it holds, and by its code."""

    @dataclass(frozen=True)
    class Mine(TextClassification):
        def loss(self, outputs, inputs):
            loss, size = super().loss(outputs, inputs)
            return weight * loss, size

    return Mine(("no", "yes"))


def mine_too():
    @dataclass(frozen=True)
    class Mine(TextClassification):
        def loss(self, outputs, inputs):
            loss, size = super().loss(outputs, inputs)
            return loss**2, size

    return Mine(("no", "yes"))


def test_tasks_of_one_name_with_other_losses_have_other_keys():
    assert len({key(), *(key(task=task) for task in (mine(1), mine(2), mine_too()))}) == 4
    assert key(task=mine(2)) == key(task=mine(2))
    assert key(task=replace(TASK, labels=("a", "b"))) != key()


def twofold(learner, weight=2.0):
    return learner, weight


def threefold(learner, weight=2.0):
    return learner, weight, weight


class Coral:
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, learner):
        return learner

    def identity(self):
        return f"coral {self.weight}"


def holding(thing):
    return lambda learner: (learner, thing)


def test_a_loss_is_part_of_the_key():
    losses = [
        *(twofold, threefold, partial(twofold, weight=3.0), partial(twofold, weight=4.0)),
        *(Coral(1), Coral(2), holding(Coral(1)), holding(Coral(2)), holding(3)),
    ]
    assert len({key(), *(key(method=Finetune(loss)) for loss in losses)}) == 10
    assert key(method=Finetune(None)) == key(method=get_method("finetune")) == key()
    assert key(method=FunctionMethod("finetune", twofold)) != key()


def test_what_cannot_be_named_is_refused():
    with pytest.raises(
        TypeError, match=r"something with identity\(\), found <object .* Give it id"
    ):
        key(method=Finetune(holding(object())))


def test_arguments_count_but_those_that_change_nothing():
    same = replace(ARGS, model="elsewhere", compile=True, gradient_checkpointing=True)
    assert key(args=same) == key()
    for name, value in (("seed", 1), ("epochs", 3.0), ("mode", parse_mode("lora-r5"))):
        assert key(args=replace(ARGS, **{name: value})) != key(), name


@dataclass(frozen=True)
class Weighted:
    """A loss of one's own that goes to the worker processes of ``--parallel``."""

    weight: float

    def __call__(self, learner):
        return learner


def test_a_key_stays_the_same_when_a_loss_is_pickled():
    """Python writes into its class then."""
    before = key(method=Finetune(Weighted(2.0)))
    pickle.dumps(Weighted(2.0), protocol=2)
    assert "__slotnames__" in vars(Weighted) and key(method=Finetune(Weighted(2.0))) == before
    assert key(method=Finetune(Weighted(3.0))) != before


def test_keys_are_the_same_in_another_process():
    code = "import test_keys as t; print(t.key(), t.key(task=t.mine(2)), t.key(method=t.Finetune(t.twofold)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=__file__.rpartition("/")[0],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert done.stdout.split() == [key(), key(task=mine(2)), key(method=Finetune(twofold))]


def test_methods_are_found_by_name_and_by_file(tmp_path):
    @register_method("nothing")
    def nothing(task, splits, args, *, accelerator):
        return "run"

    assert get_method("nothing")(None, {}, ARGS, accelerator=None) == "run"
    path = tmp_path / "own.py"
    path.write_text(
        "class Own:\n    name = 'own'\n\n    def identity(self):\n        return 'own 3'\n"
    )
    assert identity_of(get_method(f"{path}:Own")) == "own 3"
