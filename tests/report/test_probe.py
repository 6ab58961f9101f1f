"""Probes: pooled states against plain transformers, the fit against torch's own minimiser."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import sentences
from transformers import AutoModel, AutoTokenizer

from nlptl.pretrain.architecture import save_untrained
from nlptl.report.probe import fit_probe
from nlptl.train.features import pooled_states
from nlptl.train.setup import new_accelerator


def test_pooled_states_are_the_means_of_every_layer(checkpoints, family):
    texts = sentences(20, seed=3)
    found = pooled_states(
        str(checkpoints[family]), texts, accelerator=new_accelerator(), batch_size=7
    )
    model = AutoModel.from_pretrained(checkpoints[family]).eval()
    body = model.encoder if family == "t5" else model
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
    for row, text in zip(found, texts, strict=True):
        with torch.no_grad():
            layers = body(
                **tokenizer(text, return_tensors="pt"), output_hidden_states=True
            ).hidden_states
        expected = torch.stack([states[0].mean(0) for states in layers])
        np.testing.assert_allclose(row, expected, atol=2e-5)


def test_the_probe_is_the_penalised_optimum():
    """Minimise sum of cross-entropies + |W|^2 / (2 C) on standardised states in torch."""
    rng = np.random.default_rng(0)
    states = rng.normal(2.0, [1.0, 5.0, 0.2], (300, 3))
    labels = (states @ [1.0, 0.1, -2.0] + rng.normal(0, 1, 300) > 1.8).astype(int)
    parts = [(states[a:b], labels[a:b]) for a, b in ((0, 100), (100, 200), (200, 300))]
    probe = fit_probe(*parts, grid=(0.05,))
    mean, spread = parts[0][0].mean(0), parts[0][0].std(0)
    given, test = (torch.from_numpy((x - mean) / spread) for x in (parts[0][0], parts[2][0]))
    target = torch.from_numpy(labels[:100]).double()
    weights = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, tolerance_grad=1e-12)

    def objective():
        optimizer.zero_grad()
        logits = given @ weights[:3] + weights[3]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        loss = loss + weights[:3].square().sum() / (2 * 0.05)
        loss.backward()
        return loss

    optimizer.step(objective)
    expected = (test @ weights[:3] + weights[3] > 0).long().numpy()
    assert (probe.predictions == expected).mean() > 0.98
    assert probe.accuracy == pytest.approx((probe.predictions == labels[200:]).mean())


def test_the_penalty_is_chosen_on_validation_data_only():
    rng = np.random.default_rng(1)
    states = rng.normal(size=(400, 40))
    labels = (states[:, 0] > 0).astype(int)
    train, validation = (states[:60], labels[:60]), (states[60:230], labels[60:230])
    flipped = fit_probe(train, validation, (states[230:], 1 - labels[230:]))
    honest = fit_probe(train, validation, (states[230:], labels[230:]))
    assert flipped.inverse_penalty == honest.inverse_penalty
    assert flipped.accuracy == pytest.approx(1 - honest.accuracy)
    assert honest.validation > 0.7


def test_an_untrained_twin_has_the_architecture_and_other_weights(checkpoints, family, tmp_path):
    save_untrained(str(checkpoints[family]), tmp_path / "a", seed=3)
    save_untrained(str(checkpoints[family]), tmp_path / "b", seed=3)
    save_untrained(str(checkpoints[family]), tmp_path / "c", seed=4)
    one, same, other = (load_file(tmp_path / d / "model.safetensors") for d in "abc")
    assert all(torch.equal(one[name], same[name]) for name in one)
    moved = [name for name in one if not torch.equal(one[name], other[name])]
    assert any("embed" in name or "shared" in name for name in moved) and len(moved) > 10
    given, made = (
        AutoModel.from_pretrained(path).config for path in (checkpoints[family], tmp_path / "a")
    )
    assert (given.num_hidden_layers, given.hidden_size) == (
        made.num_hidden_layers,
        made.hidden_size,
    )
    words = [
        AutoTokenizer.from_pretrained(p)("Ada kept this book")["input_ids"]
        for p in (checkpoints[family], tmp_path / "a")
    ]
    assert words[0] == words[1]
