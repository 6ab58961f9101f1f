"""Span corruption: lengths, the draw of spans, and that nothing of a text is lost."""

import re

import numpy as np
import pytest
import torch
from tiny import sentences, tiny_config, tiny_tokenizer
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from nlptl.errors import ConfigError
from nlptl.pretrain.span_corruption import (
    Denoiser,
    SpanCorruption,
    check_sentinels,
    list_spans,
    noise_mask,
    replace_spans,
    sentinel_ids,
)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer("t5")


def test_lengths_of_the_paper():
    """Raw 568: 85 tokens of noise in 28 spans, so 568 - 85 + 28 + 1 = 512 and 85 + 28 + 1 = 114."""
    task = SpanCorruption()
    assert task.counts(568) == (85, 28)
    assert task.lengths(568) == (512, 114)
    assert task.room(512, None) == 568
    for length in (8, 64, 128, 256):
        room = task.room(length, None)
        assert task.lengths(room)[0] <= length < task.lengths(room + 1)[0]


def test_too_few_sentinels_are_told_with_the_length_that_they_suffice_for():
    """1,810 tokens: of 2,010 raw ones 15 % are 302 (301.5, to even), a third of which is 101."""
    task = SpanCorruption()
    assert (task.room(1810, None), task.counts(2010)) == (2010, (302, 101))
    assert (task.room(1809, None), task.counts(2009)) == (2009, (301, 100))
    check_sentinels(task, 1809, 100)
    message = (
        "--max-length 1810 with --mask-share 0.15: span corruption hides up to 101 spans of a text, each "
        "behind a token of its own (<extra_id_0>, <extra_id_1>, …), and the vocabulary has 100 such tokens. "
        "Choose --max-length 1809 or less, or a lower --mask-share."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_sentinels(task, 1810, 100)
    with pytest.raises(
        ConfigError, match=r"has 100 such tokens\. Choose --max-length 1809 or less"
    ):
        check_sentinels(task, 3000, 100)
    with pytest.raises(ConfigError, match="has 0 such tokens. Take a tokenizer of T5's kind"):
        check_sentinels(task, 128, 0)


def test_spans_never_touch_and_counts_are_exact():
    rng = np.random.default_rng(0)
    for tokens in (6, 7, 20, 128, 568):
        noise, spans = SpanCorruption().counts(tokens)
        for _ in range(50):
            mask = noise_mask(tokens, noise, spans, rng=rng)
            starts = mask & ~np.concatenate([[False], mask[:-1]])
            assert mask.sum() == noise and starts.sum() == spans


def test_every_place_is_hidden_about_equally_often():
    rng = np.random.default_rng(1)
    share = np.mean([noise_mask(40, 6, 2, rng=rng) for _ in range(20_000)], axis=0)
    assert share == pytest.approx(0.15, abs=0.1)
    assert share[3:37] == pytest.approx(share[3:37].mean(), abs=0.015)


def test_by_hand():
    """a b c d e f with c, and e f, hidden: a b X d Y; and X c Y e f."""
    ids, mask = np.arange(6), np.array([0, 0, 1, 0, 1, 1], bool)
    sentinels = np.array([99, 98])
    assert replace_spans(ids, mask, sentinels).tolist() == [0, 1, 99, 3, 98]
    assert list_spans(ids, mask, sentinels).tolist() == [99, 2, 98, 4, 5]


def test_input_and_target_together_give_the_text_back(tokenizer):
    sentinels = sentinel_ids(tokenizer)
    assert len(sentinels) == 20
    texts = tokenizer(sentences(40), add_special_tokens=False)["input_ids"]
    features = [{"input_ids": ids} for ids in texts]
    batch = SpanCorruption().collator(tokenizer)(features, np.random.default_rng(0))
    hidden = set(sentinels.tolist())
    for ids, shown, target in zip(texts, batch["input_ids"], batch["labels"], strict=True):
        spans, current = {}, None
        for token in target[target != -100].tolist()[:-1]:
            if token in hidden:
                current = spans.setdefault(token, [])
            else:
                current.append(token)
        real = shown[shown != tokenizer.pad_token_id].tolist()
        assert real[-1] == target[target != -100][-1] == tokenizer.eos_token_id
        again = [t for token in real[:-1] for t in spans.get(token, [token])]
        assert again == ids
        assert batch["attention_mask"].sum() == (batch["input_ids"] != 0).sum()


def t5_batch(tokenizer, tied):
    torch.manual_seed(0)
    config = tiny_config("t5", len(tokenizer))
    # As a checkpoint's file says it: v1.0 ties the head to the embeddings and scales, v1.1 does neither.
    config = T5Config(**{**config.to_dict(), "tie_word_embeddings": tied, "dropout_rate": 0.0})
    model = T5ForConditionalGeneration(config)
    if not tied:
        model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.1)
    texts = tokenizer(sentences(5), add_special_tokens=False)["input_ids"]
    features = [{"input_ids": ids} for ids in texts]
    return model, SpanCorruption().collator(tokenizer)(features, np.random.default_rng(0))


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_is_transformers_own(tokenizer, tied):
    model, batch = t5_batch(tokenizer, tied)
    assert (model.lm_head.weight is model.shared.weight) == tied
    found = Denoiser(model)(**batch)
    loss, each = found["loss"], found["outputs"]["losses"]
    whole = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "labels")})
    torch.testing.assert_close(loss, whole.loss, rtol=0, atol=1e-6)
    ours, theirs = gradients(model, loss), gradients(model, whole.loss)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert len(each) == (batch["labels"] != -100).sum() < batch["labels"].numel()


def test_padding_stays_out_of_the_vocabulary_layer(tokenizer):
    """Once a batch, and of the targets' tokens only those that count."""
    model, batch = t5_batch(tokenizer, tied=True)
    seen = []
    model.lm_head.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    Denoiser(model)(**batch)
    assert seen == [(int((batch["labels"] != -100).sum()), 32)]


def test_rows_are_those_of_the_losses(tokenizer):
    _, batch = t5_batch(tokenizer, tied=True)
    rows = SpanCorruption().rows(batch)
    assert rows.tolist() == [r for r, x in enumerate(batch["labels"].tolist()) for t in x if t >= 0]
