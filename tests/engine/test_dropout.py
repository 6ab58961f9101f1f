"""Dropout on a CPU: the same distribution as torch's, drawn from torch's generator."""

import copy

import pytest
import torch
from torch import nn

from nlptl.engine.dropout import cheap_dropout, dropout_made_cheap


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
