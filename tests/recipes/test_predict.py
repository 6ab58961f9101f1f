"""Predictors and `nlptl predict`: the same answers as the run's own, in every form of input."""

import json
import sys

import pytest
from launching import command

from nlptl.cli.config import QAConfig, SentimentConfig, load_yaml
from nlptl.cli.main import main, predict
from nlptl.errors import ConfigError, DataError, ModelError, UserError
from nlptl.runs.predictor import load_predictor
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.question_answering import QuestionAnswering


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_labels_are_those_of_the_run_singly_in_lists_and_from_a_dataset(runs, family):
    directory = runs[family, "lora"]
    config = SentimentConfig(**load_yaml(SentimentConfig, directory / "config.yaml"))
    test = TextClassification.prepare(config)[1]["test"]
    expected = lines(directory / "predictions.jsonl")
    predictor = load_predictor(directory, batch_size=5)
    for found in (predictor(test["text"][:]), predictor(test), predictor([dict(r) for r in test])):
        assert [f["prediction"] for f in found] == [e["prediction"] for e in expected]
        for one, other in zip(found, expected, strict=True):
            assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
            assert one["score"] == max(one["scores"].values())
    one = load_predictor(directory / "model")(test[0]["text"])
    assert one["scores"] == pytest.approx(expected[0]["scores"], abs=1e-5)


def test_answers_are_those_of_the_run_with_its_threshold(qa_runs, family):
    directory = qa_runs[family, "full"]
    config = QAConfig(**load_yaml(QAConfig, directory / "config.yaml"))
    test = QuestionAnswering.prepare(config)[1]["test"]
    expected = lines(directory / "predictions.jsonl")
    predictor = load_predictor(directory)
    assert (
        predictor.task.threshold
        == json.loads((directory / "result.json").read_text())["metrics"]["threshold"]
    )
    pairs = list(zip(test["question"][:], test["context"][:], strict=True))
    for found in (predictor(pairs), predictor(test)):
        assert [f["prediction"] for f in found] == [e["prediction"] for e in expected]
    for (_, context), one in zip(pairs, found, strict=True):
        if one["prediction"]:
            assert context[one["start"] : one["end"]] == one["prediction"]
        else:
            assert one["start"] == one["end"] == -1
    assert predictor(*pairs[0]) == predictor(pairs[0])


def test_wrong_examples_and_models_are_refused(runs, qa_runs, checkpoints):
    predictor = load_predictor(runs["bert", "full"])
    with pytest.raises(DataError, match=r"Example 1 is .*; expected text"):
        predictor(["a film", "  "])
    with pytest.raises(DataError, match="expected question and context"):
        load_predictor(qa_runs["bert", "full"])(["who?"])
    with pytest.raises(ConfigError, match="given were text. Give --question … --context …, or --f"):
        predict(str(qa_runs["bert", "full"]), text="who?")
    with pytest.raises(ModelError, match="which has no head for classification"):
        load_predictor(checkpoints["bert"])


def test_the_command_line_labels_a_text_and_a_file(runs, reviews, tmp_path, monkeypatch, capsys):
    directory, output = runs["bert", "full"], tmp_path / "out.jsonl"

    def nlptl(*words):
        monkeypatch.setattr(sys, "argv", ["nlptl", *map(str, words)])
        main()
        return capsys.readouterr()

    said = nlptl("predict", directory, "--text", "a good film")
    assert set(json.loads(said.out)) == {"prediction", "score", "scores"}
    said = nlptl("predict", directory, "--file", reviews, "--output", output)
    assert len(lines(output)) == 120
    assert "120/120" not in said.err  # a bar is for a terminal
    with pytest.raises(SystemExit) as ended:
        nlptl("predict", directory, "--text", "x", "--context", "y", "--output", output)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "error: 3 things" in said.err and "would be overwritten" in said.err
    assert len(lines(output)) == 120


def test_an_output_that_cannot_be_written_is_told_before_the_model_is_read(tmp_path):
    with pytest.raises(UserError) as caught:
        predict("nowhere", text="a film", output=tmp_path / "no/x.jsonl", batch_size=0)
    assert f"there is no folder {tmp_path / 'no'}. Make it first." in str(caught.value)
    assert "--batch-size is 0; expected a number above 0." in str(caught.value)


@pytest.mark.slow
def test_the_command_line_answers_a_squad_file(qa_runs, squad, tmp_path):
    done = command(
        *("-m", "nlptl", "predict", qa_runs["roberta", "full"], "--file", squad),
        *("--output", tmp_path / "out.jsonl"),
    )
    assert done.returncode == 0, done.stderr
    found = lines(tmp_path / "out.jsonl")
    assert len(found) == 40
    own = {"prediction", "score", "start", "end", "alternatives"}
    assert set(found[0]) == {"row", "id", "question", "context"} | own
