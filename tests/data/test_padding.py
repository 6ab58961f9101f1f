"""Padding: to the longest of a batch, and on a GPU to the next multiple of eight."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from nlptl.data.batching import LengthBatches
from nlptl.data.padding import pad, padded_length, real_tokens
from nlptl.errors import ModelError
from nlptl.models.tokenizer import longest_input
from nlptl.records import Batch
from nlptl.tasks.classification import TextClassification
from nlptl.train.stem_cache.store import Ragged

ROWS = [{"input_ids": [5, 6, 7]}, {"input_ids": [8] * 9}]


@pytest.fixture
def eights(monkeypatch):
    """As on a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_by_hand():
    assert pad([{"x": [1, 2]}, {"x": [3]}], "x", 0).tolist() == [[1, 2], [3, 0]]
    assert real_tokens([{"input_ids": [1, 2]}, {"input_ids": [3]}]).tolist() == [
        [True, True],
        [True, False],
    ]
    assert padded_length(9) == 9


def test_on_a_gpu_rows_are_multiples_of_eight(eights):
    assert [padded_length(n) for n in (1, 2, 8, 9, 16)] == [1, 8, 8, 16, 16]
    ids, real = pad(ROWS, "input_ids", 0), real_tokens(ROWS)
    assert ids.shape == real.shape == (2, 16)
    assert real.sum(1).tolist() == [3, 9] and (ids[~real] == 0).all()
    states = Ragged([3, 9], 4)
    assert states.padded([0, 1]).shape == (2, 16, 4)
    (batch,) = LengthBatches([3, 9], [3, 9], lambda rows, rng: {}, batch_size=2).epoch(0)
    assert batch.padding == pytest.approx(1 - 12 / 32)


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_more_padding_changes_no_logit(checkpoints, family, monkeypatch):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints[family]).eval()
    collate = TextClassification(("no", "yes")).collator(tokenizer)
    end = [tokenizer.eos_token_id] if family == "t5" else []
    rows = [{"input_ids": [*row["input_ids"], *end]} for row in ROWS]
    found = []
    for gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        inputs = collate(rows, np.random.default_rng(0))
        found.append(model(**inputs).logits)
    assert inputs["input_ids"].shape[1] == 16
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)


def test_no_row_grows_beyond_the_models_positions(checkpoints, eights):
    """62 positions hold seven eights."""
    config = AutoConfig.from_pretrained(checkpoints["bert"])
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["bert"])
    config.max_position_embeddings = 62
    assert longest_input(config, tokenizer, None) == longest_input(config, tokenizer, 60) == 56
    assert longest_input(config, tokenizer, 20) == 20
    with pytest.raises(ModelError, match="at most 62"):
        longest_input(config, tokenizer, 63)
    assert longest_input(config, tokenizer, None, taken=7) == 48
    with pytest.raises(ModelError, match="at most 55 tokens beside the mode's 7 vectors"):
        longest_input(config, tokenizer, 56, taken=7)


def test_only_copies_to_a_gpu_are_pinned(monkeypatch):
    calls = []

    class Fake:
        ndim = 1

        def pin_memory(self):
            calls.append("pinned")
            return self

        def to(self, device, non_blocking):
            calls.append((device, non_blocking))
            return self

    for device in ("cpu", "cuda:0"):
        Batch({"x": Fake()}, (0,), 1).to(torch.device(device))
    assert calls == [
        (torch.device("cpu"), True),
        "pinned",
        (torch.device("cuda:0"), True),
    ]
