"""Masked language modelling: the draw of the masks, the loss, the fixed masks of held-out text."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from nlptl.pretrain.building import train_byte_level_bpe
from nlptl.pretrain.masked_lm import (
    MaskedPositions,
    collator,
    continuing,
    mask_tokens,
)
from nlptl.pretrain.objectives import IGNORED, Fixed
from nlptl.pretrain.terms import BagOfWords, bag_loss
from nlptl.train.losses import Plus


@pytest.fixture(scope="session")
def tokenizer(masked_lm_checkpoint):
    return AutoTokenizer.from_pretrained(masked_lm_checkpoint)


def rows(tokenizer):
    texts = ["the film was good", "a very dull plot but great music and a fine actor", "I liked it"]
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [{"input_ids": ids} for ids in encoded]


def test_15_percent_are_chosen_and_split_80_10_10():
    """200,000 tokens: each share within four standard deviations of the binomial."""
    ids = np.full((200, 1000), 7)
    shown, labels = mask_tokens(
        ids,
        np.ones_like(ids, bool),
        draws=np.random.default_rng(0).random((3, *ids.shape)),
        mask_id=4,
        vocab_size=100_000,
    )
    chosen = labels != IGNORED
    n = int(chosen.sum())
    assert n == pytest.approx(30_000, abs=4 * (200_000 * 0.15 * 0.85) ** 0.5)
    assert (labels[chosen] == 7).all() and (shown[~chosen] == 7).all()
    masked, kept = int((shown[chosen] == 4).sum()), int((shown[chosen] == 7).sum())
    assert masked / n == pytest.approx(0.8, abs=4 * (0.16 / n) ** 0.5)
    assert kept / n == pytest.approx(0.1, abs=4 * (0.09 / n) ** 0.5)
    assert (n - masked - kept) / n == pytest.approx(0.1, abs=4 * (0.09 / n) ** 0.5)


def test_special_tokens_and_padding_are_never_chosen(tokenizer):
    features = rows(tokenizer)
    for seed in range(200):
        batch = collator(tokenizer)(features, np.random.default_rng(seed))
        where = batch["positions"].numpy()
        width = batch["input_ids"].shape[1]
        originals = [
            features[p // width]["input_ids"][p % width - 1] for p in where
        ]  # behind [CLS]
        assert batch["targets"].tolist() == originals
        assert not set(originals) & set(tokenizer.all_special_ids)
        assert len(where) >= 1


def test_masks_are_dynamic(tokenizer):
    draws = [
        collator(tokenizer)(rows(tokenizer), np.random.default_rng([1, epoch]))[
            "positions"
        ].tolist()
        for epoch in range(6)
    ]
    assert len({tuple(draw) for draw in draws}) > 1


def test_the_loss_is_transformers_own(masked_lm_checkpoint, tokenizer):
    """Only chosen positions pass the vocabulary layer; the mean must be the full computation's."""
    model = AutoModelForMaskedLM.from_pretrained(masked_lm_checkpoint).eval()
    batch = collator(tokenizer)(rows(tokenizer), np.random.default_rng(3))
    found = MaskedPositions(model)(**batch)
    loss, each = found["loss"], found["outputs"]["losses"]
    labels = torch.full_like(batch["input_ids"], IGNORED)
    labels.view(-1)[batch["positions"]] = batch["targets"]
    whole = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels
    )
    torch.testing.assert_close(loss, whole.loss, rtol=0, atol=1e-5)
    assert each.shape == batch["targets"].shape


def test_the_bag_is_predicted_by_hand(tokenizer):
    """Uniform logits over 4 words cost log 4 a word; one word with p = 1/2 and one with 1/6: their mean."""
    assert bag_loss(torch.zeros(1, 4), torch.tensor([[0, 2, IGNORED]])).item() == pytest.approx(
        np.log(4)
    )
    logits = torch.log(torch.tensor([[0.5, 1 / 6, 1 / 6, 1 / 6], [0.25, 0.25, 0.25, 0.25]]))
    found = bag_loss(logits, torch.tensor([[0, 1], [3, IGNORED]])).item()
    assert found == pytest.approx((np.log(2) / 2 + np.log(6) / 2 + np.log(4)) / 2)
    collate = BagOfWords().collator(collator(tokenizer), tokenizer)
    batch = collate(rows(tokenizer), np.random.default_rng(0))
    for feature, bag in zip(rows(tokenizer), batch["also_bags"].tolist(), strict=True):
        inside = set(feature["input_ids"]) - set(tokenizer.all_special_ids)
        assert sorted(b for b in bag if b != IGNORED) == sorted(inside)


