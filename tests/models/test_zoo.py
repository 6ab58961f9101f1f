"""Tiny models of every architecture that transformers has a head for."""

import pytest
import torch

from nlptl.errors import ModelError
from nlptl.models.zoo import EXCEPTIONS, HEADS, architectures, tiny_config, tiny_inputs, tiny_model

#: Architectures of transformers 5.23.
KNOWN = {"sequence classification": 127, "question answering": 78, "token classification": 101}
FEW = ("bert", "t5", "gpt2", "deberta-v2", "qwen2", "mpnet")


def test_the_zoo_is_not_empty():
    """It comes from transformers' own list, so that a later version may only have more."""
    found = {head: len(architectures(head)) for head in HEADS}
    assert all(found[head] >= KNOWN[head] for head in KNOWN) and set(found) == set(KNOWN)


def test_an_exception_is_of_an_architecture_that_exists():
    known = {kind for head in HEADS for kind in architectures(head)}
    assert set(EXCEPTIONS) <= known


@pytest.mark.parametrize("kind", FEW)
def test_a_model_is_tiny_and_takes_its_inputs(kind):
    for head in (head for head in HEADS if kind in architectures(head)):
        model = tiny_model(kind, head)
        assert sum(p.numel() for p in model.parameters()) < 1_000_000
        inputs, labels = tiny_inputs(model, head)
        assert inputs["attention_mask"].sum(1).tolist() == [24, 18]
        with torch.no_grad():
            assert torch.isfinite(model(**inputs, **labels).loss)


def test_a_model_is_the_same_each_time_and_leaves_the_random_numbers_alone():
    drawn = torch.get_rng_state()
    one, two = tiny_model("bert"), tiny_model("bert")
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)
    assert torch.equal(drawn, torch.get_rng_state())


def test_fields_can_be_set():
    assert tiny_config("bert", num_hidden_layers=2).num_hidden_layers == 2
    assert tiny_model("modernbert", classifier_pooling="mean").config.classifier_pooling == "mean"


def test_what_does_not_exist_is_named():
    with pytest.raises(ModelError, match="'brt': transformers has no configuration"):
        tiny_config("brt")
    with pytest.raises(ModelError, match="'gemma': transformers has no class for question ans"):
        tiny_model("gemma", "question answering")
