"""Span corruption: lengths, the draw of spans, and that nothing of a text is lost."""

import numpy as np
import pytest
import torch
from tiny import sentences, tiny_config, tiny_tokenizer
from transformers import T5ForConditionalGeneration

from nlptl.tasks.span_corruption import (
    Denoiser,
    SpanCorruption,
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


def test_the_loss_is_transformers_own(tokenizer):
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(tiny_config("t5", len(tokenizer))).eval()
    texts = tokenizer(sentences(5), add_special_tokens=False)["input_ids"]
    batch = SpanCorruption().collator(tokenizer)(
        [{"input_ids": ids} for ids in texts], np.random.default_rng(0)
    )
    loss, each = Denoiser(model)(**batch)
    torch.testing.assert_close(loss, model(**batch).loss, rtol=0, atol=1e-5)
    assert len(each) == (batch["labels"] != -100).sum()
