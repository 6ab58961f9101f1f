"""The first lines of a run."""

from types import SimpleNamespace

import pytest
from transformers import T5Config

from nlptl.cli.config import PretrainConfig
from nlptl.modes.base import parse_mode
from nlptl.pretrain.header import header_rows
from nlptl.train import header
from nlptl.train.header import (
    classes_words,
    data_rows,
    limits_of,
    machine_row,
    model_row,
    runs_row,
    training_row,
)
from nlptl.train.setup import FinetuneArgs


def args(mode="freeze-lower-8", **more):
    return FinetuneArgs("bundled/bert", parse_mode(mode), 3.6e-4, 4.0, **more)


def test_what_nobody_asked_for_has_a_mark():
    name, text = training_row(args(), {"batch_size", "learning_rate", "seed"})
    assert (name, text) == (
        "train",
        "mode freeze-lower-8, 4 epochs, rate 0.00036*, batch 16*  (* default)",
    )
    assert "default" not in training_row(args())[1]


def test_a_training_without_epochs_says_so():
    assert "a convex fit without epochs" in training_row(args("head-only", head="fit"))[1]
    assert "trains nothing" in training_row(args("as-is"))[1]
    assert "range test" in training_row(args(find_rate=True))[1]
    assert "batch 16 x 4" in training_row(args(gradient_accumulation_steps=4))[1]


def test_the_runs_are_counted_in_words_that_agree():
    assert runs_row(["full"], 1)[1].startswith("1 arm x 1 seed = 1: full;")
    assert runs_row(["full", "lora"], 1)[1].startswith("2 arms x 1 seed = 2: full, lora;")


def test_the_data_say_where_they_come_from_and_how_they_were_split():
    splits = {"train": range(700), "validation": range(100), "test": range(200)}
    origin = {
        "dataset": None,
        "files": {"train": "mail/tickets.csv"},
        "columns": {"text": "body", "label": "label"},
        "carved_from_train": {"validation": 100, "test": 200},
        "train_counts": {"World": 300, "Sports": 400},
    }
    task = SimpleNamespace(labels=("World", "Sports"), split_into_words=False)
    assert data_rows(task, splits, origin, seed=3) == [
        ("data", "tickets.csv: 1,000 rows -> 700 train, 100 validation, 200 test"),
        ("", "validation and test drawn from the training set (seed 3)"),
        ("", "text: column body"),
        ("classes", "2: Sports 400, World 300"),
    ]


def test_where_rows_are_left_out_no_number_of_all_rows_is_given():
    splits = {"train": range(36), "validation": range(4), "test": range(16)}
    config = SimpleNamespace(max_train_examples=40, max_eval_examples=16)
    limits = limits_of(config)
    words = "36 train, 4 validation, 16 test (--max-train-examples 40, --max-eval-examples 16)"
    task = SimpleNamespace(split_into_words=False)
    assert data_rows(task, splits, {"dataset": "own"}, limits=limits)[0][1] == f"own: {words}"
    assert limits_of(SimpleNamespace(max_train_examples=None)) == []


def test_tags_are_named_with_the_numbers_of_their_words():
    splits = {"train": range(2), "validation": range(1), "test": range(1)}
    origin = {"dataset": "own", "train_counts": {"B-PER": 1, "O": 5}}
    task = SimpleNamespace(labels=("B-PER", "O"), split_into_words=True)
    assert data_rows(task, splits, origin)[-1] == ("tags", "2: O 5, B-PER 1")


def test_of_many_classes_the_most_frequent_are_named():
    words = classes_words({f"c{i}": i for i in range(1, 51)})
    assert words.startswith("50: c50 50, c49 49") and words.endswith("… and 42 more")


def test_the_machine_and_the_model(monkeypatch):
    name, text = machine_row("0.1.0", {"mixed_precision": "bf16", "processes": 2}, 7)
    assert name == "nlptl" and text.startswith("0.1.0, ")
    assert text.endswith("2 processes, bfloat16 autocast, seed 7")
    monkeypatch.setattr(header, "depth", lambda config: (6, 6))
    config = T5Config(d_model=64)
    said = model_row("bundled/t5", config)[1]
    assert said == "bundled/t5 (t5, 12 blocks, width 64; a demonstration model)"
    assert model_row("own", config)[1] == "own (t5, 12 blocks, width 64)"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"steps": 2000}, "masked-lm*, mode full*, 2,000 steps, rate 0.001, batch 16*, adamw*"),
        ({"epochs": 2.0, "model": "own"}, "mode full*, 2 epochs, rate"),
        ({"model": "own"}, "mode full*, 5 epochs, rate"),
    ],
)
def test_a_pretraining_says_what_it_learns_from_and_how_long(own, said):
    defaults = ["objective", "mode", "batch_size", "optimizer", "seed"]
    given = {"objective": "masked-lm", "learning_rate": 1e-3, "optimizer": "adamw", **own}
    rows = header_rows(
        PretrainConfig(**given),
        [900, 100],
        steps=own.get("steps"),
        usual="5 epochs",
        version="0.1.0",
        launch={"mixed_precision": "no", "processes": 1},
        defaults=defaults,
    )
    found = dict(rows)
    assert found["corpus"].endswith("900 documents to train on, 100 held out")
    assert found["model"] == own.get("model", "a new bert") and said in found["train"]
