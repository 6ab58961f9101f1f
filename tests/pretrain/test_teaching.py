"""A teacher's states are found again for the same texts, and only for these."""

from hashlib import sha256

import numpy as np
import pytest
from datasets import Dataset
from tiny import tiny_tokenizer
from transformers import AutoTokenizer

from nlptl.data.encoding import tokenizer_hash
from nlptl.models.identity import checkpoint_hash
from nlptl.pretrain.teaching import teacher_states
from nlptl.train.setup import new_accelerator


def test_mean_and_deviation_are_those_of_the_whole_corpus(checkpoints, tmp_path, monkeypatch):
    """Not of its beginning: a second source must not stand apart from the first by its subject alone."""
    monkeypatch.setattr("nlptl.pretrain.teaching.CHUNK", 60)
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["bert"])
    texts = ["the film was good and the plot was fine"] * 50 + ["a dull book"] * 10
    ids = [
        tokenizer(f"{t} {i}", add_special_tokens=False)["input_ids"] for i, t in enumerate(texts)
    ]
    pieces = Dataset.from_list([{"input_ids": row, "length": len(row)} for row in ids])
    teacher = str(checkpoints["bert"])
    found = teacher_states(pieces, tokenizer, teacher, tmp_path, new_accelerator())
    assert abs(np.asarray(found, float).mean(0)).max() < 0.02
    assert np.asarray(found, float).std(0) == pytest.approx(1, abs=0.02)
    monkeypatch.setattr("nlptl.pretrain.teaching.CHUNK", 30)  # half of them, from everywhere
    half = teacher_states(pieces, tokenizer, teacher, tmp_path / "half", new_accelerator())
    assert abs(np.asarray(half, float).mean(0)).max() < 0.6  # of the first 30 alone it is above 2


def test_the_key_is_the_content(checkpoints, tmp_path, monkeypatch):
    """Another fingerprint of the same pieces finds them; a changed, moved or longer piece does not."""
    teacher = str(checkpoints["bert"])
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["bert"])
    computed = []

    def compute(pieces, tokenizer, teacher, file, accelerator):
        computed.append(file.name)
        raise RuntimeError

    monkeypatch.setattr("nlptl.pretrain.teaching._compute", compute)

    def key(rows, tokenizer=tokenizer, teacher=teacher, fingerprint=None):
        pieces = Dataset.from_list([{"input_ids": row, "length": len(row)} for row in rows])
        pieces._fingerprint = fingerprint or pieces._fingerprint
        try:
            teacher_states(pieces, tokenizer, teacher, tmp_path, new_accelerator())
        except RuntimeError:
            return computed[-1]

    rows = [[5, 6, 7], [8, 9]]
    same = key(rows)
    by_hand = sha256(f"2 {checkpoint_hash(teacher)} {tokenizer_hash(tokenizer)}".encode())
    for row in rows:
        by_hand.update(len(row).to_bytes(4, "big") + np.asarray(row, np.int32).tobytes())
    assert same == f"{by_hand.hexdigest()[:16]}.npy"  # those of earlier versions are found
    assert key(rows, fingerprint="of another cache") == same
    others = [
        key([[5, 6, 7], [8, 10]]),
        key([[8, 9], [5, 6, 7]]),
        key([[5, 6], [7, 8, 9]]),
        key(rows, tokenizer=tiny_tokenizer("roberta")),
        key(rows, teacher=str(checkpoints["roberta"])),
    ]
    assert len({same, *others}) == 6
