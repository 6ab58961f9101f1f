"""Several tasks on one body: shares, gradients that stay apart, one task alone, partners without sense."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import KillAt, Killed, command
from tiny import sentences

from nlptl.data.batching import LengthBatches
from nlptl.methods.multi_task.batches import WHICH, Mixed, mix_steps, shares
from nlptl.methods.multi_task.mixed import Share, start_learners, train_mixed
from nlptl.methods.multi_task.sharing import body_of, own_body
from nlptl.methods.multi_task.terms import MixedLoss
from nlptl.modes.base import parse_mode
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.token_classification import TokenClassification
from nlptl.train.finetune import finetune
from nlptl.train.setup import FinetuneArgs, start_accelerator

MOOD, LENGTH = TextClassification(("no", "yes")), TextClassification(("long", "mid", "short"))


def rows(count, seed, kind="mood"):
    texts = sentences(count, seed)
    if kind == "mood":
        labels = ["yes" if "good" in text or "great" in text else "no" for text in texts]
    else:
        sizes = [len(text.split()) for text in texts]
        labels = ["short" if n < 6 else "mid" if n < 10 else "long" for n in sizes]
    return Dataset.from_dict({"text": texts, "label": labels})


def tables(kind, counts=(36, 12, 12), seed=0):
    names = ("train", "validation", "test")
    return {name: rows(n, seed + i, kind) for i, (name, n) in enumerate(zip(names, counts))}


def args_of(checkpoint, mode="full", **more):
    given = {"epochs": 2.0, "batch_size": 12, "head": "random", **more}
    return FinetuneArgs(str(checkpoint), parse_mode(mode), 2e-3, **given)


def accelerator():
    return start_accelerator(tracker=None, output_dir=None, seed=0)


def share(task, kind, args, steps=3, **more):
    return Share(task, tables(kind, **more), args, steps)


def weights(run):
    return {name: p.detach() for name, p in run.model.named_parameters()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("mode", ["full", "freeze-lower-1", "lora"])
def test_one_task_in_the_mix_is_the_plain_run(checkpoints, mode):
    args = args_of(checkpoints["bert"], mode, head="fit")
    own = tables("mood")
    plain = finetune(MOOD, own, args, accelerator=accelerator())
    (mixed,) = train_mixed([Share(MOOD, own, args, 3)], accelerator=accelerator())
    assert same(weights(plain), weights(mixed)) and plain.predictions == mixed.predictions
    assert plain.history == mixed.history and plain.lr_history == mixed.lr_history
    assert plain.identity == mixed.identity and plain.flops == mixed.flops
