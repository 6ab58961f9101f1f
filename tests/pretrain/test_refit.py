"""A refitted head wins back what was turned around, and not what is lost."""

import numpy as np
import pytest
import torch
from tiny import sentences
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM
from transformers.models.bert.modeling_bert import BertLMPredictionHead

from nlptl.pretrain.forgetting import forgetting
from nlptl.pretrain.held_out import fixed_batches, piece_losses
from nlptl.pretrain.masked_lm import MaskedLM
from nlptl.pretrain.refit import HeadInputs, head_inputs, output_transform, refitted_loss
from nlptl.train.setup import new_accelerator

WIDTH, WORDS, TOKENS = 16, 12, 3000


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    config = BertConfig(hidden_size=WIDTH, vocab_size=WORDS)
    made = BertLMPredictionHead(config).eval()
    torch.nn.init.normal_(made.decoder.weight, std=1.0)
    return made


def test_what_was_turned_around_comes_back_and_noise_does_not(head):
    rng = torch.Generator().manual_seed(1)
    states = torch.randn(TOKENS, WIDTH, generator=rng)
    with torch.no_grad():
        targets = head(states).argmax(-1)
    pieces = np.arange(TOKENS) // 10
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=rng)).Q
    names = output_transform(head, WORDS)
    assert names == [
        "transform.dense.weight",
        "transform.dense.bias",
        "transform.LayerNorm.weight",
        "transform.LayerNorm.bias",
    ]
    weights = {name: p.clone() for name, p in head.named_parameters()}

    def loss(given):
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(head(given), targets).item()

    def refitted(given):
        return refitted_loss(head, names, HeadInputs(given, targets, pieces))

    own, turned, noise = states, states @ turn, torch.randn(TOKENS, WIDTH, generator=rng)
    shares = torch.bincount(targets, minlength=WORDS) / TOKENS
    entropy = -(shares * shares.clamp(min=1e-9).log()).sum().item()
    assert loss(turned) > 2 * loss(own)
    assert refitted(turned) < 0.5 * loss(turned)
    assert refitted(own) < loss(own) + 0.05
    assert refitted(noise) > 0.9 * entropy
    assert all(torch.equal(p, weights[name]) for name, p in head.named_parameters())


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_heads_inputs_give_the_objectives_own_loss(family, checkpoints, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
    config = AutoModelForMaskedLM.from_pretrained(checkpoints[family]).config
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config)
    objective = MaskedLM()
    batches = fixed_batches(sentences(40), tokenizer, objective)
    module = objective.loss(model)
    sums, counts = piece_losses(module, batches, objective, "cpu")
    head = model.cls if family == "bert" else model.lm_head
    found = head_inputs(module, head, batches, objective, "cpu")
    losses = torch.nn.functional.cross_entropy(head(found.states), found.targets, reduction="none")
    by_piece = np.bincount(found.pieces, losses.detach().numpy(), len(sums))
    np.testing.assert_allclose(by_piece, sums, rtol=1e-4)
    assert np.array_equal(np.bincount(found.pieces, minlength=len(counts)), counts)
    assert len(output_transform(head, config.vocab_size)) == 4


def test_forgetting_refits_on_demand(masked_lm_checkpoint):
    adapted = BertForMaskedLM.from_pretrained(masked_lm_checkpoint)
    given = (str(masked_lm_checkpoint), adapted, sentences(60))
    assert forgetting(*given, accelerator=new_accelerator()).refit is None
    before, after = forgetting(*given, accelerator=new_accelerator(), refit=True).refit
    assert before == after  # the same body, the same draws
