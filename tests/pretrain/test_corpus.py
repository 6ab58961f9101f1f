"""Unlabelled text: files and weights, the same held-out documents always, pieces within documents."""

import re
from hashlib import sha256
from itertools import chain

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from tiny import sentences

from nlptl.data.encoding import numbers_of
from nlptl.errors import ConfigError, DataError, UserError
from nlptl.pretrain.building import train_wordpiece
from nlptl.pretrain.corpus import (
    Sample,
    even_pieces,
    load_corpus,
    parse_corpus,
    pieces_hash,
    read_documents,
    tokenize,
)
from nlptl.pretrain.held_out import document_of


@pytest.fixture
def files(tmp_path):
    Dataset.from_dict({"text": [f"first {i}" for i in range(80)]}).to_parquet(
        tmp_path / "a.parquet"
    )
    (tmp_path / "b.txt").write_text("".join(f"second {i}\n" for i in range(20)))
    return tmp_path


def test_weights_and_held_out_documents(files):
    specs = [f"{files}/a.parquet:0.5", f"{files}/b.txt:2"]
    train, aside = load_corpus(specs, column="text", held_out=10)
    texts, kept = train["text"][:], set(aside["text"][:])
    first = [t for t in texts if t.startswith("first")]
    second = [t for t in texts if t.startswith("second")]
    assert len(kept) == 10 and sum(t.startswith("first") for t in kept) == 8
    assert len(first) == len(set(first)) == 36  # half of 72
    assert len(second) == 36 and len(set(second)) == 18  # each of 18 twice
    assert not kept & set(texts)
    again = load_corpus([f"{files}/a.parquet", f"{files}/b.txt"], column="text", held_out=10)[1]
    assert set(again["text"][:]) == kept
    both = load_corpus([f"{files}/a.parquet", f"{files}/b.txt"], column="text", held_out=None)[1]
    assert len(both) == 10  # a tenth of 100


def test_a_sources_only_document_is_trained_on(files):
    (files / "book.txt").write_text("all of one book\n")
    own = [f"{files}/b.txt", f"{files}/book.txt"]
    for held_out, count in ((5, 5), (1, 1), (None, 2)):  # of 21 documents; a tenth is 2
        train, aside = load_corpus(own, column="text", held_out=held_out)
        assert "all of one book" in train["text"][:]
        assert len(aside) == count and len(train) == 21 - count
        assert set(aside["text"][:]) | set(train["text"][:]) == {
            *(f"second {i}" for i in range(20)),
            "all of one book",
        }
    for alone in (own[1:], [own[1], own[1]]):
        with pytest.raises(UserError, match="no source has a second one to set aside. Give more"):
            load_corpus(alone, column="text", held_out=1)
    (files / "shelf").mkdir()
    for name in ("one", "two"):  # as the message says
        (files / f"shelf/{name}.txt").write_text(f"all of book {name}\n")
    train, aside = load_corpus([f"{files}/shelf"], column="text", held_out=1)
    assert len(train) == len(aside) == 1


def test_a_sample_is_read_anew_a_hundred_documents_at_a_time():
    rows = [f"text {i}" if i % 50 else None for i in range(250)]
    sample = Sample(Dataset.from_dict({"text": rows}), 230)
    for _ in range(2):
        batches = list(sample)
        assert [len(batch) for batch in batches] == [98, 98, 29]  # without 0, 50, 100, 150, 200
        assert list(chain(*batches)) == [text for text in rows[:230] if text]


def test_pieces_are_even_and_lose_nothing():
    for count in range(1, 700, 7):
        pieces = even_pieces(list(range(count)), 126)
        assert list(chain(*pieces)) == list(range(count))
        sizes = [len(piece) for piece in pieces]
        assert len(sizes) == -(-count // 126) and max(sizes) - min(sizes) <= 1
    assert even_pieces([], 126) == []


def test_no_piece_holds_two_documents():
    tokenizer = train_wordpiece([sentences(200)], vocab_size=300, max_length=64)
    documents = Dataset.from_dict({"text": [" ".join(sentences(9, seed)) for seed in range(5)]})
    pieces = tokenize(documents, tokenizer, room=14)
    assert numbers_of(pieces, "length").tolist() == [len(ids) for ids in pieces["input_ids"][:]]
    bare = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in documents["text"][:]]
    found = pieces["input_ids"][:]
    assert list(chain(*found)) == list(chain(*bare))
    assert [sum(map(len, bare[:i])) for i in document_of(pieces)] == [
        max(end for end in (sum(map(len, bare[:j])) for j in range(5)) if end <= start)
        for start in (sum(map(len, found[:i])) for i in range(len(found)))
    ]
    ends = {sum(map(len, bare[:i])) for i in range(6)}
    edges = {sum(map(len, found[:i])) for i in range(len(found) + 1)}
    assert ends <= edges
    assert max(map(len, found)) <= 14 and set(pieces["length"][:]) <= {12, 13, 14}


