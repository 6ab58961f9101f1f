"""Freezing has an inverse: any mode after any mode on one model equals that mode alone."""

from itertools import product

import pytest
import torch
from every import EACH, KINDS, fits
from torch import nn
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from nlptl.models.frozen_stem import frozen_blocks
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_with_head
from nlptl.modes.adapters import lora
from nlptl.modes.base import apply_mode, parse_mode
from nlptl.modes.definition import freeze, thaw
from nlptl.modes.freezing import freeze_lower, full
from nlptl.train.optimizer import make_optimizer


def load(path, auto_class=AutoModelForSequenceClassification):
    return load_with_head(str(path), auto_class=auto_class, head={}).model


def facts(model):
    """All that a mode decides, with the model in train mode."""
    model.train()
    names, groups = {id(p): name for name, p in model.named_parameters()}, []
    if any(p.requires_grad for p in model.parameters()):
        plan = {"learning_rate": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.999)}
        groups = make_optimizer(model, **plan).param_groups
    return {
        "parameters": [(n, p.shape, p.requires_grad) for n, p in model.named_parameters()],
        "modules": [(n, type(m).__name__, m.training) for n, m in model.named_modules()],
        "groups": [
            ([names[id(p)] for p in group["params"]], group["lr"], group["weight_decay"])
            for group in groups
        ],
        "stem": frozen_blocks(model),
    }


def any_after_any(path, names):
    """Set each mode after each other one, on one model."""
    alone = {}
    for name in names:
        model, manifest = apply_mode(load(path), parse_mode(name), task_type="SEQ_CLS")
        alone[name] = facts(model), manifest
    model = load(path)
    for first, second in product(names, names):
        for name in (first, second):
            model, manifest = apply_mode(model, parse_mode(name), task_type="SEQ_CLS")
        assert (facts(model), manifest) == alone[second], f"{second} after {first}"
    return alone


def test_any_mode_after_any_mode_equals_that_mode_alone(checkpoints, family):
    names = [name for name in KINDS if fits(name, family)]
    alone = any_after_any(checkpoints[family], names)
    assert len({str(found) for found, _ in alone.values()}) == len(names)


@pytest.mark.slow
def test_every_mode_after_every_mode_equals_that_mode_alone(checkpoints, family):
    any_after_any(checkpoints[family], [name for name in EACH if fits(name, family)])


def test_after_every_mode_the_model_is_as_it_was_loaded(checkpoints, family):
    """So the next mode begins where it would alone; the weights below the head are untouched, too."""
    model = load(checkpoints[family])
    before, body = facts(model), {n: p.clone() for n, p in model.named_parameters()}
    parts = layer_map(model).part_of(model)
    for name in [name for name in EACH if fits(name, family)]:
        model, _ = apply_mode(model, parse_mode(name), task_type="SEQ_CLS")
        model = thaw(model)
        assert facts(model) == before, name
        same = all(
            torch.equal(p, body[n]) for n, p in model.named_parameters() if parts[n] != "head"
        )
        assert same == (name != "scratch"), name
        if name == "scratch":
            body = {n: p.clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("mode", ["freeze-lower-1", "lora", "lora-above-1"])
def test_thaw_restores_what_stood_there_before(checkpoints, family, mode):
    """Names, flags, methods of one's own, and the tensors themselves, with a head that knows no family."""
    kind = AutoModelForSequenceClassification if family == "t5" else AutoModelForMaskedLM
    model = load(checkpoints[family], kind)
    frozen_by_hand = next(layer_map(model).blocks[0].parameters()).requires_grad_(False)
    module = layer_map(model).blocks[0]
    calls = []
    module.train = lambda flag=True: calls.append(flag) or nn.Module.train(module, flag)
    before, tensors = facts(model), {n: id(p) for n, p in model.named_parameters()}
    applied, _ = apply_mode(model, parse_mode(mode))
    assert facts(applied) != before
    again = thaw(applied)
    assert again is model
    assert facts(again) == before
    assert {n: id(p) for n, p in again.named_parameters() if not n.startswith(HEADS)} == {
        n: i for n, i in tensors.items() if not n.startswith(HEADS)
    }
    assert not frozen_by_hand.requires_grad  # for reasons of its own
    calls.clear()
    again.train()
    assert calls == [True]
    assert not hasattr(again, "peft_config")


HEADS = ("cls.", "lm_head.", "classification_head.", "transformer.decoder.final_layer_norm")


def test_blocks_can_be_thawed_one_after_the_other(checkpoints, family):
    """The loop of gradual unfreezing, on the functions themselves."""
    model = load(checkpoints[family])
    layers = layer_map(model)
    for count in (3, 1, 0):
        freeze_lower(model, count).train()
        for number, block in enumerate(layers.blocks):
            assert all(p.requires_grad == (number >= count) for p in block.parameters())
            assert all(m.training == (number >= count) for m in block.modules())
    assert all(p.requires_grad for p in full(model).parameters())
    assert all(module.training for module in model.modules())


def test_a_thawed_module_takes_the_mode_that_its_model_is_in(checkpoints):
    model = load(checkpoints["bert"]).eval()
    freeze_lower(model, 2)
    assert not any(module.training for module in thaw(model).modules())
    freeze_lower(model, 2).train()
    assert all(module.training for module in thaw(model).modules())
    alone = nn.Linear(2, 2)
    freeze(alone)
    freeze(alone)  # twice does not forget what was before
    assert thaw(alone).training and alone.weight.requires_grad
    assert "train" not in vars(alone)


def test_lora_taken_out_leaves_the_head_trained_and_the_body_as_it_was(checkpoints, family):
    model = load(checkpoints[family])
    body = {
        n: p.clone() for n, p in model.named_parameters() if n.startswith(model.base_model_prefix)
    }
    model, _ = apply_mode(model, parse_mode("lora"), task_type="SEQ_CLS")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.fill_(0.25)
    plain = thaw(model)
    parts = layer_map(plain).part_of(plain)
    for name, parameter in plain.named_parameters():
        if parts[name] == "head":
            assert bool((parameter == 0.25).all()), name
        else:
            assert torch.equal(parameter, body[name]), name


def test_a_gradient_of_an_earlier_mode_counts_for_nothing(checkpoints):
    """Clipping takes the norm over all parameters, frozen ones too if they hold a gradient."""
    model = load(checkpoints["bert"])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model, _ = apply_mode(model, parse_mode("head-only"))
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_a_merged_adapter_trains_as_a_whole_model_again(checkpoints, family):
    from nlptl.models.adapters import merge_adapter

    expected = facts(load(checkpoints[family]))
    model = merge_adapter(lora(load(checkpoints[family]), above=1))
    assert facts(apply_mode(model, parse_mode("full"))[0]) == expected
