"""Recurring spans: which there are, how one is asked for, and the loss of pointing at it."""

import numpy as np
import pytest
import torch
from tiny import sentences, tiny_config, tiny_tokenizer
from torch import nn
from transformers import AutoModelForMaskedLM, AutoModelForQuestionAnswering

from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_with_head, save_pretrained
from nlptl.pretrain.objectives import Fixed
from nlptl.pretrain.pointing import PointingLM
from nlptl.pretrain.recurring_spans import (
    Question,
    Recurring,
    RecurringSpans,
    Vocabulary,
    ask,
    hide,
    recurring_spans,
)
from nlptl.pretrain.terms import MaskedTerm
from nlptl.train.losses import Plus

PAIRED = ("bert", "roberta")


def numbered(text):
    """Words as ids, each word one token; those with a mark are not spelt, small letters say nothing."""
    words = text.split()
    ids = {word: number for number, word in enumerate(sorted(set(words)), start=10)}
    spelt = [word[0].isalnum() for word in words]
    return [(ids[word],) for word in words], spelt, [word[0].isupper() for word in words]


def found(text, longest=10):
    words = text.split()
    spans = recurring_spans(*numbered(text), longest)
    return {" ".join(words[s.starts[0] : s.starts[0] + s.words]): s.starts for s in spans}


def test_spans_by_hand():
    assert found("Ada met Bob . Then Ada saw Bob") == {"Ada": (0, 5), "Bob": (2, 7)}
    assert found("a b a b") == {}  # nothing in it says anything
    assert found("Ada B . . . Ada B") == {"Ada B": (0, 5)}  # maximal: not Ada, not B
    assert found("Ada B x Ada B y Ada z") == {"Ada B": (0, 3), "Ada": (0, 3, 6)}
    assert (
        found("in the House x in the House y", 2) == {}
    )  # three tokens, and its parts are not maximal
    assert found(". Ada , x . Ada , y") == {}  # the recurring span begins and ends with a mark
    assert found("A A A A x") == {"A": (0, 1, 2, 3), "A A": (0, 2)}  # occurrences do not overlap
    assert found("Ada") == found("") == {}


def all_spans(words, spelt, telling, longest):
    """The definition, word for word, without the search's steps from shorter to longer."""
    n, spans = len(words), {}
    for i in range(n):
        for j in range(i + 1, n + 1):
            spans.setdefault(tuple(words[i:j]), []).append(i)
    result = set()
    for span, starts in spans.items():
        size, i = len(span), starts[0]
        if len(starts) < 2 or sum(len(word) for word in span) > longest:
            continue
        if not (spelt[i] and spelt[i + size - 1] and any(telling[i : i + size])):
            continue
        left = [words[i - 1] if i > 0 else "edge" for i in starts]
        right = [words[i + size] if i + size < n else "edge" for i in starts]
        if len(set(left)) == 1 or len(set(right)) == 1:
            continue
        apart = []
        for start in starts:
            if not apart or start >= apart[-1] + size:
                apart.append(start)
        if len(apart) > 1:
            result.add((size, tuple(apart)))
    return result


def test_the_search_finds_what_the_definition_says():
    rng = np.random.default_rng(0)
    some = 0
    for _ in range(300):
        kinds = int(rng.integers(2, 9))
        words = [(int(k),) * (1 + int(k) % 2) for k in rng.integers(0, kinds, rng.integers(0, 25))]
        spelt = [word[0] != 0 for word in words]
        telling = [word[0] > 1 for word in words]
        longest = int(rng.integers(1, 8))
        expected = all_spans(words, spelt, telling, longest)
        spans = recurring_spans(words, spelt, telling, longest)
        assert {(s.words, s.starts) for s in spans} == expected and len(spans) == len(expected)
        some += len(spans)
    assert some > 500


def test_hidden_by_hand():
    """Ada B stands at 0, 3 and 6 of `Ada B c Ada B d Ada B e f`; 1 is the question token."""
    words = [(5, 6), (7,), (8,), (5, 6), (7,), (9,), (5, 6), (7,), (10,), (11,)]
    span = Recurring(2, (0, 3, 6))
    # The first is left, the last asks, with two words or tokens before it and one after.
    assert hide(words, span, 0, 2, 1, 2, 1) == Question([1, 9, 1, 10], [5, 6, 7, 8, 11], 0, 2)
    # The last is left, the first asks: the question may not take any of the one that is left.
    assert hide(words, span, 2, 0, 1, 3, 9) == Question([1, 8, 1, 9], [5, 6, 7, 10, 11], 0, 2)
    # The one in the middle is left, the first asks, alone.
    assert hide(words, span, 1, 0, 1, 0, 0) == Question([1], [8, 5, 6, 7, 9, 1, 10, 11], 1, 3)
    # Of it and the last, which asks, the words between belong to the question.
    assert hide(words, span, 1, 2, 1, 5, 0) == Question([9, 1], [1, 8, 5, 6, 7, 10, 11], 2, 4)


