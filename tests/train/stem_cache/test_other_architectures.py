"""Cached equals live for architectures that no table names, or the run says why nothing is kept."""

import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import sentences
from transformers import AutoConfig, AutoModelForSequenceClassification

from nlptl.models.loading import load_tokenizer
from nlptl.modes.base import parse_mode
from nlptl.tasks.classification import TextClassification
from nlptl.train.finetune import finetune
from nlptl.train.losses import TaskLoss
from nlptl.train.setup import FinetuneArgs, start_accelerator
from nlptl.train.stem_cache import store

COMMON = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "pad_token_id": 0}
MODERN = {
    "num_hidden_layers": 3,
    "classifier_pooling": "mean",
    "eos_token_id": 3,
    "bos_token_id": 2,
}
MODERN |= {"cls_token_id": 2, "sep_token_id": 3, "max_position_embeddings": 64}
GPT2 = {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 64, "pad_token_id": 0}
GPT2 |= {"eos_token_id": 3, "bos_token_id": 2}
FUNNEL = {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "block_sizes": [1, 1, 1]}


@pytest.fixture
def losses(monkeypatch, tmp_path):
    """The loss of every training batch of the runs that follow, with an empty cache."""
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "cache"))
    store.free_states()
    found, plain = [], TaskLoss.forward

    def recording(self, **inputs):
        made = plain(self, **inputs)
        if self.training:
            found.append(made["loss"].item())
        return made

    monkeypatch.setattr(TaskLoss, "forward", recording)
    return found


def rows(count, seed):
    texts = sentences(count, seed)
    return Dataset.from_dict(
        {"text": texts, "label": ["yes" if "good" in t else "no" for t in texts]}
    )


def run(path, mode, cache):
    settings = FinetuneArgs(
        **{"model": str(path), "mode": parse_mode(mode), "seed": 0, "cache": cache},
        **{"learning_rate": 2e-3, "epochs": 3.0, "batch_size": 8, "head": "random"},
    )
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    splits = {"train": rows(32, 1), "validation": rows(8, 2), "test": rows(12, 3)}
    return finetune(TextClassification(("no", "yes")), splits, settings, accelerator=accelerator)


@pytest.mark.parametrize(
    ("kind", "sizes", "mode", "tokens"),
    [
        ("gpt2", GPT2, "head-only", "one"),  # of its last token
        (
            "modernbert",
            COMMON | MODERN,
            "head-only",
            "all",
        ),  # the mean comes after a norm that trains
        ("funnel", FUNNEL, "head-only", "none"),  # a third of the states, and a skip connection
    ],
)
def test_cached_equals_live(checkpoints, tmp_path, losses, capsys, kind, sizes, mode, tokens):
    path = tmp_path / kind
    shutil.copytree(checkpoints["bert"], path)
    size = len(load_tokenizer(str(path)))
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=size, **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(path)
    live = run(path, mode, "off")
    first, losses[:] = list(losses), []
    capsys.readouterr()
    cached = run(path, mode, "memory")
    assert len(first) == len(losses) == 12
    np.testing.assert_allclose(losses, first, atol=1e-5)
    for one, two in zip(live.predictions, cached.predictions, strict=True):
        assert one["scores"] == pytest.approx(two["scores"], abs=1e-5)
    if tokens == "none":
        told = "cache: off, the model computes something else from the states of its frozen blocks"
        assert cached.cache is None and told in capsys.readouterr().out
        return
    texts = 32 + 8 + 12
    every = sum(
        len(ids) for ids in load_tokenizer(str(path))([*map(str, all_texts())])["input_ids"]
    )
    assert cached.cache["bytes"] == 4 * 16 * (texts if tokens == "one" else every)


def all_texts():
    return [*sentences(32, 1), *sentences(8, 2), *sentences(12, 3)]
