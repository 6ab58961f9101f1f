"""Which parameters decay, and which enter the optimizer at all."""

import pytest
from torch import nn
from transformers import AutoModelForSequenceClassification

from nlptl.errors import RunError
from nlptl.modes.base import apply_mode, parse_mode
from nlptl.train.optimizer import decayed, make_optimizer, warmup_steps


def test_decay_spares_biases_and_norms_of_every_family(checkpoints, family):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints[family])
    names = {name for name, _ in model.named_parameters()}
    norms = {n for n in names if "LayerNorm" in n or "layer_norm" in n}
    biases = {n for n in names if n.endswith(".bias")}
    assert len(norms) > 5
    assert decayed(model) == names - norms - biases


def test_frozen_parameters_enter_no_group(checkpoints, family):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints[family])
    apply_mode(model, parse_mode("freeze-lower-2"))
    optimizer = make_optimizer(model, learning_rate=1e-3, weight_decay=0.1, betas=(0.9, 0.999))
    inside = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert inside == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(inside) < len(list(model.parameters()))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.1, 0.0}


def test_nothing_to_train_is_an_error():
    layer = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(RunError, match="no trainable parameter"):
        make_optimizer(layer, learning_rate=1.0, weight_decay=0.0, betas=(0.9, 0.999))


def test_warmup_is_a_share_or_a_count():
    assert [warmup_steps(w, 50) for w in (0, 0.1, 1, 7)] == [0, 5, 1, 7]
