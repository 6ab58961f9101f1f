"""No step of training reads a value off the device, where a GPU would be waited for.

transformers itself does once in a forward pass, to see whether a mask masks anything; that is left out here.

On the ``meta`` device tensors have shapes and no values: whatever asks for a value fails.
"""

import numpy as np
import pytest
from tiny import FAMILIES, tiny_config, tiny_tokenizer
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from nlptl.pretrain.masked_lm import MaskedLM
from nlptl.pretrain.span_corruption import SpanCorruption
from nlptl.pretrain.terms import TeacherTerm
from nlptl.records import Batch
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.question_answering import QuestionAnswering
from nlptl.train.losses import Plus, TaskLoss

WINDOW = {"first": 2, "starts": [0, 4, 9], "null": 0}
QUESTIONS = [
    {"input_ids": [2, 9, 7, 8, 6, 3], "start": 2, "end": 3, **WINDOW},
    {"input_ids": [2, 9, 7, 8, 6, 3], "start": -100, "end": -100, **WINDOW},
]
TEXTS = [{"input_ids": [2, 9, 3], "gold": 1}, {"input_ids": [2, 3], "gold": 0}]
PIECES = [{"input_ids": list(range(20, 30)), "teacher": [0.5, 1.0]} for _ in range(2)]


@pytest.fixture(autouse=True)
def transformers_own(monkeypatch):
    """Whether a mask masks anything is a question that transformers asks in each forward pass."""
    for name in ("_ignore_bidirectional_mask_sdpa", "_ignore_causal_mask_sdpa"):
        monkeypatch.setattr(f"transformers.masking_utils.{name}", lambda *_, **__: False)


def made(auto_class, family):
    tokenizer = tiny_tokenizer(family)
    model = auto_class.from_config(tiny_config(family, len(tokenizer)))
    return model, tokenizer


def batch_of(collate, features):
    return Batch(collate(features, np.random.default_rng(0)), (0, 1), 2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "task",
    [
        QuestionAnswering(),
        TextClassification(("a", "b")),
        TextClassification(("a", "b"), class_weights=(0.5, 2.0)),
    ],
)
def test_a_supervised_step(family, task):
    asked = task.name == "question-answering"
    auto = AutoModelForQuestionAnswering if asked else AutoModelForSequenceClassification
    if family == "t5" and not asked:
        pytest.skip("transformers' own T5 classifier reads how many </s> there are")
    model, tokenizer = made(auto, family)
    features = QUESTIONS if asked else TEXTS
    batch = batch_of(task.collator(tokenizer), features)
    known = TaskLoss(model, task)(**batch.inputs)
    found = TaskLoss(model.to("meta"), task)(**batch.to("meta").inputs)
    found["loss"].backward()
    assert found["size"] == known["size"]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_upstream_step(family):
    spans = family == "t5"
    task = (SpanCorruption if spans else MaskedLM)()
    model, tokenizer = made(AutoModelForSeq2SeqLM if spans else AutoModelForMaskedLM, family)
    teacher = TeacherTerm(32, 2)
    batch = batch_of(teacher.collator(task.collator(tokenizer), tokenizer), PIECES)
    loss = Plus(task.loss(model.to("meta")), teacher, 1.0, "teacher").to("meta")
    found = loss(**batch.to("meta").inputs)
    found["loss"].backward()
    assert found["size"] == len(batch.inputs["positions"])


def test_sizes_by_hand():
    """Labels b, a, a under weights 0.5 and 2: 2 + 0.5 + 0.5. Of three windows one has no label: 2."""
    tokenizer = tiny_tokenizer("bert")
    texts = [{"input_ids": [2, 3], "gold": i} for i in (1, 0, 0)]
    weighted = TextClassification(("a", "b"), class_weights=(0.5, 2.0))
    assert batch_of(weighted.collator(tokenizer), texts).inputs["size"].item() == 3.0
    plain = batch_of(TextClassification(("a", "b")).collator(tokenizer), texts[:2])
    assert plain.inputs["size"].item() == 2.0
    windows = batch_of(QuestionAnswering().collator(tokenizer), [*QUESTIONS, QUESTIONS[0]])
    assert windows.inputs["size"].item() == 2
