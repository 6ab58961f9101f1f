"""The faults that each run of the suite tries: damages to what is read back, by its readers, and one kill."""

import json
import os
import random
import signal
import time
from dataclasses import replace
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
from faulty import DAMAGES, essence, harm
from launching import run_in_process
from torch import nn

from nlptl.cli.report import config_of, launched_otherwise, outcome_of_run
from nlptl.data.files import read_lines, read_result, seal_folder, write_json
from nlptl.errors import ModelError
from nlptl.pretrain import further
from nlptl.runs.directory import is_finished
from nlptl.study import outcomes
from nlptl.tasks.classification import TextClassification
from nlptl.train.stages import DONE, WEIGHTS, finished, keep_stage, read_stage

OUTCOME = outcomes.Outcome(
    **{"seed": 3, "learning_rate": 1e-3, "score": 0.5, "statistics": ((1.0,), (0.0,))},
    **{"validation": (0.25, 0.75), "best": 1, "epochs": 2.0, "seconds": 1.5, "flops": 2e9},
    **{"peak_memory": 100.0, "trainable": 66, "total": 500, "measured": {"cka": [float("nan")]}},
)


def same(one: outcomes.Outcome | None) -> bool:
    return one is not None and repr(replace(OUTCOME)) == repr(one)


def test_any_byte_of_a_kept_outcome_may_change_and_no_number_does(tmp_path, monkeypatch):
    """It is made again, unless what changed says the same, as the case of a letter in ``NaN`` does not."""
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path))
    outcomes.keep("key", OUTCOME)
    path = tmp_path / "arms/key.json"
    whole = path.read_bytes()
    assert same(outcomes.load("key"))
    for at in range(len(whole)):
        for bit in (1, 16):  # a digit becomes another one, and more
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            found = outcomes.load("key")
            assert found is None or same(found), (at, bit, found)
    draws = random.Random(0)
    for how in DAMAGES:
        path.write_bytes(whole)
        harm(path, how, draws)
        assert outcomes.load("key") is None


@pytest.mark.parametrize("how", DAMAGES)
def test_a_stage_that_is_damaged_is_trained_again(tmp_path, how):
    accelerator = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    learner = SimpleNamespace(accelerator=accelerator, model=nn.Linear(2, 2))
    record = {"fitted": True, "history": [{"loss": 1.5}], "about": {"labels": ["a", "b"]}}
    record["head_rates"] = {"pooler.dense.weight": 0.1}
    for name in (WEIGHTS, DONE, "files.json"):
        keep_stage(learner, tmp_path / name, record)
        assert finished(tmp_path / name)
        kept = read_stage(learner, tmp_path / name, record["about"])
        assert kept == record and learner.head_fitted
        assert learner.head_rates == record["head_rates"]
        harm(tmp_path / name / name, how, random.Random(1))
        assert not finished(tmp_path / name)


class Again(Exception):
    """The training begins."""


@pytest.mark.parametrize("how", DAMAGES)
def test_a_checkpoint_that_a_method_trained_further_is_whole_or_made_again(
    tmp_path, monkeypatch, how
):
    def begun(name):
        raise Again

    monkeypatch.setattr(further, "lm_model", begun)
    args, about = SimpleNamespace(model="", save_every=None), {"seconds": 2.5}
    for name in ("model.safetensors", further.DONE, "files.json"):
        home = tmp_path / name / further.MODEL
        home.mkdir(parents=True)
        (home / "model.safetensors").write_bytes(bytes(range(200)))
        write_json(home / further.DONE, about)
        seal_folder(home)
        assert further.pretrain_further([], home.parent, args, None, resume=True) == about
        harm(home / name, how, random.Random(2))
        with pytest.raises(Again):
            further.pretrain_further([], home.parent, args, None, resume=True)


RECORD = {
    **{"task": "text-classification", "model": "bundled/bert", "seed": 1, "metrics": {}},
    **{"reload_difference": 0.0, "launch": {"processes": 1}, "data": {}, "n": {"test": 2}},
    **{"task_settings": {"labels": ["no", "yes"]}, "settings": {"learning_rate": 1e-3}},
    "history": [{"epoch": 1.0, "validation_accuracy": 0.5}],
}


def test_a_damaged_record_of_a_run_is_no_traceback(tmp_path):
    """Cut short at any byte: the run is not finished, and whoever needs its record says which file it is."""
    task, text = TextClassification(("no", "yes")), json.dumps(RECORD).encode()
    (tmp_path / "config.yaml").write_text("model: bundled/bert\n")
    (tmp_path / "predictions.jsonl").write_text("{}\n{}\n")
    path = tmp_path / "result.json"
    path.write_bytes(text)
    assert is_finished(tmp_path) and read_result(path, "metrics") == RECORD
    others = [b"null", b"[1]", b'"x"', b"3", b"{}", b"\xff", b"[" * 100_000]
    for content in [*(text[:end] for end in range(0, len(text), 7)), *others]:
        path.write_bytes(content)
        assert not is_finished(tmp_path) and launched_otherwise(tmp_path) == []
        with pytest.raises(ModelError, match=r"result\.json is damaged"):
            config_of(tmp_path)
        with pytest.raises(ValueError, match="no json|no 'data'"):
            outcome_of_run(task, tmp_path)


def test_a_damaged_line_of_predictions_is_named(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"row": 0}\n{"row": 1}\n')
    assert read_lines(path) == [{"row": 0}, {"row": 1}]
    for content, found in (
        (b'{"row": 0}\n{"ro', "line 2 is no"),
        (b"\xff", "1 is"),
        (b"[]", "object"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=found):
            read_lines(path)


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(checkpoints, reviews, tmp_path):
    """Not asked to end but killed, as by a power cut, at the first checkpoint that is there."""

    def run(name, *more):
        flags = ("--model", checkpoints["bert"], "--train-file", reviews, "--batch-size", 8)
        flags += ("--mode", "full", "--epochs", 2, "--save-every", 2, "--head", "random")
        run_in_process("sentiment", *flags, "--output-dir", tmp_path / name, *more)

    process = get_context("fork").Process(target=run, args=("killed",))
    process.start()
    until = time.monotonic() + 120
    while not [*tmp_path.glob("killed/checkpoints/step-*")] and time.monotonic() < until:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it was done before it was killed"
    assert not (tmp_path / "killed/result.json").exists()
    run("killed", "--resume")
    run("whole")
    assert essence("sentiment", tmp_path / "killed") == essence("sentiment", tmp_path / "whole")
