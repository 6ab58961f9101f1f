"""Which parameters decay, and which enter the optimizer at all."""

import pytest
import torch
from datasets import Dataset
from tiny import sentences
from torch import nn
from transformers import AutoModelForSequenceClassification

from nlptl.errors import ConfigError, RunError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.layer_map import layer_map
from nlptl.modes.base import apply_mode, parse_mode
from nlptl.modes.definition import MODES, definitions, mode
from nlptl.tasks.classification import TextClassification
from nlptl.train.hooks import Quiet
from nlptl.train.learner import Learner
from nlptl.train.optimizer import (
    decayed,
    make_optimizer,
    make_schedule,
    slanted_triangle,
    warmup_steps,
)
from nlptl.train.setup import FinetuneArgs, start_accelerator


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
    assert [warmup_steps(w, 50) for w in (0, 0.1, 1, 7, 49)] == [0, 5, 1, 7, 49]
    for whole in (50, 51):
        with pytest.raises(ConfigError, match="the training has 50 steps"):
            warmup_steps(whole, 50)


@pytest.fixture
def layer_wise(monkeypatch):
    """A mode in which each block's rate is a share of that of the block above it."""
    definitions(builtin=True)
    monkeypatch.setattr(MODES, "things", dict(MODES.things))

    def groups(model, share):
        layers = layer_map(model)
        parts, where = ["embeddings"], layers.part_of(model)
        parts += [f"block {number}" for number in range(len(layers.blocks))]
        own = dict(model.named_parameters())
        return [
            {
                "params": [p for name, p in own.items() if where[name] == part],
                "rate": share ** (len(parts) - number),
            }
            for number, part in enumerate(parts)
        ]

    mode("layer-wise-{share:float}", help="everything", trains_all=True, groups=groups)(
        lambda model, share: model
    )
    return parse_mode("layer-wise-0.5")


def grouped(model, mode, name="adamw"):
    given = {"learning_rate": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.999), "name": name}
    return make_optimizer(model, **given, groups=mode.parameter_groups(model))


def rates(model, optimizer):
    """Name to rate and decay."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_groups_have_their_factor_of_the_peak(checkpoints, layer_wise, name):
    """By hand: head 1e-3, blocks 5e-4, 2.5e-4 and 1.25e-4, embeddings 6.25e-5, with and without decay."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints["bert"])
    optimizer = grouped(model, layer_wise, name)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (rate, decay) for rate in (1e-3, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5) for decay in (0.1, 0.0)
    ]
    found = rates(model, optimizer)
    assert set(found) == {n for n, _ in model.named_parameters()}
    assert found["classifier.weight"] == (1e-3, 0.1) and found["classifier.bias"] == (1e-3, 0.0)
    assert found["bert.encoder.layer.2.output.dense.weight"] == (5e-4, 0.1)
    assert found["bert.encoder.layer.0.output.LayerNorm.weight"] == (1.25e-4, 0.0)
    assert found["bert.embeddings.word_embeddings.weight"] == (6.25e-5, 0.1)


