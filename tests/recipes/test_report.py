"""--report and `nlptl report` as a user calls them: files, the verdict, and what is missing."""

import json
import shutil

import pytest
from launching import QA_FLAGS, command, questions, run_in_process

from nlptl.cli.config import SentimentConfig, parse_args
from nlptl.cli.report import report_directory
from nlptl.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def finished(masked_lm_checkpoint, reviews, tmp_path_factory):
    directory = tmp_path_factory.mktemp("report") / "run"
    run_in_process(
        *("sentiment", "--model", masked_lm_checkpoint, "--train-file", reviews),
        *("--mode", "lora", "--epochs", 2, "--batch-size", 12, "--report", "quick"),
        *("--output-dir", directory),
    )
    return directory


def record(directory):
    return json.loads((directory / "report.json").read_text())


def test_the_report_lies_beside_the_run(finished):
    names = {path.name for path in finished.iterdir()}
    assert {
        "report.json",
        "report.md",
        "report.html",
        "report_arms.png",
        "report_arms.svg",
    } <= names
    found = record(finished)
    result = json.loads((finished / "result.json").read_text())
    assert found["downstream"]["pre"]["scores"][0] == pytest.approx(result["metrics"]["accuracy"])
    assert found["id"]["dataset"].endswith("reviews.csv")
    assert found["upstream"]["recoverable"] is True  # with LoRA's adapter off
    assert found["compute_eff"]["trainable_params"] == result["parameters"]["trainable"]
    assert result["training_flops"] > 0 and result["peak_memory_mb"] > 50
    sentence = found["negative"]["sentence"]
    assert sentence.split(":")[0] in (finished / "report.html").read_text()
    assert sentence.split(":")[0] in (finished / "report.md").read_text()


def test_afterwards_it_says_the_same(finished, capsys):
    before = record(finished)
    report_directory(finished, tier="quick")
    after = record(finished)
    same = ("downstream", "gain", "upstream", "shift", "negative", "warnings")
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert after["cost"]["cached"] >= 6  # three of the mode, three of scratch
    shown = capsys.readouterr().out.strip().splitlines()
    assert shown[0].startswith("nlptl   ") and shown[1].startswith("report  ")
    assert 3 <= len([line for line in shown if "kept from before" not in line]) <= 20


