"""Texts are tokenized once: another process, seed or place of the file finds the tokens again."""

import json
import shutil
from pathlib import Path

import pytest
from datasets import Dataset
from launching import command, questions
from tiny import tiny_tokenizer

from nlptl.data import encoding
from nlptl.data.encoding import content_hash, encode_pairs, encode_texts, tokenizer_hash
from nlptl.data.sources import read_table
from nlptl.data.squad import normalize, read_questions
from nlptl.models.loading import load_tokenizer
from nlptl.tasks import base
from nlptl.tasks import question_answering as qa
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.question_answering import QuestionAnswering

COLUMNS = {"question": "question", "context": "context", "answers": "answers"}


def passages(path):
    return normalize({"train": read_questions(path, "--train-file")}, COLUMNS)["train"]


@pytest.fixture
def work(monkeypatch):
    """How often windows were cut and texts tokenized: a list with an entry a call."""
    done = []

    def counted(function):
        def call(*args, **options):
            done.append(len(args[0]))
            return function(*args, **options)

        return call

    monkeypatch.setattr(qa, "windows_of", counted(qa.windows_of))
    monkeypatch.setattr(base, "encode_texts", counted(base.encode_texts))
    return done


def test_windows_are_cut_once_for_the_same_content(tmp_path, work):
    tokenizer, task = tiny_tokenizer("bert"), QuestionAnswering(stride=8)
    path = questions(tmp_path / "train.json", 12, seed=401)
    first = task.encode(passages(path), tokenizer, 48)
    assert len(work) == 1 and len(first.rows) >= 12
    shutil.copy(path, tmp_path / "copy.json")
    # Another cell reads anew, and a tokenizer that was used has another state.
    for again in (path, tmp_path / "copy.json"):
        found = task.encode(passages(again), tokenizer, 48)
        assert found.rows[:] == first.rows[:] and list(found.lengths) == list(first.lengths)
    assert len(work) == 1
    part = passages(path).select([3, 1])
    for _ in range(2):
        assert task.encode(part, tokenizer, 48).rows["example"][0] == 0
    assert len(work) == 2


def test_another_text_tokenizer_stride_or_length_is_other_work(tmp_path, work):
    tokenizer = tiny_tokenizer("bert")
    path = questions(tmp_path / "train.json", 8, seed=402)
    QuestionAnswering(stride=8).encode(passages(path), tokenizer, 48)
    QuestionAnswering(stride=9).encode(passages(path), tokenizer, 48)
    QuestionAnswering(stride=8).encode(passages(path), tokenizer, 47)
    QuestionAnswering(stride=8).encode(passages(path), tiny_tokenizer("roberta"), 48)
    assert len(work) == 4
    record = json.loads(path.read_text())
    record["data"][0]["paragraphs"][5]["context"] += " again"
    path.write_text(json.dumps(record))
    made = QuestionAnswering(stride=8).encode(passages(path), tokenizer, 48)
    assert len(work) == 5
    assert tokenizer.vocab["again"] in made.rows[5]["input_ids"]


@pytest.mark.slow
def test_another_process_finds_the_windows(tmp_path, checkpoints):
    """The second process reads the first one's file: its code has the same hash there."""
    path = questions(tmp_path / "train.json", 8, seed=403)
    script = f"""
from nlptl.data.squad import normalize, read_questions
from nlptl.models.loading import load_tokenizer
from nlptl.tasks import question_answering as qa
from pathlib import Path
columns = {{name: name for name in ("question", "context", "answers")}}
table = normalize({{"train": read_questions(Path({str(path)!r}), "")}}, columns)["train"]
tokenizer = load_tokenizer({str(checkpoints["bert"])!r})
(file,) = qa.QuestionAnswering(stride=8).encode(table, tokenizer, 48).rows.cache_files
print(file["filename"], Path(file["filename"]).stat().st_mtime_ns)
"""
    ends = [command("-c", script) for _ in range(2)]
    assert ends[0].returncode == 0, ends[0].stderr
    assert ends[1].returncode == 0, ends[1].stderr
    assert ends[0].stdout == ends[1].stdout and "/nlptl/" in ends[0].stdout


def test_a_copy_of_a_file_of_texts_and_other_class_weights_find_the_tokens(tmp_path, work):
    tokenizer, task = tiny_tokenizer("bert"), TextClassification(("0", "1"))
    (tmp_path / "a.csv").write_text("text,label,note\ngood film,1,x\nbad film,0,y\n")
    (tmp_path / "b.csv").write_text("text,label,note\ngood film,1,z\nbad film,0,z\n")
    (tmp_path / "c.csv").write_text("text,label,note\ngood film,1,x\nbad film,1,y\n")
    a, b, c = (read_table(tmp_path / f"{name}.csv", "") for name in "abc")
    first = task.encode(a, tokenizer, 16)
    weighted = TextClassification(("0", "1"), class_weights=(0.5, 2.0))
    assert weighted.encode(b, tokenizer, 16).rows[:] == first.rows[:]
    assert len(work) == 1
    assert task.encode(c, tokenizer, 16).rows["gold"][:] == [1, 1]
    assert first.rows["gold"][:] == [1, 0]
    assert len(work) == 2


