"""Forgetting: nothing changed is exactly nothing forgotten, and what changed is the body alone."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tiny import FAMILIES, sentences, tiny_config
from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

from nlptl.errors import ModelError
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_with_head
from nlptl.modes.base import apply_mode, parse_mode
from nlptl.pretrain.forgetting import forgetting, similarity_forgetting, with_body_of
from nlptl.pretrain.held_out import upstream_loss
from nlptl.pretrain.upstream_entry import bundled_texts, upstream_entry
from nlptl.tasks.classification import TextClassification
from nlptl.train.setup import new_accelerator

TEXTS = sentences(60, seed=9)


@pytest.fixture(scope="module")
def upstream(checkpoints, tmp_path_factory):
    """A checkpoint with its pretraining head, for each family."""
    made = {}
    for family in FAMILIES:
        tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
        kind = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForMaskedLM
        torch.manual_seed(1)
        path = tmp_path_factory.mktemp(f"lm_{family}")
        kind.from_config(tiny_config(family, len(tokenizer))).save_pretrained(path)
        tokenizer.save_pretrained(path)
        made[family] = str(path)
    return made


def classifier(name):
    task = TextClassification(("no", "yes"))
    torch.manual_seed(2)
    return load_with_head(name, auto_class=task.auto_class, head=task.head)


def test_a_body_that_did_not_change_forgot_exactly_nothing(upstream, family):
    """Head-only: all that trained lies above the blocks, T5's last norm included."""
    loaded = classifier(upstream[family])
    model, _ = apply_mode(loaded.model, parse_mode("head-only"), newly_initialized=loaded.new)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    found = forgetting(upstream[family], model, TEXTS, accelerator=new_accelerator())
    assert found.loss == 0 and found.low == 0 and found.high == 0
    assert found.before == found.after
    whole = upstream_loss(upstream[family], TEXTS, accelerator=new_accelerator())
    assert found.before == pytest.approx(whole["loss"], abs=1e-6)
    assert found.tokens == whole["tokens"]


def test_a_body_that_changed_is_scored_under_the_original_head(upstream, family):
    """By hand: the checkpoint's own file with one block replaced, its head and output layer untouched."""
    adapted = classifier(upstream[family]).model
    block = layer_map(adapted).blocks[1]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(3)
    kind = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForMaskedLM
    by_hand = kind.from_pretrained(upstream[family]).eval()
    with torch.no_grad():
        for parameter in layer_map(by_hand).blocks[1].parameters():
            parameter.mul_(3)
    made = with_body_of(kind.from_pretrained(upstream[family]).eval(), adapted).eval()
    ids = torch.tensor([[5, 6, 7, 8, 1]])
    given = {"input_ids": ids} | ({"labels": ids} if family == "t5" else {})
    torch.testing.assert_close(made(**given).logits, by_hand(**given).logits)
    found = forgetting(upstream[family], adapted, TEXTS, accelerator=new_accelerator())
    assert found.loss == pytest.approx(found.after - found.before) and found.loss != 0
    assert found.low <= found.loss <= found.high


def test_changed_embeddings_do_not_change_the_output_layer_that_is_tied_to_them(upstream):
    """The original head is re-attached: its output layer is the untouched embeddings, not the new ones."""
    adapted = classifier(upstream["bert"]).model
    with torch.no_grad():
        adapted.bert.embeddings.word_embeddings.weight.add_(1.0)
    original = AutoModelForMaskedLM.from_pretrained(upstream["bert"])
    before = copy.deepcopy(original.cls.predictions.decoder.weight)
    made = with_body_of(original, adapted)
    assert torch.equal(made.cls.predictions.decoder.weight, before)
    assert torch.equal(
        made.bert.embeddings.word_embeddings.weight, adapted.bert.embeddings.word_embeddings.weight
    )


def test_lora_with_its_adapter_off_gives_before_back_exactly(upstream, family, tmp_path):
    loaded = classifier(upstream[family])
    model, _ = apply_mode(
        loaded.model, parse_mode("lora"), newly_initialized=loaded.new, task_type="SEQ_CLS"
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(tmp_path)
    body = model.merge_and_unload()

    def entry():
        adapter = (TextClassification(("no", "yes")), tmp_path)
        return upstream_entry(upstream[family], body, TEXTS, new_accelerator(), 50, adapter=adapter)

    found = entry()
    assert found["recoverable"] is True
    assert found["forgetting"] != 0
    assert found["sequences"] <= 50
    # Had the run touched anything below the adapter, taking it off would not bring it back.
    with torch.no_grad():
        next(body.base_model.parameters()).add_(0.01)
    assert entry()["recoverable"] is False


def test_a_sentence_encoder_is_compared_by_its_similarities(checkpoints):
    """Without an LM head: Spearman's correlation of the cosines, 1 for the same states."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(30, 8))
    same = similarity_forgetting(states, states.copy())
    assert (same.after, same.loss, same.low, same.high) == (1, 0, 0, 0)
    other = similarity_forgetting(states, rng.normal(size=(30, 8)))
    assert other.after == pytest.approx(0, abs=0.2)
    assert 0.6 < other.low < other.loss < other.high < 1.4
    body = classifier(str(checkpoints["bert"])).model
    entry = upstream_entry(str(checkpoints["bert"]), body, TEXTS, new_accelerator(), 50)
    assert entry["objective"] == "sentence-similarity" and entry["forgetting"] == 0
    with pytest.raises(ModelError, match="has no trained head"):
        forgetting(str(checkpoints["bert"]), body, TEXTS, accelerator=new_accelerator())


def test_its_draws_are_those_of_a_plain_bootstrap():
    """Against scipy's ranks of the pairs that were drawn; entries of 1 and -1 give five cosines: many ties."""
    rng = np.random.default_rng(2)
    before = rng.choice([-1.0, 1.0], (24, 4))
    after = np.where(rng.random((24, 4)) < 0.2, -before, before)
    cosines = [states @ states.T / 4 for states in (before, after)]
    one, two = np.triu_indices(24, 1)
    picks, found = np.random.default_rng(0), []
    for _ in range(40):
        picked = picks.integers(0, 24, 24)
        rows, columns = picked[one], picked[two]
        other = rows != columns
        pairs = [each[rows[other], columns[other]] for each in cosines]
        found.append(1 - spearmanr(*pairs).statistic)
    ours = similarity_forgetting(before, after, draws=40)
    assert (ours.low, ours.high) == pytest.approx(np.quantile(found, [0.025, 0.975]), abs=1e-12)
    assert ours.after == pytest.approx(spearmanr(*(e[one, two] for e in cosines)).statistic)


def test_texts_come_with_the_package():
    texts = bundled_texts()
    assert len(texts) == len(set(texts)) > 800
    assert texts == bundled_texts()
