"""The last lines of a run, from figures written by hand."""

from types import SimpleNamespace

import pytest

from nlptl.runs.last_block import files_of, last_rows, weakest_line


def run(**own):
    task = SimpleNamespace(name="a-task", selection="accuracy", fields=("text",))
    given = {
        "task": task,
        "metrics": {"loss": 0.63, "accuracy": 0.6344, "accuracy_se": 0.027, "matthews": 0.2688},
        "num_examples": {"train": 720, "test": 320},
        "timing": {"train_seconds": 83.0},
        "compared": "logits",
        "predictions": [],
        "floors": {
            "majority": {"accuracy": 0.5},
            "bag_of_words": {"accuracy": 0.827, "seconds": 0.4},
        },
        "weakest": {"label": "World", "recall": 0.64, "taken_for": "Business"},
    }
    return SimpleNamespace(**{**given, **own})


def test_scores_floors_files_and_commands(tmp_path):
    (tmp_path / "config.yaml").touch()
    (tmp_path / "predictions.jsonl").touch()
    assert last_rows(run(), tmp_path) == [
        ("test", "accuracy 0.634 ± 0.027 on 320 examples"),
        ("", "loss 0.630, matthews 0.269"),
        ("floors", "majority 0.500, bag of words 0.827 (0.4 s): no lower than this model"),
        ("weakest", "World: 64% of its examples are found, the others mostly taken for Business"),
        ("time", "trained in 1:23"),
        ("saved", f"{tmp_path}: model/, predictions.jsonl, config.yaml"),
        ("", "model/ was read back and gives the same logits"),
        ("next", f'nlptl predict {tmp_path} --text "…"'),
        ("", f"nlptl report {tmp_path}"),
    ]


def test_what_is_not_known_has_no_row(tmp_path):
    rows = dict(last_rows(run(floors={}, weakest=None), tmp_path))
    assert "floors" not in rows and "weakest" not in rows


def test_a_directory_with_a_space_can_be_copied(tmp_path):
    home = tmp_path / "my run"
    home.mkdir()
    found = dict(last_rows(run(), home))["next"]
    assert found == f"nlptl predict '{home}' --text \"…\""


def test_other_fields_are_asked_for_by_name(tmp_path):
    pair = SimpleNamespace(selection="accuracy", fields=("first", "second"))
    found = dict(last_rows(run(task=pair), tmp_path))["next"]
    assert found.endswith("--field first=… second=…")


def test_a_pretraining_goes_on_with_a_fine_tuning(tmp_path):
    found = run(
        predictions=None, metrics={"loss": 2.5, "loss_se": 0.1}, num_examples={"held_out": 9}
    )
    rows = last_rows(found, tmp_path)
    assert rows[0] == ("held out", "loss 2.500 ± 0.100 on 9 examples")
    assert rows[-1] == (
        "next",
        f"nlptl run sentiment --model {tmp_path}/model --output-dir {tmp_path}_sentiment",
    )
    found.task.name = "recurring-spans"  # its head is that of questions
    assert dict(last_rows(found, tmp_path))["next"].startswith("nlptl run qa --model")


def test_an_adapter_is_among_the_files(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "result.json").write_text("{}")
    assert files_of(tmp_path) == ["adapter/", "result.json"]


@pytest.mark.parametrize("taken", [None, "b\x1b[2J"])
def test_a_class_cannot_steer_the_terminal(taken):
    said = weakest_line({"label": "a\nb", "recall": 0.5, "taken_for": taken})
    assert said.startswith("a b: 50%") and "\x1b" not in said


def test_a_class_that_is_named_too_often_has_its_precision():
    weakest = {"label": "x", "precision": 0.11, "recall": 1.0, "by": "precision", "taken_for": None}
    assert weakest_line(weakest) == "x: 11% of what is named so is right"
