"""Default rate and epochs of a program are those of the recipes."""

import pytest
from datasets import Dataset
from tiny import sentences

import nlptl
from nlptl.cli.check import check_training, resolve_defaults
from nlptl.cli.config import SentimentConfig
from nlptl.tasks.base import Task
from nlptl.tasks.classification import TextClassification
from nlptl.train.defaults import fill_defaults, usual_head
from nlptl.train.learner import Learner
from nlptl.train.setup import FinetuneArgs, start_accelerator

TASK = TextClassification(("no", "yes"))


@pytest.mark.parametrize(
    "mode", ["head-only", "freeze-lower-1", "full", "lora", "scratch", "as-is"]
)
@pytest.mark.parametrize("size", [40, 5000])
def test_a_program_gets_what_the_recipe_gets(checkpoints, mode, size):
    model = str(checkpoints["bert"])
    config = SentimentConfig(model=model, mode=mode)
    filled = resolve_defaults(config, *check_training(config), size, TASK)
    own = fill_defaults(FinetuneArgs(model, nlptl.parse_mode(mode)), TASK, size)
    if mode == "as-is":
        assert (own.learning_rate, own.epochs) == (0, 0)
        assert (filled.learning_rate, filled.epochs) == (None, None)
    else:
        assert own.learning_rate == filled.learning_rate > 0
        assert own.epochs == filled.epochs >= 1


def test_what_is_given_stays():
    args = FinetuneArgs("no such checkpoint", learning_rate=1e-3, epochs=2.0)
    assert fill_defaults(args, TASK, 100) is args
    args = FinetuneArgs(epochs=2.0)
    filled = fill_defaults(args, TASK, 100)
    assert filled.epochs == 2 and filled.learning_rate > 0
    assert filled.model == "bundled/bert" and filled.mode.name == "full"


def test_a_head_without_a_fit_needs_more_epochs():
    class Own(Task):
        labels = ("no", "yes")

        def loss(self, outputs, inputs):
            raise NotImplementedError

    mode = nlptl.parse_mode("full")
    assert usual_head(TASK, mode) == "fit" and usual_head(Own(), mode) == "random"
    assert usual_head(TASK, nlptl.parse_mode("head-only"), by_gradient=True) == "start"
    fitted, random = (fill_defaults(FinetuneArgs(), task, 100).epochs for task in (TASK, Own()))
    assert fitted == 4 and random == 20


def test_a_learner_fills_them_in_for_its_first_training_set(checkpoints):
    args = FinetuneArgs(str(checkpoints["bert"]), nlptl.parse_mode("freeze-lower-2"))
    made = Learner(TASK, args, start_accelerator(tracker=None, output_dir=None, seed=0))
    made.mode(args.mode)
    texts = sentences(16)
    data = {"text": texts, "label": ["yes" if "good" in text else "no" for text in texts]}
    state = made.fit(Dataset.from_dict(data))
    assert made.args == fill_defaults(made.args, TASK, 16) and made.args.epochs == 4
    assert state.step == 4 and max(state.lr_history) <= made.args.learning_rate