@pytest.mark.parametrize("family", PAIRED)
def test_a_question_and_its_answer_give_the_text_back(family):
    """Every question token stands for the answer: with it in their place, no token is lost or new."""
    tokenizer = tiny_tokenizer(family)
    vocabulary, rng, asked = Vocabulary.of(tokenizer), np.random.default_rng(0), 0
    mask = tokenizer.mask_token_id
    for text in sentences(150):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        words = vocabulary.words(ids)
        assert [token for word in words for token in word] == ids
        made = ask(words, mask, vocabulary, rng)
        if made.start < 0:
            assert (made.question, made.passage) == ([], ids)
            continue
        asked += 1
        answer = made.passage[made.start : made.end + 1]
        assert mask in made.question and mask not in answer
        whole = [t for t in made.question + made.passage for t in (answer if t == mask else [t])]
        assert sorted(whole) == sorted(ids)
    assert asked > 30


def test_words_of_both_vocabularies():
    bert, roberta = (Vocabulary.of(tiny_tokenizer(family)) for family in PAIRED)
    for vocabulary, family in ((bert, "bert"), (roberta, "roberta")):
        tokenizer = tiny_tokenizer(family)
        ids = tokenizer("we were good, good.", add_special_tokens=False)["input_ids"]
        words = ["".join(vocabulary.texts[t] for t in word) for word in vocabulary.words(ids)]
        assert [word for word in words if word.isalpha()] == ["we", "were", "good", "good"]
        telling = [vocabulary.says_something(word) for word in vocabulary.words(ids)]
        assert sum(telling) == 2  # not the stop words, not the marks


