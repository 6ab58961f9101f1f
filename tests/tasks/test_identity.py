"""Who a task is: its code and values decide what is found again, in every process alike."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest
import torch
from datasets import Dataset, load_dataset
from tiny import tiny_tokenizer

from nlptl.data import encoding, squad
from nlptl.pretrain import corpus
from nlptl.registry import load_file
from nlptl.tasks.base import Task
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.question_answering import QuestionAnswering

MINE = """
from functools import partial

import torch

from nlptl.tasks.base import Task

WORDS = {{"yes", "bad", "fine", "dull", "great"}}


def helper(value):
    return value in WORDS and {helper}


class Mine(Task):
    name = "mine"
    kinds = frozenset("abcdefgh")
    made = partial(helper, 1)
    label_dtype = torch.{dtype}

    def gold_of(self, value):
        return int(value in self.labels) + bool(helper(value)) + {gold}

    def loss(self, outputs, inputs):
        return {loss} * super().loss(outputs, inputs)[0], 1.0
"""
USUAL = {"helper": "True", "dtype": "long", "gold": 0, "loss": 1}


def mine(folder, name="a", **changed):
    path = folder / f"{name}.py"
    path.write_text(MINE.format(**{**USUAL, **changed}))
    return load_file(path, "").Mine(("no", "yes"))


def test_tasks_of_one_name_and_other_code_are_told_apart(tmp_path):
    ours = mine(tmp_path)
    changed = [{"loss": 2}, {"gold": 1}, {"helper": "False"}, {"dtype": "float"}]
    others = [mine(tmp_path, f"b{i}", **each) for i, each in enumerate(changed)]
    everything = {task.identity() for task in (ours, *others)}
    assert len(everything) == 5
    assert mine(tmp_path, "same").identity() == ours.identity()
    own = 'mine 1 {"inputs": [], "labels": ["no", "yes"], "separator": " | "} '
    assert ours.identity().startswith(own)


def test_values_versions_and_names_count():
    @dataclass(frozen=True)
    class Valued(Task):
        strength: float = 1.0

    class Newer(Valued):
        version = 2

    class Renamed(Valued):
        name = "valued"

    each = [Valued(), Valued(strength=2.0), Valued(("a",)), Newer(), Renamed()]
    assert len({task.identity() for task in each}) == 5
    weighted = TextClassification(("a", "b"), class_weights=(1.0, 2.0))
    assert weighted.identity() != replace(weighted, class_weights=None).identity()
    assert TextClassification(("a", "b")).identity() == (
        'text-classification 1 {"class_weights": null, "inputs": [], "labels": ["a", "b"], '
        '"separator": " | "}'
    )


SCRIPT = """
import sys
from pathlib import Path
from nlptl.registry import load_file
from nlptl.tasks.question_answering import QuestionAnswering
for path in map(Path, sys.argv[1:]):
    task = load_file(path, "").Mine(("no", "yes"))
    print(task.identity(), task.encoding_identity())
print(QuestionAnswering().encoding_identity())
"""


def test_other_processes_find_the_same_identities(tmp_path):
    """Sets come in another order there, and a copy of the file has another name."""
    ours = mine(tmp_path)
    (tmp_path / "copy.py").write_text((tmp_path / "a.py").read_text())
    said = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, tmp_path / "a.py", tmp_path / "copy.py"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.splitlines())
    own = f"{ours.identity()} {ours.encoding_identity()}"
    assert said == [[own, own, QuestionAnswering().encoding_identity()]] * 2


def test_what_a_process_remembers_is_no_part_of_an_identity(tmp_path):
    ours, table = mine(tmp_path), Dataset.from_dict({"text": ["a"]})
    before = ours.encoding_identity()
    encoding.content_hash(table)  # remembered for as long as the table lives
    assert len(encoding._HASHES) and ours.encoding_identity() == before


@pytest.fixture
def table(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\ngood film,yes\nbad film,no\n")
    return load_dataset("csv", data_files=str(tmp_path / "t.csv"), split="train")


def test_tokens_are_kept_by_the_code_that_makes_them(tmp_path, table):
    tokenizer = tiny_tokenizer("bert")

    def encoded(task):
        return task.encode(table, tokenizer, 16).rows

    first = encoded(mine(tmp_path))
    assert encoded(mine(tmp_path, "same"))._fingerprint == first._fingerprint
    other = encoded(mine(tmp_path, "other", gold=5))
    assert [a + 5 for a in first["gold"][:]] == other["gold"][:]
    assert encoded(mine(tmp_path, "help", helper="False"))["gold"][:] != first["gold"][:]
    assert encoded(Task(("no", "yes")))._fingerprint != first._fingerprint


def test_a_change_of_nlptls_own_code_makes_new_tokens(monkeypatch):
    task = TextClassification(("a",))
    before = task.encoding_identity()

    def broken_up(text, tokenizer):
        return text.upper()

    broken_up.__module__ = encoding.__name__
    monkeypatch.setattr(encoding, "broken_up", broken_up)
    assert task.encoding_identity() != before


def test_tables_that_are_read_into_form_are_kept_by_code_too(monkeypatch, tmp_path):
    rows = [{"question": "who?", "context": "Ada", "answers": {"text": [], "answer_start": []}}]
    Dataset.from_list(rows).to_json(tmp_path / "t.jsonl")
    names = {name: name for name in ("question", "context", "answers")}

    def normalized():
        read = {"train": squad.read_table(tmp_path / "t.jsonl", "")}
        return squad.normalize(read, names)["train"]._fingerprint

    Dataset.from_dict({"text": ["the film was good and the book was dull"]}).to_csv(
        tmp_path / "d.csv"
    )
    documents = load_dataset("csv", data_files=str(tmp_path / "d.csv"), split="train")

    def pieces():
        return corpus.tokenize(documents, tiny_tokenizer("bert"), room=5, least=1)._fingerprint

    before = normalized(), pieces()
    assert (normalized(), pieces()) == before
    for module, name in ((squad, "place"), (corpus, "even_pieces")):
        own = getattr(module, name)

        def changed(*given, own=own):
            return own(*given) or None

        changed.__module__ = module.__name__
        monkeypatch.setattr(module, name, changed)
    assert normalized() != before[0] and pieces() != before[1]


def test_a_tensor_type_and_a_set_are_part_of_a_class():
    from nlptl.data.code_hash import code_hash

    def made(value):
        return type("Made", (), {"value": value})

    for one, two in ((torch.long, torch.float), ({1, 2}, {1, 3}), (1 + 2j, 2j)):
        assert code_hash(made(one)) != code_hash(made(two))
        assert code_hash(made(one)) == code_hash(made(one))
