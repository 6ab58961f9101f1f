"""Upstream scores: the same figure every time, and pseudo-perplexity against a plain loop."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import sentences, tiny_config
from transformers import AutoModelForMaskedLM, AutoTokenizer, T5ForConditionalGeneration

from nlptl.errors import ModelError
from nlptl.pretrain.held_out import (
    document_of,
    fixed_batches,
    objective_of,
    piece_losses,
    pretraining_flops,
    pseudo_log_likelihood,
    pseudo_perplexity,
    upstream_loss,
)
from nlptl.train.setup import new_accelerator


def test_the_loss_is_the_same_every_time_and_near_uniform_for_random_weights(masked_lm_checkpoint):
    texts = sentences(80, seed=5)
    found = [
        upstream_loss(str(masked_lm_checkpoint), texts, accelerator=new_accelerator())
        for _ in range(2)
    ]
    assert found[0] == found[1]
    vocabulary = len(AutoTokenizer.from_pretrained(masked_lm_checkpoint))
    assert found[0]["loss"] == pytest.approx(np.log(vocabulary), rel=0.05)
    assert found[0]["se"] > 0 and found[0]["tokens"] > 40


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_the_loss_is_the_same_in_other_batches_and_in_shares(
    family, masked_lm_checkpoint, checkpoints, tmp_path, monkeypatch
):
    name = str(masked_lm_checkpoint)
    if family == "t5":
        name, tokenizer = str(tmp_path), AutoTokenizer.from_pretrained(checkpoints["t5"])
        T5ForConditionalGeneration(tiny_config("t5", len(tokenizer))).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
    texts, accelerator = sentences(40, seed=5), new_accelerator()
    whole = upstream_loss(name, texts, accelerator=accelerator)
    small = upstream_loss(name, texts, accelerator=accelerator, batch_size=3)
    assert small["tokens"] == whole["tokens"]
    assert small["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    assert small["se"] == pytest.approx(whole["se"], rel=1e-3)
    monkeypatch.setattr("nlptl.data.padding.multiple", lambda: 8)  # as on a GPU
    assert upstream_loss(name, texts, accelerator=accelerator)["loss"] == pytest.approx(
        whole["loss"], abs=1e-5
    )
    monkeypatch.setattr("nlptl.pretrain.held_out.gather", lambda sums, accelerator: sums)
    shares = [
        upstream_loss(
            name,
            texts,
            accelerator=SimpleNamespace(process_index=rank, num_processes=2, device="cpu"),
        )
        for rank in (0, 1)
    ]
    assert sum(share["tokens"] for share in shares) == whole["tokens"]  # none is counted twice


def test_its_error_is_that_of_drawing_whole_texts(masked_lm_checkpoint):
    """Each text three times in a row, so that its pieces are far from independent; 4,000 draws by hand."""
    texts = [" ".join([text] * 3) for text in sentences(30, seed=6)]
    name, objective = str(masked_lm_checkpoint), objective_of(str(masked_lm_checkpoint))
    found = upstream_loss(name, texts, accelerator=new_accelerator(), max_length=12)
    tokenizer = AutoTokenizer.from_pretrained(name)
    batches = fixed_batches(texts, tokenizer, objective, max_length=12)
    own = document_of(batches.features.pieces)
    assert own.tolist() == sorted(own) and set(own) == set(range(30)) and len(own) > 60
    loss = objective.loss(AutoModelForMaskedLM.from_pretrained(name))
    nats, counts = piece_losses(loss, batches, objective, "cpu")
    assert found["loss"] == pytest.approx(nats.sum() / counts.sum(), abs=1e-6)
    rng, values = np.random.default_rng(0), []
    for _ in range(4000):
        times = np.bincount(rng.integers(0, 30, 30), minlength=30)[own]
        values.append((times @ nats) / (times @ counts))
    assert found["se"] == pytest.approx(np.std(values), rel=0.08)


def test_t5_is_scored_by_span_corruption(checkpoints, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["t5"])
    torch.manual_seed(0)
    T5ForConditionalGeneration(tiny_config("t5", len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = upstream_loss(str(tmp_path), sentences(40), accelerator=new_accelerator())
    assert found["tokens"] > 100 and np.isfinite(found["loss"])


def test_a_checkpoint_without_its_pretraining_head_is_refused(checkpoints):
    with pytest.raises(ModelError, match="has no trained head"):
        upstream_loss(str(checkpoints["bert"]), sentences(5), accelerator=new_accelerator())


def test_operations_are_known_back_to_a_model_that_was_new(tmp_path):
    """1e9 from scratch, 2e9 on top of that; and a third that went on from a model of unknown cost."""
    starts = {"first": None, "second": str(tmp_path / "first/model"), "third": "bundled/bert"}
    for number, (name, start) in enumerate(starts.items(), start=1):
        (tmp_path / name).mkdir()
        record = {"model": start, "training_flops": number * 1e9}
        (tmp_path / name / "result.json").write_text(json.dumps(record))
    known = {name: pretraining_flops(str(tmp_path / name / "model")) for name in starts}
    assert known == {"first": 1e9, "second": 3e9, "third": None}
    assert pretraining_flops(str(tmp_path / "second/models/step-0000001")) is None
    (tmp_path / "first/result.json").write_text('{"model": null}')  # of an older version
    assert pretraining_flops(str(tmp_path / "second/model")) is None


def test_pseudo_perplexity_equals_a_loop_over_positions(masked_lm_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(masked_lm_checkpoint)
    model = AutoModelForMaskedLM.from_pretrained(masked_lm_checkpoint).eval()
    texts, expected = ["the film was good", "a dull plot"], []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        for place in range(1, ids.shape[1] - 1):
            hidden = ids.clone()
            hidden[0, place] = tokenizer.mask_token_id
            with torch.no_grad():
                shares = model(hidden).logits[0, place].softmax(-1)
            expected.append(float(shares[ids[0, place]].log()))
    found = [pseudo_log_likelihood(model, tokenizer, text, batch_size=3) for text in texts]
    assert np.concatenate(found) == pytest.approx(expected, abs=1e-5)
    perplexity = pseudo_perplexity(model, tokenizer, texts)
    assert perplexity == pytest.approx(np.exp(-np.mean(expected)), rel=1e-5)