def test_the_hash_of_pieces_is_that_of_lengths_and_ids(monkeypatch):
    """A teacher's kept states are found by it: it may not change."""
    monkeypatch.setattr("nlptl.pretrain.corpus.PIECES", 2)  # at a time, of three
    rows = [[5, 6, 7], [8, 70_000], [9]]
    words = [3, 5, 6, 7, 2, 8, 70_000, 1, 9]
    data = b"".join(
        word.to_bytes(4, "big" if place in (0, 4, 7) else "little")
        for place, word in enumerate(words)
    )
    pieces = Dataset.from_list([{"input_ids": row, "length": len(row)} for row in rows])
    assert pieces_hash(pieces, "of") == sha256(b"of" + data).hexdigest()
    assert pieces_hash(pieces.select([2, 0, 1]).select([1, 2, 0])) == sha256(data).hexdigest()
    narrow = [{"input_ids": np.asarray(row, np.int32)} for row in rows]
    assert pieces_hash(Dataset.from_list(narrow)) == sha256(data).hexdigest()


def test_folders_bundled_texts_and_every_format(files, tmp_path):
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.txt").write_text("one\n\ntwo\n")
    (folder / "b.tsv").write_text("text\tother\nthree\tx\n")
    (folder / "deeper/c.jsonl").write_text('{"text": "four"}\n')
    (folder / "notes.md").write_text("not taken")
    table = read_documents(str(folder), "text")
    assert table.column_names == ["text"]
    assert sorted(text for text in table["text"][:] if text) == ["four", "one", "three", "two"]
    assert len(read_documents("bundled/reviews/unlabelled.jsonl", "text")) == 800


def test_a_txt_has_no_column_to_name(files):
    (files / "c.csv").write_text("review,text\ngood,other\nbad,other\n")
    train, aside = load_corpus([f"{files}/c.csv", f"{files}/b.txt"], column="review", held_out=2)
    texts = {*train["text"][:], *aside["text"][:]}
    assert texts == {"good", "bad", *(f"second {i}" for i in range(20))}
    (files / "mixed").mkdir()
    (files / "mixed/c.csv").write_text("review\ngood\n")
    (files / "mixed/d.txt").write_text("plain\n")
    assert read_documents(str(files / "mixed"), "review")["text"][:] == ["good", "plain"]
    with pytest.raises(DataError, match="there is no column 'body'; there are review, text"):
        load_corpus([f"{files}/b.txt", f"{files}/c.csv"], column="body", held_out=2)


def test_a_hub_set_brings_its_configuration_and_a_weight(monkeypatch):
    seen = []

    def stub(name, config=None, **kwargs):
        seen.append((name, config))
        rows = Dataset.from_dict({"body": [f"{config} {i}" for i in range(20)]})
        return DatasetDict({"train": rows, "test": rows.select([0])})

    monkeypatch.setattr("datasets.load_dataset", stub)
    train, aside = load_corpus(["some/wiki:raw:0.5", "wiki:tiny"], column="body", held_out=10)
    assert seen == [("some/wiki", "raw"), ("wiki", "tiny")]
    assert train.column_names == ["text"]
    counts = [sum(t.startswith(c) for t in train["text"][:]) for c in ("raw", "tiny")]
    assert counts == [8, 15] and len(aside) == 10  # 15 of each are left after 5


def test_a_missing_text_is_no_document(tmp_path):
    Dataset.from_dict({"text": ["a b c d e f g h", None, ""]}).to_parquet(tmp_path / "x.parquet")
    tokenizer = train_wordpiece([["a b c d e f g h"]], vocab_size=60, max_length=64)
    documents = read_documents(str(tmp_path / "x.parquet"), "text")
    assert tokenize(documents, tokenizer, room=20)["length"][:] == [8]


def test_wrong_specs_are_named(files):
    assert parse_corpus(f"{files}/b.txt:0.5").weight == 0.5
    assert parse_corpus("some/wiki:raw").name == "some/wiki:raw"
    (files / "b.doc").write_text("x")
    (files / "void").mkdir()
    (files / "numbers.csv").write_text("text\n1\n2\n")
    wrong = {
        f"{files}/bb.txt": r"there is no file or folder \S+bb.txt. Did you mean 'b.txt'",
        f"{files}/b.doc": "expected a file ending in",
        f"{files}/void": "the folder holds no file ending in",
        f"{files}/numbers.csv": "the column 'text' holds no text",
        "bundled/nothing": "there is no file or folder",
        "nobody/nothing": "is not a local file or folder, and could not be loaded from the hub",
    }
    with pytest.raises(UserError) as caught:
        load_corpus(list(wrong), column="text", held_out=1)
    for message in wrong.values():
        assert re.search(message, str(caught.value)), message
    with pytest.raises(ConfigError, match="weight after ':' must be a number above 0"):
        parse_corpus(f"{files}/b.txt:-1")
    with pytest.raises(DataError, match="there is no column 'body'; there are text"):
        load_corpus([f"{files}/a.parquet"], column="body", held_out=1)
    with pytest.raises(UserError, match="--held-out 20 leaves no document of 20 to train on"):
        load_corpus([f"{files}/b.txt"], column="text", held_out=20)
