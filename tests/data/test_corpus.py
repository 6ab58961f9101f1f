"""Unlabelled text: files and weights, the same held-out documents always, pieces within documents."""

from itertools import chain

import pytest
from datasets import Dataset
from tiny import sentences

from nlptl.data.corpus import even_pieces, lengths, load_corpus, parse_corpus, tokenize
from nlptl.errors import ConfigError, DataError
from nlptl.models.building import train_wordpiece


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


def test_pieces_are_even_and_lose_nothing():
    for count in range(1, 700, 7):
        pieces = even_pieces(list(range(count)), 126)
        assert list(chain(*pieces)) == list(range(count))
        sizes = [len(piece) for piece in pieces]
        assert len(sizes) == -(-count // 126) and max(sizes) - min(sizes) <= 1
    assert even_pieces([], 126) == []


def test_no_piece_holds_two_documents():
    tokenizer = train_wordpiece(iter([sentences(200)]), vocab_size=300, max_length=64)
    documents = Dataset.from_dict({"text": [" ".join(sentences(9, seed)) for seed in range(5)]})
    pieces = tokenize(documents, tokenizer, room=14)
    assert lengths(pieces).tolist() == [len(ids) for ids in pieces["input_ids"][:]]
    bare = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in documents["text"][:]]
    found = pieces["input_ids"][:]
    assert list(chain(*found)) == list(chain(*bare))
    ends = {sum(map(len, bare[:i])) for i in range(6)}
    edges = {sum(map(len, found[:i])) for i in range(len(found) + 1)}
    assert ends <= edges
    assert max(map(len, found)) <= 14 and set(lengths(pieces)) <= {12, 13, 14}


def test_wrong_specs_are_named(files):
    assert parse_corpus(f"{files}/b.txt:0.5")[1] == 0.5
    with pytest.raises(ConfigError, match="there is no file"):
        parse_corpus(f"{files}/c.txt")
    with pytest.raises(ConfigError, match="expected a file ending in"):
        parse_corpus(f"{files}/b.doc")
    with pytest.raises(ConfigError, match="weight after ':' must be a number above 0"):
        parse_corpus(f"{files}/b.txt:-1")
    with pytest.raises(DataError, match="has no column 'body'; it has text"):
        load_corpus([f"{files}/a.parquet"], column="body", held_out=1)
