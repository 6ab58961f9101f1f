"""Runs that a program made and saved itself: what they show, and what ``nlptl report`` finds of them."""

import json

import pytest
from datasets import Dataset
from tiny import sentences

import nlptl
from nlptl.cli.report import outcome_of_run, recorded_run, report_directory
from nlptl.errors import ConfigError, ModelError


def rows(count, seed):
    texts = sentences(count, seed)
    labels = ["yes" if "good" in text else "no" for text in texts]
    return Dataset.from_dict({"text": texts, "label": labels, "sentence": texts[::-1]})


SPLITS = {"train": rows(60, 0), "validation": rows(20, 1), "test": rows(30, 2)}


@pytest.fixture(scope="module")
def saved(checkpoints, tmp_path_factory):
    home = tmp_path_factory.mktemp("program") / "run"
    accelerator = nlptl.start_accelerator(tracker=None, output_dir=home, seed=5)
    task = nlptl.TextClassification(("yes", "no"), class_weights=(2.0, 1.0))
    mode = nlptl.parse_mode("lora-r4", targets=("query", "key"))
    args = nlptl.FinetuneArgs(
        str(checkpoints["bert"]), mode, epochs=1.0, max_grad_norm=None, seed=5
    )
    run = nlptl.finetune(task, SPLITS, args, accelerator=accelerator)
    nlptl.save_run(run, home, accelerator=accelerator, splits=SPLITS)
    return run, task, home


def test_a_report_finds_task_data_and_arguments(saved):
    run, task, home = saved
    ready = recorded_run(home, {"curve": True, "upstream_text": None})
    assert ready.task == task and ready.config.curve
    assert {name: table.to_list() for name, table in ready.splits.items()} == {
        name: table.to_list() for name, table in SPLITS.items()
    }
    again, trained = ready.args(5), run.args
    assert again.mode == trained.mode and again.mode.settings["targets"] == ("query", "key")
    assert again == trained and again.learning_rate > 0 and again.max_grad_norm is None
    data = json.loads((home / "result.json").read_text())["data"]
    assert ready.record["data"]["sha256"] == data["sha256"]
    outcome = outcome_of_run(ready.task, home, data=data["sha256"])
    assert outcome.score == run.metrics["accuracy"] and outcome.seed == 5


def test_other_data_are_noticed(saved):
    *_, home = saved
    with pytest.raises(ValueError, match="data have changed"):
        outcome_of_run(saved[1], home, data="other")


def test_a_run_without_its_data_is_refused(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"save_run\(run, directory, splits=splits, …\)"):
        report_directory(tmp_path, tier="quick")
    with pytest.raises(ModelError, match="there is no such run"):
        report_directory(tmp_path / "none", tier="quick")


def test_objects_show_themselves_in_a_line(saved):
    run, _, home = saved
    assert repr(run).startswith("<Run: text-classification, ") and "lora-r4" in repr(run)
    assert f"accuracy {run.metrics['accuracy']:.4f}" in repr(run) and len(repr(run)) < 250
    said = repr(nlptl.load_predictor(home))
    assert said == (
        "<Predictor of text-classification, BertForSequenceClassification, labels yes, no>"
    )


@pytest.mark.slow
def test_such_a_run_is_reported_on(saved):
    run, _, home = saved
    report = report_directory(home, tier="quick")
    assert report.record["downstream"]["pre"]["scores"][0] == run.metrics["accuracy"]
    assert report.record["id"]["seeds"] == [5, 6, 7]
    assert not [note for note in report.record["warnings"] if "trained again" in note]