@pytest.mark.slow
def test_a_run_that_lost_its_predictions_and_its_model(finished, tmp_path):
    """It says what is missing, and still gives the rest."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/predictions.jsonl").unlink()
    shutil.rmtree(tmp_path / "run/model")
    found = report_directory(tmp_path / "run", tier="quick").record
    text = " ".join(found["warnings"])
    assert "predictions.jsonl" in text and "seed 0 is trained again" in text
    assert "cannot be opened" in text
    # The run that is made again has a model to look into, and it is the same run.
    assert found["upstream"]["forgetting"] == pytest.approx(
        record(finished)["upstream"]["forgetting"]
    )
    assert found["upstream"]["recoverable"] is True and not found["shift"]["missing"]
    assert found["downstream"]["pre"]["scores"] == record(finished)["downstream"]["pre"]["scores"]


def test_a_run_that_lost_its_model_alone(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/model")
    found = report_directory(tmp_path / "run", tier="quick").record
    assert found["upstream"]["missing"] and found["shift"]["missing"]
    assert found["downstream"]["pre"]["scores"] == record(finished)["downstream"]["pre"]["scores"]


@pytest.mark.slow
def test_two_processes_make_a_report(checkpoints, reviews, tmp_path):
    """Each process has a folder of its own for untrained twins, and both must find them whole."""
    done = command(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
        *("recipes/sentiment.py", "--model", checkpoints["bert"], "--train-file", reviews),
        *("--mode", "freeze-lower-2", "--epochs", 1, "--batch-size", 12, "--report", "quick"),
        *("--output-dir", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    found = record(tmp_path / "run")
    assert len(found["downstream"]["scratch"]["scores"]) == 3
    assert len(found["downstream"]["random_probe"]["scores"]) == 3


@pytest.mark.slow
def test_question_answering_has_no_probe_and_says_why(masked_lm_checkpoint, tmp_path):
    for name, count in (("train", 24), ("validation", 8), ("test", 12)):
        questions(tmp_path / f"{name}.json", count, seed=len(name))
    files = [f"--{n}-file={tmp_path / n}.json" for n in ("train", "validation", "test")]
    run_in_process(
        *("qa", "--model", masked_lm_checkpoint, *files, *QA_FLAGS, "--epochs", 1),
        *("--mode", "freeze-lower-2", "--report", "quick", "--output-dir", tmp_path / "run"),
    )
    found = record(tmp_path / "run")
    assert found["id"]["metric"] == "f1"
    assert "no linear model of words" in found["downstream"]["bow"]["missing"]
    assert found["downstream"]["majority"]["mean"] == 0
    assert 0 <= found["downstream"]["pre"]["mean"] <= 1
    assert found["shift"]["cka"][:3] == [1, 1, 1] and found["shift"]["probe_curve"] == []
    # Fractions of 1, as the schema says, though the task's own F1 is in percent.
    result = json.loads((tmp_path / "run/result.json").read_text())
    best = result["selection"]["score"] / 100
    assert found["downstream"]["pre"]["tuned"]["tried"] == {
        f"{result['settings']['learning_rate']:g}": pytest.approx(best)
    }
    assert 0 < found["compute_eff"]["target_score"] <= 1


@pytest.mark.slow
def test_a_run_whose_data_or_launch_is_another_now(finished, reviews, tmp_path, monkeypatch):
    """Predictions on other data are not compared, however many they are; the run is made again."""
    shutil.copytree(finished, tmp_path / "run")
    result = json.loads((tmp_path / "run/result.json").read_text())
    result["data"]["sha256"] = "0"
    (tmp_path / "run/result.json").write_text(json.dumps(result))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    text = " ".join(report_directory(tmp_path / "run", tier="quick").record["warnings"])
    assert "its data have changed since; seed 0 is trained again" in text
    assert "was launched otherwise (mixed_precision no, now bf16)" in text


def test_texts_without_six_tokens_leave_forgetting_out(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "short.txt").write_text("good\nbad\n")
    found = report_directory(
        tmp_path / "run", tier="quick", upstream_text=str(tmp_path / "short.txt")
    ).record
    assert "no text of six tokens" in found["upstream"]["missing"]
    assert found["gain"] and found["shift"]["cka"]
    (tmp_path / "blank.jsonl").write_text('{"text": " "}\n')
    with pytest.raises(DataError, match="--upstream-text .*blank.jsonl: its first 5,000 rows hold"):
        report_directory(
            tmp_path / "run", tier="quick", upstream_text=str(tmp_path / "blank.jsonl")
        )


def test_report_alone_means_standard():
    assert parse_args(SentimentConfig, ["--report"]).report == "standard"
    assert parse_args(SentimentConfig, ["--report", "--seeds", "2"]).report == "standard"
    assert parse_args(SentimentConfig, ["--report", "quick"]).report == "quick"
    assert parse_args(SentimentConfig, []).report is None


def test_wrong_use(tmp_path, checkpoints, reviews):
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(
        ConfigError, match=r"is not a finished run: .* found note.txt\. Give the --output"
    ):
        report_directory(tmp_path, tier="quick")
    with pytest.raises(DataError, match="--upstream-text .*nowhere.txt: there is no file"):
        run_in_process(
            *("sentiment", "--model", checkpoints["bert"], "--train-file", reviews),
            *("--upstream-text", tmp_path / "nowhere.txt", "--output-dir", tmp_path / "out"),
        )
    assert not (tmp_path / "out").exists()