def test_a_schedule_keeps_the_factors(checkpoints, layer_wise):
    """Two steps up, two down: half of the peak, the peak, half, nothing."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints["bert"])
    optimizer = grouped(model, layer_wise)
    schedule = make_schedule(optimizer, name="linear", warmup=2, total=4)
    seen = []
    for _ in range(5):
        seen.append([group["lr"] for group in optimizer.param_groups[::2]])
        optimizer.step()
        schedule.step()
    peaks = [1e-3, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5]
    for factor, row in zip((0, 0.5, 1, 0.5, 0), seen, strict=True):
        assert row == [factor * peak for peak in peaks]


def test_no_groups_are_the_usual_two(checkpoints):
    """And groups of one rate compute the same numbers."""
    made = []
    for groups in (None, []):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(checkpoints["bert"])
        given = {"learning_rate": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.999)}
        optimizer = make_optimizer(model, **given, groups=groups)
        assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-3]
        for parameter in model.parameters():
            parameter.grad = parameter.detach().sign() + 0.5
        optimizer.step()
        made.append([p.detach() for g in optimizer.param_groups for p in g["params"]])
    assert parse_mode("full").parameter_groups(model) is None
    assert all(torch.equal(one, two) for one, two in zip(*made, strict=True))


def test_groups_that_do_not_fit_are_refused(checkpoints, layer_wise):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints["bert"])
    other = nn.Linear(2, 2)
    given = {"learning_rate": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.999)}
    head = list(model.classifier.parameters())
    for groups, message in (
        ([{"params": list(other.parameters()), "rate": 1.0}], "2 are of another model"),
        (
            [{"params": head, "rate": 1.0}, {"params": head[:1], "rate": 2.0}],
            "group 1.* 1 stand in",
        ),
        ([{"params": head, "rate": 0.0}], "the rate is 0.0"),
    ):
        with pytest.raises(RunError, match=message):
            make_optimizer(model, **given, groups=groups)


class Killed(Exception):
    pass


class KillAt(Quiet):
    def on_step(self, state):
        if state.step == 3:
            raise Killed
        return False


@pytest.mark.slow
def test_layer_wise_rates_train_and_are_resumed_to_the_same_bits(checkpoints, layer_wise, tmp_path):
    table = Dataset.from_dict({"text": sentences(24, 1), "label": ["no", "yes"] * 12})

    def run(home, mode, *, hooks=(), resume=False):
        args = FinetuneArgs(str(checkpoints["bert"]), mode, 1e-3, 2.0, batch_size=12)
        accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
        learner = Learner(TextClassification(("no", "yes")), args, accelerator).mode(mode)
        before = {n: p.detach().clone() for n, p in learner.model.named_parameters()}
        state = learner.fit(table, hooks=hooks, home=home, resume=resume)
        after = {n: p.detach() for n, p in learner.model.named_parameters()}
        return after, state, {n: float((after[n] - before[n]).abs().max()) for n in after}

    whole, state, moved = run(tmp_path / "a", layer_wise)
    assert moved["bert.encoder.layer.0.output.dense.bias"] < 0.5 * moved["classifier.bias"]
    assert len(state.optimizers["model"].param_groups) == 10
    with pytest.raises(Killed):
        run(tmp_path / "b", layer_wise, hooks=[KillAt()])
    again, state, _ = run(tmp_path / "b", layer_wise, resume=True)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    peaks = [1e-3, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5]
    assert [group["initial_lr"] for group in state.optimizers["model"].param_groups[::2]] == peaks
    for other in ("full", "layer-wise-0.75"):
        with pytest.raises(
            RunError, match="parameter groups with the peak rates 0.001, 0.001, 0.0005"
        ):
            run(tmp_path / "b", parse_mode(other), resume=True)


def test_rates_fall_from_the_head_down(checkpoints, family):
    """By hand, 0.5 from block to block: the head 1, the highest block 1/2, the embeddings the least."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints[family])
    model, _ = apply_mode(model, parse_mode("lora-r2" if family == "roberta" else "full"))
    plan = {"learning_rate": 1.0, "weight_decay": 0.0, "betas": (0.9, 0.999)}
    groups = parse_mode("full").parameter_groups(model, layer_decay=0.5)
    optimizer = make_optimizer(model, **plan, groups=groups)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    base = unwrap_peft(model)
    parts, depth = layer_map(base).part_of(base), 6 if family == "t5" else 3
    for name, parameter in base.named_parameters():
        if parameter.requires_grad:
            power = {"embeddings": depth + 1, "head": 0}.get(parts[name])
            power = depth - int(parts[name].split()[1]) if power is None else power
            assert rates[id(parameter)] == 0.5**power, name
    assert rates[id(base.get_parameter(HEADS[family]))] == 1.0
    assert len(set(rates.values())) == (4 if family == "roberta" else depth + 2)
    assert parse_mode("full").parameter_groups(model) is None


HEADS = {
    "bert": "classifier.weight",
    "roberta": "classifier.modules_to_save.default.out_proj.weight",
    "t5": "classification_head.out_proj.weight",
}


def test_layer_decay_multiplies_a_modes_own_rates(checkpoints, layer_wise):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints["bert"])
    groups = layer_wise.parameter_groups(model, layer_decay=0.5)
    assert sorted({group["rate"] for group in groups}) == [0.25**k for k in (4, 3, 2, 1, 0)]


def test_a_slanted_triangle_by_hand():
    """Howard & Ruder, equation 3, with T = 20, cut_frac = 0.1 and ratio = 32: cut = 2."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = make_schedule(optimizer, name="slanted", warmup=2, total=20)
    found = []
    for step in range(20):
        p = step / 2 if step < 2 else 1 - (step - 2) / (2 * (1 / 0.1 - 1))
        found.append((optimizer.param_groups[0]["lr"], 0.01 * (1 + p * 31) / 32))
        optimizer.step()
        schedule.step()
    for rate, expected in found:
        assert rate == pytest.approx(expected)
    assert found[0][0] == pytest.approx(0.01 / 32) and found[2][0] == 0.01
    assert slanted_triangle(20, cut=2, total=20) == 1 / 32
    assert slanted_triangle(0, cut=0, total=5) == 1.0
