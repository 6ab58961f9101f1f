"""Heads for one number: float32 in the last layer, also under autocast."""

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from nlptl.models.pooling import PooledClassifier
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.regression import Regression
from nlptl.train.losses import Outputs, TaskLoss

IDS = torch.arange(5, 29).view(4, 6).index_fill(1, torch.tensor(5), 1)  # 1 ends a text of T5
TEXTS = {"input_ids": IDS, "attention_mask": torch.ones(4, 6, dtype=torch.long)}


def model_of(path, labels=1, pooled=False):
    torch.manual_seed(0)
    if not pooled:
        return AutoModelForSequenceClassification.from_pretrained(path, num_labels=labels).eval()
    body = AutoModel.from_pretrained(path)
    body.config.num_labels = labels
    return PooledClassifier(body, pooling="mean").eval()


def last(model):
    return [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]


def logits(model, task, autocast=True):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        return Outputs(model, task)(**TEXTS)["outputs"]["logits"]


def are_coarse(numbers):
    return torch.equal(numbers, numbers.bfloat16().float())


@pytest.mark.parametrize(
    ("family", "pooled"), [("bert", False), ("bert", True), ("roberta", False), ("t5", False)]
)
def test_numbers_are_not_rounded_to_eight_digits(checkpoints, family, pooled):
    model = model_of(checkpoints[family], pooled=pooled)
    with torch.no_grad():
        last(model).bias.add_(1000)  # prices: bfloat16 has steps of 4 there
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert are_coarse(model(**TEXTS).logits.float())  # what it would be
    plain = logits(model, Regression(), autocast=False)
    found = logits(model, Regression())
    assert not are_coarse(found) and (found - plain).abs().max() < 0.05
    with torch.no_grad():
        assert torch.equal(model(**TEXTS).logits, plain)  # float32 is as it was


def test_the_layer_trains_under_autocast_and_is_changed_once(checkpoints):
    model = model_of(checkpoints["bert"])
    layer = last(model)
    for _ in range(2):
        loss = TaskLoss(model, Regression())
    assert len(layer._forward_hooks) == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(**TEXTS, labels=torch.zeros(4), size=torch.tensor(4))
    found["loss"].backward()
    expected = 2 * found["outputs"]["logits"].mean()  # of the mean squared error by the bias
    assert layer.bias.grad is not None and layer.bias.grad.item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_heads_for_classes_stay_as_they_are(checkpoints):
    model = model_of(checkpoints["bert"], labels=2)
    assert are_coarse(logits(model, TextClassification(("no", "yes"))))
    assert not last(model)._forward_hooks
