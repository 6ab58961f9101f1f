"""L2-SP and mixout: values by hand, nothing at weight 0, and a plain model at the end."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from test_learner import OTHER, TRAIN, learner, same, weights

from nlptl.modes.base import parse_mode
from nlptl.train.keep_close import L2SP, mixed_weights, mixout, pretrained


def distance(made, start):
    own = dict(made.model.named_parameters())
    return sum(float((own[n].detach() - t).pow(2).sum()) for n, t in start.items())


def test_the_penalty_by_hand(checkpoints, family):
    """Half the squared distance of what trains and was pretrained: 3 weights by 0.5 and one by 2."""
    made = learner(checkpoints[family], "freeze-lower-1", l2_sp=0.1)
    term = L2SP(made.model, made.start)
    assert float(term(None, None, None)) == 0
    head = [n for n in made.newly_initialized if n.endswith("weight")]
    own = dict(made.model.named_parameters())
    part = [n for n in made.start if own[n].requires_grad and n.endswith("weight")]
    with torch.no_grad():
        own[part[0]].view(-1)[:3] += 0.5
        own[part[1]].view(-1)[0] -= 2
        own[head[0]].add_(7)  # new, and so free
    assert float(term(None, None, None)) == pytest.approx((3 * 0.25 + 4) / 2, rel=1e-5)
    (grad,) = torch.autograd.grad(term(None, None, None), [own[part[1]]])
    assert float(grad.view(-1)[0]) == pytest.approx(-2, rel=1e-5) and not grad.view(-1)[1:].any()
    assert not set(made.start) & set(made.newly_initialized)
    assert not any(
        own[n].requires_grad for n in made.start if n not in part and n.endswith("weight")
    )


def test_the_penalty_keeps_weights_close(checkpoints):
    found = {}
    for weight in (0.0, 50.0):
        made = learner(checkpoints["bert"], "full", l2_sp=weight)
        start = made.start or pretrained(made.model, but=made.newly_initialized)
        made.fit(TRAIN)
        found[weight] = distance(made, start)
    assert found[50.0] < 0.5 * found[0.0]


def test_without_weights_that_train_there_is_no_term(checkpoints):
    made = learner(checkpoints["bert"], "lp-ft", l2_sp=0.1, epochs=4.0)
    made.fit(TRAIN, validation=OTHER)
    assert ["train_l2-sp" in line for line in made.history] == [
        *(False, False, True, True, True)  # the fitted head, and before and after three epochs
    ]


def test_mixout_by_hand():
    """(M w + (1 - M) w0 - p w0) / (1 - p): with p = 1/2 that is 2 w - w0, or w0."""
    weight, start = torch.tensor([4.0, 4.0, 4.0, 4.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])
    torch.manual_seed(0)
    kept = torch.empty(4).bernoulli_(0.5)
    torch.manual_seed(0)
    found = mixout(weight, start, 0.5)
    assert 0 < kept.sum() < 4
    assert found.tolist() == [7.0 if keep else 1.0 for keep in kept]
    torch.manual_seed(0)
    many = mixout(torch.full((100_000,), 4.0), torch.ones(100_000), 0.25)
    assert float(many.mean()) == pytest.approx(4.0, abs=0.02)  # its mean is w
    assert set(many.tolist()) == {1.0, 5.0}


def rates_of(model):
    return [m.p for m in model.modules() if type(m) is torch.nn.Dropout]


def test_mixout_works_in_train_mode_only_and_leaves_the_weights(checkpoints, family):
    made = learner(checkpoints[family], "freeze-lower-1", mixout=0.5)
    batch = next(iter(made.batches(TRAIN, seed=0).epoch(0)))
    inputs = {key: batch.inputs[key] for key in ("input_ids", "attention_mask")}

    def run(training):
        made.model.train(training)
        torch.manual_seed(0)
        with torch.no_grad():
            return made.model(**inputs).logits

    before, plain, rates = weights(made), run(False), rates_of(made.model)
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if parameter.requires_grad and name in made.start:
                parameter.add_(0.1 * torch.randn_like(parameter))
    moved = run(False)
    with mixed_weights(made.model, made.start, 0.5):
        assert torch.equal(run(False), moved)
        assert not torch.allclose(run(True), moved, atol=1e-4)
        assert not torch.equal(run(True), plain)
    assert torch.equal(run(False), moved)
    assert weights(made).keys() == before.keys()
    assert not any("forward" in vars(m) for m in made.model.modules())
    assert rates_of(made.model) == rates and 0.1 in rates


@pytest.mark.parametrize(
    "family", ["bert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("roberta", "t5"))]
)
def test_a_share_of_nothing_is_the_plain_run_bit_for_bit(checkpoints, family):
    plain = learner(checkpoints[family], "full", epochs=1.0)
    plain.fit(TRAIN)
    made = learner(checkpoints[family], "full", epochs=1.0)
    made.args, made.start = replace(made.args, mixout=0.0, l2_sp=0.0), pretrained(made.model)
    made.fit(TRAIN)
    assert same(weights(plain), weights(made))
    mixed = learner(checkpoints[family], "full", epochs=1.0, mixout=0.9)
    mixed.fit(TRAIN)
    assert not same(weights(plain), weights(mixed))
    assert plain.identity == mixed.identity  # the share itself is in the key


@pytest.mark.slow
def test_it_is_resumed_to_the_same_bits(checkpoints, tmp_path):
    from launching import KillAt, Killed

    def run(home, hooks=(), resume=False):
        made = learner(checkpoints["bert"], "freeze-lower-1", mixout=0.3, l2_sp=0.1)
        made.fit(TRAIN, validation=OTHER, home=home, hooks=hooks, resume=resume)
        return made

    whole = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", [KillAt(6)])
    again = run(tmp_path / "b", resume=True)
    assert same(weights(whole), weights(again)) and whole.history == again.history


def test_keys_of_kept_runs_know_them(checkpoints):
    from nlptl.study.outcomes import outcome_key
    from nlptl.tasks.classification import TextClassification

    args = learner(checkpoints["bert"], "full").args
    given = {"task": TextClassification(("a", "b")), "data": "d", "processes": 1, "device": "cpu"}
    changes = [
        *({}, {"l2_sp": 0.1}, {"mixout": 0.1}, {"layer_decay": 0.9}, {"keep_layers": "2"}),
        *({"reinit_top": 1}, {"schedule": "slanted"}, {"mode": parse_mode("top-1")}),
    ]
    keys = {outcome_key("s", args=replace(args, **change), **given) for change in changes}
    assert len(keys) == len(changes)
