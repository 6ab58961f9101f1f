"""Checkpoints whose files do not fit each other, or that bring code of their own."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from nlptl.cli.check import check_model
from nlptl.errors import ModelError
from nlptl.models.loading import BUNDLED, load_config, load_tokenizer, load_with_head

HEAD = {"num_labels": 2, "id2label": {0: "neg", 1: "pos"}, "label2id": {"neg": 0, "pos": 1}}


@pytest.fixture
def tiny(tmp_path) -> Path:
    tokenizer = load_tokenizer("bundled/bert")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def change(folder: Path, **entries) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def load(folder: Path, pooling: str = "auto"):
    return load_with_head(
        str(folder),
        auto_class=AutoModelForSequenceClassification,
        head=HEAD,
        pooling=pooling,
    )


@pytest.mark.parametrize("pooling", ["auto", "mean"])
@pytest.mark.parametrize(
    ("entry", "value", "tensor"),
    [
        ("vocab_size", 9000, "word_embeddings"),
        ("max_position_embeddings", 128, "position_embeddings"),
        ("intermediate_size", 48, "intermediate"),
    ],
)
def test_a_backbone_of_another_shape_is_refused(tiny, entry, value, tensor, pooling):
    change(tiny, **{entry: value})
    with pytest.raises(ModelError, match=rf"another shape than config\.json says.*{tensor}"):
        load(tiny, pooling)
    with pytest.raises(ModelError, match=rf"another shape than config\.json says.*{tensor}"):
        check_model(str(tiny), None)  # before any data is read


@pytest.mark.parametrize("pooling", ["auto", "mean"])
def test_blocks_without_a_place_are_refused(tiny, pooling):
    assert not load(tiny, pooling).notices
    change(tiny, num_hidden_layers=2)
    with pytest.raises(ModelError, match=r"more blocks than its config.*layer\.2\."):
        load(tiny, pooling)


def test_weights_inside_a_block_without_a_place_are_refused(tiny):
    weights = load_file(tiny / "model.safetensors")
    key = "bert.encoder.layer.1.attention.self.query"
    weights[f"{key}.lora_A.weight"] = weights[f"{key}.weight"][:2].clone()
    save_file(weights, tiny / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"have no place in the model.*lora_A"):
        load(tiny)


@pytest.mark.parametrize("pooling", ["auto", "mean"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tiny, pooling, value):
    """Before training: the loss would be NaN at any rate."""
    weights = load_file(tiny / "model.safetensors")
    weights["bert.encoder.layer.1.output.dense.weight"][3, 2] = value
    save_file(weights, tiny / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"1 tensors of the checkpoint hold numbers.*layer\.1\.output"
    ):
        load(tiny, pooling)


def test_a_word_that_transformers_does_not_know_is_named(tiny):
    change(tiny, hidden_act="gelo")
    with pytest.raises(
        ModelError, match=r"transformers does not know 'gelo', which a file.*config\.json"
    ):
        load(tiny)


def test_code_of_a_checkpoint_is_neither_run_nor_asked_about(tiny, monkeypatch):
    change(tiny, model_type="other", auto_map={"AutoConfig": "evil.Evil"})
    mark = tiny / "ran"
    (tiny / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    asked = []
    monkeypatch.setattr("builtins.input", lambda *_: asked.append(1) or "y")
    with pytest.raises(ModelError, match="never runs a checkpoint's code"):
        load_config(str(tiny))
    assert not asked and not mark.exists()


def test_a_bundled_checkpoint_loads_with_no_notice():
    assert load(BUNDLED / "bert").notices == ()


@pytest.mark.parametrize("name", ["bert", "roberta", "t5"])
def test_bundled_shapes_are_those_of_their_configurations(name):
    check_model(f"bundled/{name}", None)
