"""--gradient-checkpointing and --compile change time and memory, not what is learned."""

import functools

import pytest
import torch
from tiny import sentences, tiny_config
from torch import nn
from transformers import AutoModelForSequenceClassification

from nlptl.data.batching import LengthBatches
from nlptl.engine.hooks import Quiet
from nlptl.engine.setup import Plan, new_accelerator, train
from nlptl.modes import apply_mode, parse_mode
from nlptl.tasks.base import supervised_step
from nlptl.tasks.sentiment import Sentiment

TASK = Sentiment(("no", "yes"))


class Losses(Quiet):
    def __init__(self):
        self.found = []

    def on_step(self, state):
        self.found.append(state.loss)
        return False


def losses(family, checkpoints, mode, **flags):
    """Losses of eight updates of a model without dropout, which a compiler draws in another order."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
    config = tiny_config(family, len(tokenizer))
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout_rate"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    model, _ = apply_mode(model, parse_mode(mode))
    texts = sentences(32, 1)
    table = Dataset.from_dict(
        {"text": texts, "label": ["yes" if "good" in t else "no" for t in texts]}
    )
    features = TASK.encode(table, tokenizer, 32)
    batches = LengthBatches(
        features.rows, features.lengths, TASK.collator(tokenizer), batch_size=8, seed=0
    )
    log = Losses()
    train(
        model,
        batches,
        step=supervised_step(TASK),
        plan=Plan(updates=8, learning_rate=1e-3, **flags),
        accelerator=new_accelerator(),
        hooks=[log],
    )
    return log.found, model


@pytest.mark.parametrize("mode", ["full", "freeze-lower-1", "lora"])
def test_checkpointing_learns_the_same_in_every_mode(family, checkpoints, mode):
    plain, _ = losses(family, checkpoints, mode)
    again, model = losses(family, checkpoints, mode, checkpointing=True)
    assert again == pytest.approx(plain, abs=1e-5)
    assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules())


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_compiled_model_learns_the_same(checkpoints, mode, monkeypatch):
    """Traced by the real compiler; code generation is left out, since it takes a minute."""
    traced = functools.partialmethod(nn.Module.compile, backend="eager")
    monkeypatch.setattr(nn.Module, "compile", traced)
    plain, _ = losses("bert", checkpoints, mode)
    again, model = losses("bert", checkpoints, mode, compile=True)
    assert again == pytest.approx(plain, abs=1e-5)
    assert model._compiled_call_impl is not None
    assert not any("_orig_mod" in name for name, _ in model.named_parameters())
