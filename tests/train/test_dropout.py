"""Dropout on a CPU: the same distribution as torch's, drawn from torch's generator."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from nlptl.train.dropout import cheap_attention, cheap_dropout, dropout_made_cheap


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_rate_scale_and_independence(rate):
    """A million values: shares within five standard errors, for single values and for neighbours."""
    torch.manual_seed(0)
    made = cheap_dropout(torch.ones(1000, 1000), rate)
    zero = (made == 0).double()
    error = (rate * (1 - rate)) ** 0.5 / 1000
    assert abs(zero.mean() - rate) < 5 * error
    assert made[made != 0].unique().tolist() == pytest.approx([1 / (1 - rate)], rel=2e-4)
    flat = zero.flatten()
    for step in (1, 2, 3, 4, 1000):  # four neighbours share a draw
        together = (flat[:-step] * flat[step:]).mean()
        assert abs(together - rate**2) < 5 * (rate**2 * (1 - rate**2)) ** 0.5 / 1000 + 2 * error
    lanes = flat.view(-1, 4).mean(0)
    assert (lanes - rate).abs().max() < 5 * 2 * error


def test_the_gradient_is_the_mask():
    values = torch.randn(3, 5, 7, requires_grad=True)
    made = cheap_dropout(values, 0.3)
    made.sum().backward()
    torch.testing.assert_close(made, values * values.grad)
    assert ((values.grad == 0) == (made == 0)).all() and 0 < (made == 0).sum() < 105


def test_the_generator_decides():
    values = torch.ones(101)
    torch.manual_seed(3)
    first, second = cheap_dropout(values, 0.4), cheap_dropout(values, 0.4)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(cheap_dropout(values, 0.4), first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_stays(dtype):
    assert cheap_dropout(torch.ones(9, dtype=dtype), 0.1).dtype == dtype


def test_only_within_and_only_while_training():
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.0)), nn.Dropout(1.0))
    values = torch.ones(4000)
    with dropout_made_cheap(model):
        torch.manual_seed(0)
        made = model[0](values)
        torch.manual_seed(0)
        assert torch.equal(made, cheap_dropout(values, 0.5))
        assert torch.equal(model[1](values), values)
        assert (model[2](values) == 0).all()
        assert torch.equal(model.eval()(values), values)
        other = copy.deepcopy(model)
    model.train()
    torch.manual_seed(0)
    ours = model[0](values)
    torch.manual_seed(0)
    assert torch.equal(ours, nn.functional.dropout(values, 0.5))
    assert other[0].forward.__self__ is other[0]


@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 7 * 7).view(1, 1, 7, 7)])
@pytest.mark.parametrize("mask", ["none", "bool", "float"])
@pytest.mark.parametrize("scaling", [None, 1.0])
def test_attention_is_torchs_own_but_for_the_dropout(bias, mask, scaling):
    """At a rate too small to drop anything the result is the kernel's."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 4) for _ in range(3))
    seen = torch.arange(7) < torch.tensor([7, 5])[:, None]
    given = {"none": None, "bool": seen[:, None, None].expand(2, 1, 7, 7)}
    given["float"] = torch.where(given["bool"], 0.0, torch.finfo(torch.float32).min)
    layer = nn.Module()
    more = {"scaling": scaling, "position_bias": bias, "is_causal": False}
    made, _ = cheap_attention(layer, query, key, value, given[mask], dropout=1e-9, **more)
    own, _ = sdpa_attention_forward(layer, query, key, value, given[mask], **more)
    torch.testing.assert_close(made, own)
    through, _ = cheap_attention(layer, query, key, value, given[mask], **more)  # rate 0
    assert torch.equal(through, own)


def test_attention_drops_weights_at_its_rate():
    """Equal scores and values of one: each output is the kept share of its weights, scaled up."""
    query, key = torch.zeros(1, 1, 500, 4), torch.zeros(1, 1, 400, 4)
    value = torch.ones(1, 1, 400, 2)
    torch.manual_seed(0)
    made, _ = cheap_attention(nn.Module(), query, key, value, None, 0.25, is_causal=False)
    kept = made[0, :, 0, 0] * 0.75 * 400
    torch.testing.assert_close(kept, kept.round(), rtol=0, atol=1e-2)
    assert kept.mean().item() == pytest.approx(300, abs=5 * (400 * 0.25 * 0.75 / 500) ** 0.5)
    assert kept.std().item() == pytest.approx((400 * 0.25 * 0.75) ** 0.5, rel=0.2)


def test_causal_attention_is_the_originals():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 5, 4) for _ in range(3))
    layer = nn.Module()
    torch.manual_seed(1)
    made, _ = cheap_attention(layer, query, key, value, None, dropout=0.5, is_causal=True)
    torch.manual_seed(1)
    own, _ = sdpa_attention_forward(layer, query, key, value, None, dropout=0.5, is_causal=True)
    assert torch.equal(made, own)


def test_models_use_it_within_and_not_afterwards(checkpoints, family, monkeypatch):
    usual = ALL_ATTENTION_FUNCTIONS["sdpa"]
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints[family]).train()
    calls = []

    def counted(*args, **more):
        calls.append(more["dropout"])
        return cheap_attention(*args, **more)

    monkeypatch.setattr("nlptl.train.dropout.cheap_attention", counted)
    ids = torch.tensor([[5, 6, 7, 8, 1]])
    with dropout_made_cheap(model):
        assert model(input_ids=ids).logits.isfinite().all()
    blocks = model.config.num_hidden_layers
    assert len(calls) >= blocks and set(calls) == {0.1}
    model(input_ids=ids)
    assert len(calls) >= blocks and ALL_ATTENTION_FUNCTIONS["sdpa"] is usual
