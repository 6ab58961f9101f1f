"""The frozen lower part: found by what it does, run alone, left out, with the same outcome."""

import pytest
import torch
from tiny import DEPTH, sentences
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from nlptl.errors import RunError
from nlptl.models.frozen_stem import FrozenStem, frozen_blocks
from nlptl.models.loading import load_tokenizer, load_with_head
from nlptl.modes.base import apply_mode, parse_mode


def prepared(checkpoints, family, mode, auto=AutoModelForSequenceClassification):
    torch.manual_seed(0)
    loaded = load_with_head(str(checkpoints[family]), auto_class=auto, head={})
    return apply_mode(loaded.model, parse_mode(mode), newly_initialized=loaded.new)[0].train()


def ragged(checkpoints, family):
    tokenizer = load_tokenizer(str(checkpoints[family]))
    return tokenizer(sentences(7, seed=4), padding=True, return_tensors="pt")


@pytest.mark.parametrize("mode", ["full", "lora", "freeze-lower-0", "freeze-lower-2", "head-only"])
def test_the_frozen_blocks_are_counted(checkpoints, family, mode):
    depth = 2 * DEPTH if family == "t5" else DEPTH
    expected = {"freeze-lower-2": 2, "head-only": depth}.get(mode, 0)
    assert frozen_blocks(prepared(checkpoints, family, mode)) == expected


def test_dropout_in_a_frozen_block_counts_as_change(checkpoints):
    """Parameters alone do not tell: a block without gradients whose dropout runs is no constant."""
    model = prepared(checkpoints, "bert", "full")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert frozen_blocks(model) == 0


@pytest.mark.parametrize(
    "auto", [AutoModelForSequenceClassification, AutoModelForQuestionAnswering]
)
@pytest.mark.parametrize("blocks", ["1", "2", "all but one", "all"])
def test_left_out_and_fed_it_computes_and_learns_the_same(checkpoints, family, auto, blocks):
    """Logits, loss gradients and random numbers; with dropout in the trained part."""
    depth = 2 * DEPTH if family == "t5" else DEPTH
    count = {"all but one": depth - 1, "all": depth}.get(blocks) or int(blocks)
    model = prepared(checkpoints, family, f"freeze-lower-{count}", auto)
    inputs = ragged(checkpoints, family)
    names = [name for name, _ in model.named_parameters()]
    stem = FrozenStem(model, frozen_blocks(model))
    assert stem.blocks == count and stem.whole_model == (count == depth)
    states = stem.run(lambda: model(**inputs))
    assert set(states) == set(stem.names)

    def outcome():
        torch.manual_seed(3)
        logits = model(**inputs)[0]
        model.zero_grad()
        logits.square().sum().backward()
        return logits, {
            n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
        }

    live, slopes = outcome()
    with stem.left_out():
        stem.feed(states)
        short, same = outcome()
        with pytest.raises(RunError, match="called more than once on the cached states"):
            model(**inputs)
        with stem.whole():  # for a while
            torch.testing.assert_close(outcome()[0], live, atol=0, rtol=0)
        assert [name for name, _ in model.named_parameters()] == names
    torch.testing.assert_close(short, live, atol=1e-6, rtol=1e-6)
    assert set(same) == set(slopes)
    for name, slope in slopes.items():
        torch.testing.assert_close(same[name], slope, atol=1e-5, rtol=1e-5)
    again, _ = outcome()  # put back
    torch.testing.assert_close(again, live, atol=0, rtol=0)


def test_what_lies_below_is_not_computed(checkpoints, family):
    """Poisoned lower blocks do not matter when they are left out, and do when they are not."""
    model = prepared(checkpoints, family, "freeze-lower-2")
    inputs = ragged(checkpoints, family)
    stem = FrozenStem(model, 2)
    states = stem.run(lambda: model(**inputs))
    model.eval()
    before = model(**inputs)[0]
    blocks = model.transformer.encoder.block if family == "t5" else model.base_model.encoder.layer
    with torch.no_grad():
        for parameter in blocks[1].parameters():
            parameter.fill_(float("nan"))
    with stem.left_out():
        stem.feed(states)
        torch.testing.assert_close(model(**inputs)[0], before)
    assert not model(**inputs)[0].isfinite().any()


def test_the_fingerprint_follows_weights_depth_and_nothing_else(checkpoints, family):
    model = prepared(checkpoints, family, "freeze-lower-2")
    first = FrozenStem(model, 2).fingerprint()
    assert FrozenStem(prepared(checkpoints, family, "freeze-lower-3"), 2).fingerprint() == first
    assert FrozenStem(model, 1).fingerprint() != first
    trained = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        trained[0].add_(1)
    assert FrozenStem(model, 2).fingerprint() == first
    frozen = [p for p in model.parameters() if not p.requires_grad]
    with torch.no_grad():
        frozen[-1].view(-1)[0] += 1e-3
    assert FrozenStem(model, 2).fingerprint() != first