def test_the_bag_adds_to_the_loss_and_not_to_the_measure(masked_lm_checkpoint, tokenizer):
    model = AutoModelForMaskedLM.from_pretrained(masked_lm_checkpoint).eval()
    loss = Plus(MaskedPositions(model), BagOfWords(), 0.5, "bag").eval()
    collate = BagOfWords().collator(collator(tokenizer), tokenizer)
    batch = collate(rows(tokenizer), np.random.default_rng(3))
    own = {key: value for key, value in batch.items() if key != "also_bags"}
    plain, both = MaskedPositions(model)(**own), loss(**batch)
    assert torch.equal(plain["outputs"]["losses"], both["outputs"]["losses"])
    states = model.base_model(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    bag = bag_loss(model.cls(states[:, 0]), batch["also_bags"])
    torch.testing.assert_close(both["loss"], plain["loss"] + 0.5 * bag, rtol=0, atol=1e-5)
    torch.testing.assert_close(both["terms"]["bag"], bag, rtol=0, atol=1e-5)


def test_whole_words_are_chosen_as_wholes(tokenizer):
    """Three words of 2, 1 and 3 tokens: each is hidden whole or not at all, 15 % of them."""
    words = np.tile([0, 0, 1, 2, 2, 2], (20_000, 1))
    ids = np.full(words.shape, 7)
    _, labels = mask_tokens(
        ids,
        np.ones_like(ids, bool),
        draws=np.random.default_rng(0).random((3, *ids.shape)),
        mask_id=4,
        vocab_size=100,
        words=words,
    )
    chosen = labels != IGNORED
    assert (chosen[:, 0] == chosen[:, 1]).all()
    assert (chosen[:, 3] == chosen[:, 4]).all() and (chosen[:, 4] == chosen[:, 5]).all()
    assert (chosen[:, 1] != chosen[:, 2]).any()
    share = chosen[:, [0, 2, 3]].mean()
    assert share == pytest.approx(0.15, abs=4 * (0.15 * 0.85 / 60_000) ** 0.5)


def test_a_batch_always_has_something_to_predict(tokenizer):
    """The token that came nearest to being chosen; even where all are unknown, as in another script."""
    draws = np.full((3, 1, 4), 0.9)
    draws[0, 0, 2] = 0.5
    ids, maskable = np.asarray([[2, 7, 8, 3]]), np.asarray([[False, True, True, False]])
    _, labels = mask_tokens(ids, maskable, draws=draws, mask_id=4, vocab_size=100)
    assert labels.tolist() == [[IGNORED, IGNORED, 8, IGNORED]]
    two = np.repeat(draws, 2, axis=1)
    _, labels = mask_tokens(
        np.repeat(ids, 2, 0),
        np.repeat(maskable, 2, 0),
        draws=two,
        mask_id=4,
        vocab_size=100,
        every_row=True,
    )
    assert labels[:, 2].tolist() == [8, 8]
    unknown = [{"input_ids": [tokenizer.unk_token_id] * 6}]
    assert len(collator(tokenizer)(unknown, np.random.default_rng(0))["targets"]) == 1


@pytest.mark.parametrize("multiple", [1, 8])
def test_fixed_masks_do_not_depend_on_what_stands_beside_a_text(tokenizer, monkeypatch, multiple):
    """Alone, among others, in another batch and on a GPU, where rows are padded to eights: the same tokens."""
    monkeypatch.setattr("nlptl.data.padding.multiple", lambda: multiple)
    pieces = Fixed(rows(tokenizer))

    def hidden(indices, draws):
        batch = collator(tokenizer)([pieces[i] for i in indices], np.random.default_rng(draws))
        row, place = np.divmod(batch["positions"].numpy(), batch["input_ids"].shape[1])
        shown = batch["input_ids"].flatten()[batch["positions"]].tolist()
        return {(indices[r], int(p), s) for r, p, s in zip(row, place, shown, strict=True)}

    whole = hidden([0, 1, 2], draws=0)
    assert hidden([0, 1, 2], draws=1) == whole == hidden([2, 0, 1], draws=2)
    assert {each for each in whole if each[0] == 1} == hidden([1], draws=3)


def test_byte_level_words_are_told_from_a_heading_of_markdown():
    """GPT-2's vocabulary, which RoBERTa has, holds "##" too."""
    texts = ["## headings of notes ## and more headings"] * 50
    own = train_byte_level_bpe([texts], vocab_size=300, max_length=64)
    assert "##" in own.get_vocab() or "Ġ##" in own.get_vocab()
    joined = continuing(own)[own(" headings of films", add_special_tokens=False)["input_ids"]]
    assert len(joined) - joined.sum() == 3


def test_continuations_are_told_from_the_vocabulary(checkpoints):
    for family, text in (("bert", "kettleworks"), ("roberta", " kettleworks film")):
        own = AutoTokenizer.from_pretrained(checkpoints[family])
        ids = own(text, add_special_tokens=False)["input_ids"]
        joined = continuing(own)[ids].tolist()
        assert not joined[0] and any(joined)
        assert len(joined) - sum(joined) == len(text.split())
        assert not continuing(own)[own.all_special_ids].any()
