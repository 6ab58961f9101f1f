"""A teacher's states, predicted beside the objective."""

import numpy as np
import pytest
import torch
from tiny import sentences, tiny_config, tiny_tokenizer
from transformers import AutoModelForMaskedLM, T5ForConditionalGeneration

from nlptl.pretrain.masked_lm import MaskedLM
from nlptl.pretrain.span_corruption import SpanCorruption
from nlptl.pretrain.terms import TeacherTerm, teacher_loss
from nlptl.train.losses import Plus


def test_the_loss_by_hand():
    """Cosines 1 and 0 for one guess, -1 and 1 for the other: 1 - 0.5 and 1 - 0, their mean 0.75."""
    taught = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    guesses = [torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [0.0, 1.0]])]
    assert teacher_loss(guesses, taught).item() == pytest.approx(0.75)


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_the_token_that_classifiers_read_and_the_mean_both_guess(family):
    """Against transformers' own states: ``[CLS]`` or ``</s>``, and the mean over real tokens."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(family)
    spans = family == "t5"
    config = tiny_config(family, vocab_size=len(tokenizer))
    make = T5ForConditionalGeneration if spans else AutoModelForMaskedLM.from_config
    model = make(config).eval()
    encoded = [tokenizer(s, add_special_tokens=False)["input_ids"] for s in sentences(3)]
    rows = [{"input_ids": ids[: 6 + 2 * i]} for i, ids in enumerate(encoded)]
    kind = SpanCorruption if spans else MaskedLM
    term = TeacherTerm(32, 3)
    collate = term.collator(kind().collator(tokenizer), tokenizer)
    alone = collate(rows, np.random.default_rng(3))
    features = [{**row, "teacher": [1.0, -1.0, 0.5 * i]} for i, row in enumerate(rows)]
    batch = collate(features, np.random.default_rng(3))
    assert batch["also_taught"].shape == (3, 3)
    plain = kind().loss(model)(**alone)
    module = Plus(kind().loss(model), term, 2.0, "teacher").eval()
    both = module(**batch)
    assert torch.equal(both["outputs"]["losses"], plain["outputs"]["losses"])
    # A batch without a teacher's states.
    torch.testing.assert_close(module(**alone)["loss"], plain["loss"])

    body = model.get_encoder() if spans else model.base_model
    states = body(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    lengths = batch["attention_mask"].sum(1).tolist()
    assert len(set(lengths)) > 1
    read = torch.stack([s[n - 1 if spans else 0] for s, n in zip(states, lengths, strict=True)])
    mean = torch.stack([s[:n].mean(0) for s, n in zip(states, lengths, strict=True)])
    guesses = [to(s) for to, s in zip(term.maps, (read, mean), strict=True)]
    expected = plain["loss"] + 2 * teacher_loss(guesses, batch["also_taught"])
    torch.testing.assert_close(both["loss"], expected)
