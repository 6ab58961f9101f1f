"""What a run writes of its model: always something, the adapter only where peft opens it, nothing changed."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from test_learner import OTHER, TASK, TEST, TRAIN

from nlptl.errors import RunError
from nlptl.modes.base import parse_mode
from nlptl.runs import directory
from nlptl.train.finetune import finetune
from nlptl.train.setup import FinetuneArgs, start_accelerator


def arguments(checkpoint, mode, **changes):
    given = {"learning_rate": 2e-3, "epochs": 1.0, "batch_size": 8, "head": "random", **changes}
    return FinetuneArgs(model=str(checkpoint), mode=parse_mode(mode), **given)


def saved(checkpoint, mode, home, **changes):
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    splits = {"train": TRAIN, "validation": OTHER, "test": TEST}
    args = arguments(checkpoint, mode, **changes)
    run = finetune(TASK, splits, args, accelerator=accelerator)
    directory.save_run(run, home, accelerator=accelerator)
    return run


def test_the_model_is_there_whatever_the_comparison_finds(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "MERGED", -1.0)
    with pytest.raises(RunError, match="Merging the adapter into the weights changed the logits"):
        saved(checkpoints["bert"], "lora-r2", tmp_path)
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert not directory.is_finished(tmp_path)


def test_large_numbers_may_differ_by_their_last_digits():
    """A price of 250,000 has steps of a 64th in float32."""
    for size, apart, allowed in (
        (250_000.0, 1 / 64, True),
        (0.5, 1 / 64, False),
        (250_000.0, 50.0, False),
    ):
        before = {"logits": torch.tensor([[size], [1.0]])}
        after = {"logits": before["logits"] + apart}
        if allowed:
            assert directory._compare(before, after, 1e-4, "It", "numbers") == pytest.approx(apart)
        else:
            with pytest.raises(RunError, match="It changed the numbers by"):
                directory._compare(before, after, 1e-4, "It", "numbers")


def test_an_adapter_is_written_where_it_fits_the_checkpoint(checkpoints, tmp_path):
    """After a stage that trained the blocks, peft would put it on the blocks as they were before."""
    for mode, kept, there in (
        ("lora-r2", None, True),
        ("lora-r2", "0,2", False),
        ("chain:head-only,lora-r2", None, True),
        ("chain:full,lora-r2", None, False),
        ("chain:lora-r2,lora-r2", None, False),
    ):
        args = arguments(checkpoints["bert"], mode, keep_layers=kept)
        assert directory.on_checkpoint(args) == there, mode
    assert directory.on_checkpoint(None)
    saved(checkpoints["bert"], "chain:full,lora-r2", tmp_path / "chain")
    assert (tmp_path / "chain/model").exists() and not (tmp_path / "chain/adapter").exists()
