"""Training tables with changed copies: what is copied, where it goes, and that nothing else changes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, List, Value
from launching import run_in_process
from tiny import sentences

from nlptl.cli.config import SentimentConfig
from nlptl.cli.values import wrong_numbers
from nlptl.data.batching import LengthBatches
from nlptl.errors import ConfigError
from nlptl.models import near_words
from nlptl.modes.base import parse_mode
from nlptl.runs.card import model_card
from nlptl.tasks.base import Task
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.question_answering import QuestionAnswering
from nlptl.tasks.token_classification import TokenClassification
from nlptl.train.augmenting import enlarged
from nlptl.train.convex import firsts, fit_linear, fold_numbers
from nlptl.train.copies import check_augment
from nlptl.train.finetune import finetune
from nlptl.train.header import copies_rows
from nlptl.train.learner import Learner
from nlptl.train.setup import FinetuneArgs, start_accelerator

ALONE = SimpleNamespace(is_main_process=True, num_processes=1, device="cpu")
TASK = TextClassification(("no", "yes"))


def args(way="typos", copies=3, alpha=0.3, **more):
    return FinetuneArgs(augment=way, augment_copies=copies, augment_alpha=alpha, **more)


def rows(count, seed):
    texts = sentences(count, seed)
    labels = ["yes" if "good" in text else "no" for text in texts]
    return Dataset.from_dict({"id": range(count), "text": texts, "label": labels})


def test_copies_stand_behind_the_rows_and_keep_all_but_their_words():
    table = rows(30, 1)
    found = enlarged(table, TASK, args(), ALONE)
    whole, sources = found.table, found.sources
    assert whole[: len(table)] == table[:] and whole.features == table.features
    assert sources[:30].tolist() == list(range(30)) and (np.diff(sources[30:]) >= 0).all()
    assert len(whole) == len(sources) == 30 + found.record["copies"] > 90
    for name in ("id", "label"):
        assert whole[name][:] == [table[name][int(row)] for row in sources]
    for row in range(30):
        own = [whole["text"][int(n)] for n in np.flatnonzero(sources == row)]
        assert len(set(own)) == len(own) and own[0] == table["text"][row]
        assert all(len(text.split()) == len(own[0].split()) for text in own)


def test_the_draws_depend_on_the_seed_and_the_row_alone():
    table = rows(12, 2)
    made = enlarged(table, TASK, args(), ALONE).table["text"][:]
    assert made == enlarged(table, TASK, args(), ALONE).table["text"][:]
    assert made != enlarged(table, TASK, args(seed=1), ALONE).table["text"][:]
    few = enlarged(table.select(range(4)), TASK, args(), ALONE)
    whole = enlarged(table, TASK, args(), ALONE)
    assert few.table["text"][4:] == whole.table["text"][12:][: len(few.table) - 4]
    one = enlarged(table, TASK, args(copies=1), ALONE).table["text"][12:]
    assert set(one) <= set(made)


def test_without_a_change_there_is_no_copy():
    found = enlarged(rows(5, 1), TASK, args(alpha=0.0), ALONE)
    assert len(found.table) == 5 and found.record["copies"] == 0
    short = Dataset.from_dict({"text": ["a b", "", "to be"], "label": ["no", "yes", "no"]})
    assert enlarged(short, TASK, args(), ALONE).sources.tolist() == [0, 1, 2]


def test_of_a_pair_both_texts_change_and_of_a_question_the_question_alone():
    pair = TextClassification(("no", "yes"), inputs=("one", "two"))
    table = Dataset.from_dict(
        {"one": ["terrible film"], "two": ["wonderful plot"], "label": ["no"]}
    )
    found = enlarged(table, pair, args(alpha=1.0), ALONE).table
    assert all(text != "terrible film" for text in found["one"][1:])
    assert all(text != "wonderful plot" for text in found["two"][1:])
    context = "Ada was born in London."
    asked = Dataset.from_dict(
        {"id": ["1"], "question": ["Where was Ada born?"], "context": [context]}
        | {"answer_texts": [["London"]], "answer_starts": [[16]]}
    )
    found = enlarged(asked, QuestionAnswering(), args(), ALONE).table
    assert len(found) > 1 and set(found["context"]) == {context}
    assert set(found["question"][1:]).isdisjoint(asked["question"])
    assert all(starts == [16] for starts in found["answer_starts"])


def test_tags_move_with_their_words(monkeypatch):
    monkeypatch.setattr("nlptl.train.augmenting.near_words", lambda name, words: {})
    task = TokenClassification(("B-PER", "O"))
    table = (
        Dataset.from_dict(
            {
                "words": [["so", "Anna", "saw", "a", "long", "film"]],
                "label": [["O", "B-PER", *["O"] * 4]],
            },
            features=Features({"words": List(Value("string")), "label": List(Value("string"))}),
        )
        .rename_column("words", task.fields[0])
        .rename_column("label", task.label)
    )
    found = enlarged(table, task, args("eda", copies=8, alpha=0.5), ALONE).table
    assert len(found) > 3
    for words, tags in zip(found[task.fields[0]][:], found[task.label][:], strict=True):
        assert [word for word, tag in zip(words, tags, strict=True) if tag == "B-PER"] == ["Anna"]
    typed = enlarged(table, task, args(alpha=1.0), ALONE).table
    assert all(tags == typed[task.label][0] for tags in typed[task.label][1:])


def test_the_record_and_the_first_lines_name_what_was_done():
    found = enlarged(rows(6, 1), TASK, args(copies=2), ALONE)
    assert str(found).startswith(
        f"copies: {found.record['copies']} of 6 training texts (typos, alpha 0.3), "
    )
    assert found.record | {"seconds": 0, "copies": 12} == {
        **{"way": "typos", "by": "", "alpha": 0.3, "rows": 6, "copies": 12, "seconds": 0}
    }
    assert copies_rows(FinetuneArgs()) == []
    assert copies_rows(args()) == [
        ("augment", "3 copies of each training text, changed by typos (alpha 0.3)")
    ]
    assert copies_rows(args(copies=1, alpha=0.0)) == [("augment", "no copies (alpha 0)")]


# ---- the head's fit
def test_a_text_and_its_copies_are_in_one_fold_and_only_the_text_is_scored():
    gold, groups = np.asarray([0, 1, 0, 1, 0, 0, 1]), np.asarray([0, 1, 2, 3, 0, 0, 3])
    folds = fold_numbers(gold, 2, groups)
    assert folds[:4].tolist() == fold_numbers(gold[:4], 2).tolist()
    assert folds[4:].tolist() == [folds[0], folds[0], folds[3]]
    assert firsts(groups).tolist() == [True] * 4 + [False] * 3
    rng = np.random.default_rng(0)
    states, labels = rng.normal(size=(42, 6)), np.arange(42) % 2  # nothing can be learned
    copied = np.concatenate([states, states, states])
    about = {"outputs": 2, "groups": np.arange(126) % 42}
    fit = fit_linear(copied, np.tile(labels, 3), "classes", **about)
    blind = fit_linear(copied, np.tile(labels, 3), "classes", outputs=2)
    assert fit.strength < blind.strength and fit.loss > 0.6 > blind.loss


# ---- whole runs
def trained(checkpoint, splits, **more):
    given = {"learning_rate": 2e-3, "epochs": 1.0, "batch_size": 8, **more}
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    return finetune(TASK, splits, FinetuneArgs(str(checkpoint), **given), accelerator=accelerator)


SPLITS = {"train": rows(24, 1), "validation": rows(8, 2), "test": rows(8, 3)}


def test_alpha_0_is_the_plain_run_bit_for_bit(checkpoints):
    plain = trained(checkpoints["bert"], SPLITS)
    none = trained(checkpoints["bert"], SPLITS, augment="mlm", augment_alpha=0.0)
    for one, two in zip(plain.model.parameters(), none.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert plain.copies is None and none.copies["copies"] == 0


@pytest.mark.parametrize("mode", ["full", "freeze-lower-1", "head-only"])
def test_copies_are_trained_on_and_nothing_else_sees_them(checkpoints, mode):
    given = {"augment": "typos", "augment_copies": 2, "mode": parse_mode(mode), "cache": "memory"}
    if mode == "full":
        del given["cache"]
    run = trained(checkpoints["bert"], SPLITS, **given)
    copies = run.copies["copies"]
    assert run.num_examples == {"train": 24, "validation": 8, "test": 8}
    assert run.splits is SPLITS and len(run.predictions) == 8 and copies > 30
    assert run.head["examples"] == 24 + copies
    assert run.lr_history == [] or len(run.lr_history) == -(-(24 + copies) // 8)
    assert bool(run.cache) == (mode != "full")


def test_batches_that_were_made_without_copies_are_refused(checkpoints):
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    given = args(model=str(checkpoints["bert"]), learning_rate=1e-3, epochs=1.0, batch_size=8)
    learner = Learner(TASK, given, accelerator).mode(given.mode)
    part = learner.encode(SPLITS["train"])
    plain = LengthBatches(part.rows, part.lengths, learner.collate, batch_size=8, seed=0)
    with pytest.raises(
        ConfigError, match="--augment typos: the training batches were made without copies"
    ):
        learner.fit(plain)
    table = learner.copies.made(SPLITS["train"])
    assert table is learner.copies.made(SPLITS["train"]) is learner.copies.made(table)
    assert len(learner.batches(SPLITS["train"], seed=0)) == -(-len(table) // 8)
    assert len(learner.predict(SPLITS["train"])) == 24
    assert learner.copies.made(None) is None


# ---- flags
def test_flags_out_of_their_range_or_without_use(checkpoints, monkeypatch):
    assert wrong_numbers(SentimentConfig(augment_alpha=1.5, augment_copies=0)) == {
        "augment_alpha": "--augment-alpha is 1.5; expected 0 to 1.",
        "augment_copies": "--augment-copies is 0; expected 1 to 64.",
    }
    with pytest.raises(
        ConfigError, match="--augment-alpha and --augment-copies: no copies are made"
    ):
        check_augment(SentimentConfig(augment_alpha=0.2, augment_copies=2), Task)

    class Spans(Task):
        augmented = ()

    with pytest.raises(ConfigError, match="labels of the task task are places in its texts"):
        check_augment(SentimentConfig(augment="typos"), Spans)
    bert = str(checkpoints["bert"])
    with pytest.raises(ConfigError, match="expected 200 or more"):
        check_augment(SentimentConfig(augment="eda", model=bert), Task)
    monkeypatch.setattr(near_words, "WORDS", 10)
    for way in ("eda", "mlm", None):
        check_augment(SentimentConfig(augment=way, model=bert), Task)
    check_augment(SentimentConfig(augment="eda", model="no/such"), Task)  # told elsewhere


def test_a_run_from_the_command_line_records_its_copies(checkpoints, reviews, tmp_path):
    home = tmp_path / "run"
    run_in_process(
        *("sentiment", "--model", checkpoints["bert"], "--train-file", reviews, "--epochs", 1),
        *("--augment", "typos", "--augment-copies", 1, "--mode", "head-only", "--output-dir", home),
    )
    record = json.loads((home / "result.json").read_text())
    assert record["settings"]["augment"] == "typos" and record["augmentation"]["copies"] > 0
    assert record["n"]["train"] + record["n"]["validation"] + record["n"]["test"] == 120
    text = model_card(record)
    assert (
        f"{record['augmentation']['copies']} changed copies of the training texts (typos, alpha"
        in text
    )
    assert "augment: typos" in (home / "config.yaml").read_text()
