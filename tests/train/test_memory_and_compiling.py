"""--gradient-checkpointing and --compile change time and memory, not what is learned."""

import functools

import pytest
import torch
from tiny import sentences, tiny_config
from torch import nn
from transformers import AutoModelForSequenceClassification

from nlptl.data.batching import LengthBatches
from nlptl.modes.base import apply_mode, parse_mode
from nlptl.tasks.classification import TextClassification
from nlptl.train.hooks import Quiet
from nlptl.train.losses import TaskLoss
from nlptl.train.machine import free_memory
from nlptl.train.optimizer import make_optimizer
from nlptl.train.setup import TrainArgs, new_accelerator, train

TASK = TextClassification(("no", "yes"))


class Losses(Quiet):
    def __init__(self):
        self.found = []

    def on_step(self, state):
        self.found.append(state.loss)
        return False


def losses(family, checkpoints, mode, **flags):
    """Losses of eight steps of a model without dropout, which a compiler draws in another order."""
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
        TaskLoss(model, TASK),
        batches,
        args=TrainArgs(steps=8, learning_rate=1e-3, **flags),
        accelerator=new_accelerator(),
        hooks=[log],
    )
    return log.found, model


@pytest.mark.parametrize("mode", ["full", "freeze-lower-1", "lora"])
def test_checkpointing_learns_the_same_in_every_mode(family, checkpoints, mode):
    plain, _ = losses(family, checkpoints, mode)
    again, model = losses(family, checkpoints, mode, gradient_checkpointing=True)
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


def held(family, mode):
    """Bytes of gradients and of the optimizer's state after one step, counted tensor by tensor."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family, 90))
    model, _ = apply_mode(model, parse_mode(mode), task_type="SEQ_CLS")
    optimizer = make_optimizer(model, learning_rate=1e-3, weight_decay=0.01, betas=(0.9, 0.999))
    ids = torch.full((2, 6), 5)
    ids[:, -1] = 1  # T5's classifier reads at </s>
    model(input_ids=ids, labels=torch.tensor([0, 1])).loss.backward()
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    optimizer.step()
    moments = sum(
        value.nbytes for state in optimizer.state.values() for value in state.values() if value.ndim
    )
    return gradients, moments, sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_what_does_not_train_holds_no_gradient_and_no_state(family):
    """float32: four bytes of gradient and eight of AdamW's two moments, a number that trains."""
    modes = ("head-only", "lora", "freeze-lower-2", "full")
    found = {mode: held(family, mode) for mode in modes}
    for gradients, moments, trained in found.values():
        assert (gradients, moments) == (4 * trained, 8 * trained)
    # Of T5's six blocks two are frozen, which leaves 0.71 of the bytes.
    for mode, most in (("head-only", 0.25), ("lora", 0.25), ("freeze-lower-2", 0.75)):
        assert sum(found[mode][:2]) < most * sum(found["full"][:2])


def test_free_memory_is_the_containers_where_that_is_less(tmp_path):
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    limit.write_text("5000\n")
    used.write_text("1200\n")
    assert free_memory([(str(limit), str(used))]) == 3800
    limit.write_text("max\n")
    assert free_memory([(str(limit), str(used))]) > 1e6
    assert free_memory([(str(tmp_path / "none"), str(used))]) > 1e6