def test_of_a_table_in_memory_nothing_is_kept(work):
    """What a predictor is asked is nobody's business afterwards, and would fill the disk."""
    table = Dataset.from_dict({"text": ["good film"]})
    tokenizer = tiny_tokenizer("bert")
    for _ in range(2):
        made = TextClassification(("0", "1")).encode(table, tokenizer, 16)
        assert not any("nlptl/" in file["filename"] for file in made.rows.cache_files)
    assert len(work) == 2


def test_the_hash_is_of_values_in_their_order_under_their_names():
    rows = {"a": ["x", "y"], "b": [1, 2]}
    table = Dataset.from_dict(rows)
    assert content_hash(table) == content_hash(Dataset.from_dict(rows))
    assert content_hash(table.select([0, 1])) == content_hash(table)
    others = [table.select([1, 0]), table.rename_column("a", "c"), table.select([0])]
    others.append(Dataset.from_dict({"a": ["x", "y"], "b": [1, None]}))
    assert len({content_hash(each) for each in [table, *others]}) == 5


def test_a_table_is_read_once_for_its_hash(monkeypatch):
    """Preparing a run hashes its splits, and so does what a checkpoint says about its data."""
    table, read = Dataset.from_dict({"a": [1, 2]}), []
    monkeypatch.setattr(encoding, "_content_hash", lambda table: read.append(table) or "hash")
    assert {content_hash(table) for _ in range(3)} == {"hash"} and len(read) == 1
    content_hash(table.with_format("numpy"))
    content_hash(Dataset.from_dict({"a": [1, 2]}))
    assert len(read) == 3


def test_others_cannot_read_kept_tokens(tmp_path, work):
    (tmp_path / "a.csv").write_text("text,label\ngood secret,1\nbad secret,0\n")
    table = read_table(tmp_path / "a.csv", "")
    made = TextClassification(("0", "1")).encode(table, tiny_tokenizer("bert"), 16)
    for file in (*table.cache_files, *made.rows.cache_files):
        assert Path(file["filename"]).stat().st_mode & 0o777 == 0o600
        assert Path(file["filename"]).parent.stat().st_mode & 0o777 == 0o700


def test_questions_lie_on_disk(tmp_path):
    """A table has its passage beside each question, many times what the file has."""
    path = questions(tmp_path / "train.json", 4, seed=404)
    assert read_questions(path, "--train-file").cache_files
    assert passages(path).cache_files


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_a_tokenizers_hash_is_the_same_after_a_text_was_cut(checkpoints, family):
    tokenizer = load_tokenizer(str(checkpoints[family]))
    before = tokenizer_hash(tokenizer)
    encode_texts(["one two three four five six"], tokenizer, max_length=4)
    assert tokenizer.backend_tokenizer.truncation and tokenizer_hash(tokenizer) == before


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_tokens_are_made_again(tmp_path, work, damage):
    """A later run on the same texts neither fails nor reads other tokens."""
    tokenizer, task = tiny_tokenizer("bert"), TextClassification(("0", "1"))
    (tmp_path / "a.csv").write_text(f"text,label\ngood {damage},1\nbad {damage},0\n")
    table = read_table(tmp_path / "a.csv", "")
    first = task.encode(table, tokenizer, 16)
    rows, done = first.rows[:], len(work)
    (kept,) = (Path(file["filename"]) for file in first.rows.cache_files)
    whole = kept.read_bytes()
    at = whole.rindex(bytes([rows["input_ids"][0][1], 0, 0, 0]))
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    kept.unlink()  # the bytes of an open table stay as they are
    kept.write_bytes({"cut": whole[: len(whole) // 2], "flip": flipped, "empty": b""}[damage])
    assert task.encode(table, tokenizer, 16).rows[:] == rows
    assert len(work) == done + 1
    assert task.encode(table, tokenizer, 16).rows[:] == rows and len(work) == done + 1


def test_a_pair_says_which_tokens_are_whose():
    tokenizer = tiny_tokenizer("bert")
    made = encode_pairs(["a film", "a"], ["good", "bad film"], tokenizer, max_length=32)
    for ids, types in zip(made["input_ids"], made["token_type_ids"], strict=True):
        first = ids.index(tokenizer.sep_token_id) + 1
        assert types == [0] * first + [1] * (len(ids) - first) and first < len(ids)