def made(family, count=24):
    """A model, its tokenizer, and pieces of text of which most hold something twice."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(family)
    config = tiny_config(family, len(tokenizer))
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model = PointingLM.from_config(config)
    nn.init.normal_(model.qa_outputs.weight)
    ids = tokenizer(sentences(count), add_special_tokens=False)["input_ids"]
    return model, tokenizer, [{"input_ids": each} for each in ids]


@pytest.mark.parametrize("family", PAIRED)
def test_the_loss_is_transformers_own(family, tmp_path):
    """What is saved opens as a model for questions, and its loss is the same where all may be pointed at."""
    model, tokenizer, pieces = made(family)
    batch = dict(RecurringSpans().collator(tokenizer)(pieces, np.random.default_rng(0)))
    rows = batch["rows"]
    assert 5 < len(rows) < len(pieces)
    batch["allowed"] = torch.ones_like(batch["allowed"])
    found = RecurringSpans().loss(model)(**batch)
    save_pretrained(model, tokenizer, tmp_path)
    plain = AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    inputs = ("input_ids", "attention_mask", *(["token_type_ids"] if family == "bert" else []))
    whole = plain(
        **{name: batch[name][rows] for name in inputs},
        start_positions=batch["targets"][:, 0],
        end_positions=batch["targets"][:, 1],
    )
    torch.testing.assert_close(found["loss"], whole.loss, rtol=0, atol=1e-5)
    assert found["size"] == len(found["outputs"]["losses"]) == 2 * len(rows)
    kept = AutoModelForMaskedLM.from_pretrained(tmp_path).state_dict()
    for name, value in kept.items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0)


def test_a_batch_by_hand():
    """`film dull film` asks `[MASK] dull` or `dull [MASK]` of `film`; `dull film` asks nothing."""
    _, tokenizer, _ = made("bert")
    film, dull = tokenizer("film dull", add_special_tokens=False)["input_ids"]
    cls, sep, mask, pad = (
        getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "mask", "pad")
    )
    pieces = [{"input_ids": [film, dull, film]}, {"input_ids": [dull, film]}]
    collate = RecurringSpans().collator(tokenizer)
    seen = set()
    for seed in range(20):
        batch = collate(pieces, np.random.default_rng(seed))
        seen.add(tuple(batch["input_ids"][0].tolist()))
        assert batch["input_ids"][1].tolist() == [cls, sep, dull, film, sep, pad]
        assert batch["rows"].tolist() == [0] and batch["targets"].tolist() == [[4, 4]]
        assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 0]]
        assert batch["allowed"].int().tolist() == [[1, 0, 0, 0, 1, 0], [1, 0, 1, 1, 0, 0]]
        assert batch["attention_mask"].tolist() == [[1] * 6, [1] * 5 + [0]]
    assert seen == {(cls, mask, dull, sep, film, sep), (cls, dull, mask, sep, film, sep)}


def test_what_is_not_allowed_gets_no_share():
    model, tokenizer, pieces = made("bert")
    batch = dict(RecurringSpans().collator(tokenizer)(pieces, np.random.default_rng(0)))
    found = RecurringSpans().loss(model)(**batch)["outputs"]["losses"].view(-1, 2)
    inputs = {n: batch[n] for n in ("input_ids", "attention_mask", "token_type_ids")}
    logits = model(**inputs)
    for number, row in enumerate(batch["rows"].tolist()):
        at = batch["allowed"][row].nonzero()[:, 0].tolist()
        for side, scores in enumerate((logits.start_logits[row], logits.end_logits[row])):
            share = scores[at].softmax(0)[at.index(batch["targets"][number, side])]
            assert found[number, side].item() == pytest.approx(-share.log().item(), abs=1e-5)


def test_a_batch_without_a_question_has_no_loss():
    model, tokenizer, _ = made("bert")
    pieces = [{"input_ids": tokenizer("we were good", add_special_tokens=False)["input_ids"]}]
    found = RecurringSpans().loss(model)(
        **RecurringSpans().collator(tokenizer)(pieces, np.random.default_rng(0))
    )
    found["loss"].backward()
    assert found["loss"].item() == 0 and found["size"] == 0
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())


def test_fixed_pieces_are_asked_alike_whatever_stands_beside_them():
    _, tokenizer, pieces = made("bert")
    collate, fixed = RecurringSpans().collator(tokenizer), Fixed(pieces)
    one = collate([fixed[3]], np.random.default_rng(1))["input_ids"][0]
    many = collate([fixed[i] for i in range(10)], np.random.default_rng(2))["input_ids"][3]
    assert many.tolist()[: len(one)] == one.tolist()


def test_the_rows_are_those_of_the_losses():
    _, tokenizer, pieces = made("bert")
    batch = RecurringSpans().collator(tokenizer)(pieces, np.random.default_rng(0))
    assert RecurringSpans().rows(batch).tolist() == [
        r for r in batch["rows"].tolist() for _ in "se"
    ]
    room = RecurringSpans().room(40, tokenizer)
    assert room == 37 and RecurringSpans().lengths(room, tokenizer) == (40, 0)


def test_masked_words_come_on_top_and_spare_questions_and_answers():
    model, tokenizer, pieces = made("bert", 40)
    objective, term = RecurringSpans(), MaskedTerm(0.4)
    plain = objective.collator(tokenizer)(pieces, np.random.default_rng(0))
    both = term.collator(objective.collator(tokenizer), tokenizer)(pieces, np.random.default_rng(0))
    changed = plain["input_ids"] != both["input_ids"]
    hidden = torch.zeros_like(changed).flatten()
    hidden[both["also_positions"]] = True
    hidden = hidden.view_as(changed)
    assert not (changed & ~hidden).any() and changed.sum() > 20
    assert torch.equal(plain["input_ids"].flatten()[both["also_positions"]], both["also_targets"])
    for row, (start, end) in zip(both["rows"], both["targets"], strict=True):
        assert not hidden[row, start : end + 1].any()
    assert not hidden[torch.isin(plain["input_ids"], torch.tensor(tokenizer.all_special_ids))].any()

    loss = Plus(objective.loss(model), term, 0.5, "masked_lm")
    found = loss(**both)
    inputs = {n: both[n] for n in ("input_ids", "attention_mask", "token_type_ids")}
    logits = model(**inputs).logits.flatten(0, 1)[both["also_positions"]]
    words = nn.functional.cross_entropy(logits, both["also_targets"])
    names = ("input_ids", "attention_mask", "token_type_ids", "allowed", "rows", "targets")
    own = objective.loss(model)(**{name: both[name] for name in names})["loss"]
    torch.testing.assert_close(found["loss"], own + 0.5 * words, rtol=0, atol=1e-5)


def test_the_head_is_new_once_and_part_of_the_head(checkpoints, tmp_path):
    for family in PAIRED:
        first = load_with_head(str(checkpoints[family]), auto_class=PointingLM, head={})
        assert {"qa_outputs.weight", "qa_outputs.bias"} <= first.new
        parts = layer_map(first.model).part_of(first.model)
        assert parts["qa_outputs.weight"] == "head"
        save_pretrained(first.model, first.tokenizer, tmp_path / family)
        again = load_with_head(str(tmp_path / family), auto_class=PointingLM, head={})
        assert not again.new
        asked = load_with_head(
            str(tmp_path / family), auto_class=AutoModelForQuestionAnswering, head={}
        )
        assert not asked.new and type(first.model).__name__.endswith("ForMaskedLM")
