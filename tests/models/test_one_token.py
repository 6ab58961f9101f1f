"""The last block for one token: the same logits, the same gradients, fewer operations."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tiny import DEPTH, tiny_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from nlptl.models.flops import block_forward, training_flops
from nlptl.models.frozen_stem import FrozenStem, swapped_forward
from nlptl.models.layer_map import layer_map
from nlptl.models.one_token import can_read_one_token, last_block_for_one_token
from nlptl.modes.base import apply_mode, parse_mode

LENGTHS = (7, 4, 9, 2)


def tiny(family, attention="sdpa"):
    torch.manual_seed(0)
    config = tiny_config(family, 90)
    return AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)


def batch(lengths=LENGTHS):
    """Token ids with padding (0 for BERT, 1 for RoBERTa: the mask alone tells)."""
    ids = torch.randint(5, 90, (len(lengths), max(lengths)))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids, "attention_mask": mask.long()}


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("lengths", [LENGTHS, (5, 5, 5)])
def test_logits_and_gradients_are_those_of_the_whole_block(family, lengths):
    model = tiny(family).eval()
    whole, inputs = copy.deepcopy(model), batch(lengths)
    labels = torch.arange(len(lengths)) % 2
    seen = {}
    layer_map(model).blocks[-1].register_forward_hook(lambda m, i, o: seen.update(shape=o.shape))
    expected = whole(**inputs, labels=labels)
    expected.loss.backward()
    with last_block_for_one_token(model):
        found = model(**inputs, labels=labels)
        found.loss.backward()
    assert seen["shape"] == (len(lengths), 1, 32)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-6)
    for (name, own), other in zip(model.named_parameters(), whole.parameters(), strict=True):
        assert own.grad is not None, name
        torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-6, msg=name)
    torch.testing.assert_close(model(**inputs).logits, expected.logits, rtol=0, atol=0)
    assert seen["shape"][1] == max(lengths)  # outside, the whole block again


def test_the_block_drops_out_while_it_trains():
    model, inputs = tiny("bert").train(), batch()
    for module in model.modules():  # only the last block's own dropout is left
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with last_block_for_one_token(model):
        first = model(**inputs).logits
        assert torch.equal(model(**inputs).logits, first)
        model.bert.encoder.layer[-1].attention.self.dropout.p = 0.5
        assert not torch.equal(model(**inputs).logits, first)


def test_lora_and_checkpointed_activations():
    model, _ = apply_mode(
        tiny("bert"),
        parse_mode("lora"),
        newly_initialized=frozenset({"classifier.weight", "classifier.bias"}),
        task_type="SEQ_CLS",
    )
    model.eval()
    inputs = batch()
    expected = model(**inputs).logits
    with last_block_for_one_token(model):
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=1e-6)
    trained = tiny("bert").train()
    trained.config.hidden_dropout_prob = 0.0
    trained.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with last_block_for_one_token(trained):
        trained(**inputs, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    assert all(p.grad is not None for p in trained.parameters())


def test_models_that_need_more_stay_as_they_are():
    for model in (tiny("t5"), tiny("bert", attention="eager")):
        assert not can_read_one_token(model)
        with last_block_for_one_token(model):
            assert "forward" not in vars(layer_map(model).blocks[-1])


def test_exchanges_nest():
    layer = torch.nn.Linear(2, 2)
    with swapped_forward(layer, lambda x: x + 1):
        with swapped_forward(layer, lambda x: x + 2):
            assert layer(torch.zeros(1)).item() == 2
        assert layer(torch.zeros(1)).item() == 1
    assert "forward" not in vars(layer)
    model, inputs = tiny("bert").eval(), batch()
    with last_block_for_one_token(model):
        caught = FrozenStem(model, 2).run(
            lambda: model(**inputs)
        )  # the last block passes on meanwhile
        assert caught["states"].shape == (4, 9, 32)
        assert FrozenStem(model, DEPTH).run(lambda: model(**inputs))["states"].shape == (4, 1, 32)


@pytest.mark.parametrize("one_token", [False, True])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_operations_by_formula_are_those_that_torch_counts(family, one_token):
    """torch's own counter, on texts of equal length; the head's products taken off by hand."""
    model, texts, length = tiny(family).eval(), 3, 8
    within = last_block_for_one_token(model) if one_token else nullcontext()
    counter = FlopCounterMode(display=False)  # which does not know the fused attention of CPUs
    with within, sdpa_kernel(SDPBackend.MATH), torch.no_grad(), counter:
        model(**batch((length,) * texts))
    head = 2 * texts * 32 * (32 + 2)  # a dense layer (BERT's is the pooler) and two classes
    lengths = np.full(texts, length)
    lower, last = layer_map(model).blocks[0], layer_map(model).blocks[-1]
    blocks = (DEPTH - 1) * block_forward(lower, 32, lengths)
    blocks += block_forward(last, 32, lengths, one_token=one_token)
    assert counter.get_total_flops() - head == blocks
    trained = training_flops(model, lengths, 2, cached=False, pooled=one_token)
    assert trained == 2 * 3 * blocks
