"""``nlptl.fit``: one call from a table to predictions, the same run as the recipe's."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas
import pytest
from datasets import Dataset
from launching import ROOT, command, result, run_in_process

import nlptl
from nlptl.cli.fit import configuration, in_words_of_a_program
from nlptl.cli.output import check_unchanged
from nlptl.cli.report import config_of
from nlptl.data.encoding import splits_hash
from nlptl.data.frames import own_file
from nlptl.errors import ConfigError, DataError, Mistakes, ModelError

MODE = "head-only"


@pytest.fixture(scope="module")
def frame(reviews):
    """Tickets of which every seventh is labelled wrongly, so that there are mistakes."""
    table = pandas.read_csv(reviews).rename(columns={"text": "body", "label": "queue"})
    other = {"positive": "negative", "negative": "positive"}
    queue = [other[q] if i % 7 == 0 else q for i, q in enumerate(table["queue"])]
    return table.assign(queue=queue, ticket=[f"T{i}" for i in range(len(table))])


@pytest.fixture(scope="module")
def fitted(checkpoints, frame, tmp_path_factory):
    """A run of a data frame, kept; and what the object said before it was."""
    run = nlptl.fit(frame, text="body", label="queue", model=checkpoints["bert"], mode=MODE)
    before, folder = repr(run), run.directory
    target = tmp_path_factory.mktemp("fit") / "run"
    assert run.save(target) == target
    return run, before, folder


def test_it_is_the_run_of_the_recipe(fitted, checkpoints, frame, tmp_path):
    home, file = tmp_path / "recipe", tmp_path / "tickets.csv"
    frame.to_csv(file, index=False)
    run_in_process(
        *("sentiment", "--model", checkpoints["bert"], "--train-file", file),
        *("--text-column", "body", "--label-column", "queue"),
        *("--mode", MODE, "--output-dir", home),
    )
    run, recipe = fitted[0], result(home)
    assert run.metrics == recipe["metrics"] and run.metrics["accuracy"] > 0.6
    own = {"model", "mode", "settings", "labels", "n", "selection", "history"}
    assert {name: run.record[name] for name in own} == {name: recipe[name] for name in own}
    assert "learning_rate" in run.record["defaults"] and "epochs" in run.record["defaults"]


def test_a_run_shows_itself_in_a_few_lines(fitted):
    run, before, folder = fitted
    assert "save(directory) keeps it" in before and len(before.splitlines()) <= 12
    assert "bag of words" in before and "of its examples are found" in before
    assert f"accuracy {run.metrics['accuracy']:.3f} ± " in before
    assert "24 examples" in before and "head-only" in before
    assert repr(run).splitlines()[-1].split() == ["saved", str(run.directory)]
    assert not folder.exists()  # the temporary directory went when the run was saved
    page = run._repr_html_()
    assert "<html" not in page and f"{run.metrics['accuracy']:.4g}" in page
    assert all(word in page for word in ("precision", "positive", "negative", "bag of words"))


def test_tables_come_back_with_their_predictions(fitted, frame, tmp_path):
    run, *_ = fitted
    some = frame[["ticket", "body"]].iloc[5:9]
    found = run.predict(some)
    assert list(found.columns) == ["ticket", "body", "prediction", "score"]
    assert list(found.index) == [5, 6, 7, 8] and list(some.columns) == ["ticket", "body"]
    texts = run.predict(list(some["body"]))
    assert [one["prediction"] for one in texts] == list(found["prediction"])
    assert [one["score"] for one in texts] == list(found["score"])
    assert run.predict(some["body"].iloc[0])["score"] == pytest.approx(texts[0]["score"])
    table = run.predict(Dataset.from_pandas(some, preserve_index=False))
    assert table["prediction"][:] == list(found["prediction"])
    some.to_csv(tmp_path / "some.csv", index=False)
    for file in (tmp_path / "some.csv", str(tmp_path / "some.csv")):
        assert list(run.predict(file)["score"]) == list(found["score"])
    (tmp_path / "some.txt").write_text("\n\n".join(some["body"]))
    lines = run.predict(tmp_path / "some.txt")
    assert list(lines.columns) == ["text", "prediction", "score"]
    assert list(lines["score"]) == list(found["score"])
    usual = run.predict(some.rename(columns={"body": "text"}))
    assert list(usual["score"]) == list(found["score"])
    old = found.assign(prediction="mine", score=range(4), score_in_file="older")
    twice = run.predict(old)
    assert list(twice["prediction"]) == list(found["prediction"])
    assert list(twice["score"]) == list(found["score"])
    assert (twice["prediction_in_file"] == "mine").all() and list(twice.index) == [5, 6, 7, 8]
    assert list(twice["score_in_file"]) == [0, 1, 2, 3]
    assert (twice["score_in_file_in_file"] == "older").all()
    rows = run.predict(Dataset.from_pandas(old, preserve_index=False))
    assert rows.column_names == list(twice.columns) and rows["score_in_file"][:] == [0, 1, 2, 3]
    with pytest.raises(DataError, match="usual name for a text"):
        run.predict(some.rename(columns={"body": "words"}))


def test_mistakes_are_the_surest_first(fitted, frame):
    run, *_ = fitted
    wrong = [each for each in run.predictions if each["gold"] != each["prediction"]]
    found = run.errors(None)
    assert len(found) == len(wrong) > 0 and len(run.errors(1)) == 1
    assert (found["gold"] != found["prediction"]).all()
    assert found["confidence"].is_monotonic_decreasing
    assert list(found.columns) == [
        *("row", "body", "ticket", "prediction", "gold", "confidence"),
    ]
    first = found.iloc[0]
    assert frame["body"][first["row"]] == first["body"] and first["ticket"] == f"T{first['row']}"
    assert frame["queue"][first["row"]] == first["gold"]


def test_the_page_on_mistakes_shows_lines_that_work(fitted):
    run, *_ = fitted
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/errors.md").read_text(), re.DOTALL)
    names = {"run": run}
    exec(lines, names)
    counts = names["confusion"](run.predictions, run.task.labels)
    pairs = Counter((line["gold"], line["prediction"]) for line in run.predictions)
    labels = run.task.labels
    assert counts.tolist() == [[pairs[gold, guess] for guess in labels] for gold in labels]
    assert labels == ("negative", "positive") and counts.sum() == 24


def test_a_saved_run_has_its_data_and_can_be_reported_on(fitted, capsys):
    run, *_ = fitted
    kind, config = config_of(run.directory)
    assert config.output_dir == run.directory
    assert config.train_file == run.directory / "data" / "train.parquet"
    _, splits, _ = kind.prepare(config)
    assert splits_hash(splits) == run.record["data"]["sha256"]
    again = nlptl.load_run(run.directory)
    assert again.metrics == run.metrics
    assert again.floors["majority"]["accuracy"] > 0 and len(again.per_class) == 2
    assert again.weakest is None or again.weakest["label"] in {"negative", "positive", "no", "yes"}
    assert again.record["data"]["files"] == {"train": str(config.train_file)}
    predictor = nlptl.load_predictor(run.directory)
    assert predictor("good film")["prediction"] == again.predict("good film")["prediction"]


def test_a_run_has_its_data_wherever_it_is_and_from_any_directory(fitted, tmp_path, monkeypatch):
    """Kept under a relative name, then moved; its own data go before another run's of the old name."""
    run, *_ = fitted
    monkeypatch.chdir(tmp_path)
    two = nlptl.load_run(run.directory)
    two.save("runs/a")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    home, data = tmp_path / "moved", Path("data", "train.parquet")
    (tmp_path / "runs/a").rename(home)
    kind, config = config_of(home)
    assert config.train_file == home / data
    assert splits_hash(kind.prepare(config)[1]) == run.record["data"]["sha256"]
    (tmp_path / "elsewhere/runs/a/data").mkdir(parents=True)
    (tmp_path / "elsewhere/runs/a" / data).touch()
    assert config_of(home)[1].train_file == home / data
    monkeypatch.chdir(home)
    assert config_of(Path())[1].train_file == data
    again = nlptl.load_run(home)
    kept = again.save(tmp_path / "kept")
    assert config_of(kept)[1].train_file == kept / data
    assert again.record["data"]["files"] == {"train": str(kept / data)}


def test_a_moved_run_goes_on(fitted, tmp_path, monkeypatch):
    """The directory is the one in which its configuration is; the flags are still compared."""
    run, *_ = fitted
    monkeypatch.chdir(tmp_path)
    nlptl.load_run(run.directory).save("runs/a")
    (tmp_path / "runs/a").rename(tmp_path / "moved")
    _, config = config_of(tmp_path / "moved")
    check_unchanged(replace(config, output_dir=tmp_path / "moved"))
    near = replace(config, output_dir=Path("moved"), train_file=Path("moved/data/train.parquet"))
    check_unchanged(near)
    with pytest.raises(ConfigError, match="--train-file was .*moved/data/train.parquet, is other"):
        check_unchanged(replace(near, train_file=Path("other.csv")))


def test_the_data_of_further_seeds_are_those_of_their_run(tmp_path):
    file = tmp_path / "now" / "data" / "train.parquet"
    file.parent.mkdir(parents=True)
    file.touch()
    was, seed = Path("runs/a"), Path("seeds", "3")
    assert own_file(was / "data/train.parquet", was / seed, tmp_path / "now" / seed) == file
    for other in ("data/train.parquet", "runs/a/mine/train.parquet", "runs/a/data/test.parquet"):
        assert own_file(Path(other), was, tmp_path / "now") == Path(other)


def test_further_seeds_move_with_their_run(fitted, tmp_path):
    """A run of two seeds, made here by copying: what names its directory names the new one."""
    run, *_ = fitted
    two = nlptl.load_run(run.directory)
    seed = two.directory / "seeds" / "1"
    seed.mkdir(parents=True)
    for name in ("result.json", "config.yaml", "predictions.jsonl"):
        (seed / name).write_bytes((two.directory / name).read_bytes())
    target = two.save(tmp_path / "two")
    for home in (target, target / "seeds" / "1"):
        _, config = config_of(home)
        assert config.output_dir == home
        assert config.train_file == target / "data" / "train.parquet" and config.train_file.exists()
        assert result(home)["data"]["files"] == {"train": str(config.train_file)}
        assert (home / "predictions.jsonl").exists()
    shutil.rmtree(seed.parent)


def test_a_saved_run_overwrites_nothing(fitted, tmp_path):
    run, *_ = fitted
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds another run"):
        run.save(tmp_path)
    assert run.save(run.directory) == run.directory
    with pytest.raises(ModelError, match="nothing: there is no such run or checkpoint"):
        nlptl.load_run(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="not a finished run"):
        nlptl.load_run(tmp_path / "empty")


def test_all_mistakes_are_named_in_the_words_of_the_call(frame, tmp_path):
    with pytest.raises(Mistakes) as caught:
        nlptl.fit(frame, text="body", epoch=3, dataset="x", report="quick", max_length="long")
    assert caught.value.args[0].splitlines() == [
        "4 things need your attention:",
        "1. epoch: fit has no such argument. Did you mean 'epochs'?",
        "2. dataset: give data instead.",
        "3. report: call report() of the run instead.",
        "4. max_length is 'long'; expected a whole number.",
    ]
    other = frame.rename(columns={"queue": "sorted"})
    with pytest.raises(Mistakes) as caught:
        nlptl.fit(other, text="bdy", mode="ful", max_length=3, output_dir=tmp_path / "run")
    message = str(caught.value)
    assert "--" not in message
    assert "max_length is 3; expected 8 or more" in message and "mode ful: there is" in message
    assert "text bdy: the train split has no such column. Did you mean 'body'?" in message
    assert 'Say which with label="NAME".' in message
    assert not (tmp_path / "run").exists()  # a failed call leaves nothing


def test_a_taken_directory_is_refused_before_anything_is_written(frame, tmp_path):
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"^output_dir .* holds another run"):
        nlptl.fit(frame, output_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


PLACES = {"train": "a.csv", "test": "b.csv"}


def test_columns_go_to_the_roles_of_the_task(tmp_path):
    asked = {"mode": "lora", "epochs": 2}
    config = configuration("qa", asked, PLACES, text=("q", "passage"), label="a", home=tmp_path)
    columns = (config.question_column, config.context_column, config.answers_column)
    assert columns == ("q", "passage", "a") and config.task == "question-answering"
    assert (str(config.train_file), str(config.test_file), config.epochs) == ("a.csv", "b.csv", 2.0)
    assert config.dataset is None and config.output_dir == tmp_path
    own = configuration(
        "auto", {}, {"train": "glue:sst2"}, text="t", label=["x", "y"], home=tmp_path
    )
    assert own.dataset == "glue:sst2" and own.train_file is None and own.mode == "full"
    assert own.kind == "auto" and own.text_column == ("t",) and own.label_column == ("x", "y")
    numbered = configuration("auto", {}, PLACES, text=0, label=[1, 2], home=tmp_path)
    assert numbered.text_column == ("0",) and numbered.label_column == ("1", "2")
    assert configuration("regression", {}, PLACES, home=tmp_path).kind == "regression"
    with pytest.raises(Mistakes, match=r"(?s)text names 1 column \(q\).* takes 2.*label names 2"):
        configuration("qa", {}, PLACES, text="q", label=["a", "b"], home=tmp_path)


def test_a_task_from_a_file_takes_columns_by_its_roles(tmp_path):
    own = "tests/tasks/own/similarity.py:Similarity"
    config = configuration(own, {}, PLACES, text=["premise", "claim"], label="mark", home=tmp_path)
    assert config.column == ("first=premise", "second=claim", "score=mark")


def test_the_kind_is_seen_from_the_table(checkpoints, frame):
    """Two columns of texts, blank in places, and numbers: a regression on pairs, from a list of rows."""
    rows = [
        {"subject": text if i % 5 else None, "body": text[::2], "priority": len(text) / 7}
        for i, text in enumerate(frame["body"])
    ]
    run = nlptl.fit(rows, label="priority", model=checkpoints["bert"], mode=MODE)
    assert run.record["task"] == "regression" and "fraction" in run.record["data"]["kind"]["why"]
    assert run.record["data"]["columns"] == {"subject": "subject", "body": "body"} | {
        "label": "priority"
    }
    assert "regression" in repr(run) and "spearman" in repr(run)
    found = run.predict(pandas.DataFrame(rows[:6]))
    assert list(found.columns) == ["subject", "body", "priority", "prediction"]
    assert found["prediction"].map(type).eq(float).all()
    errors = run.errors(3)
    assert {"body", "gold", "prediction", "error"} <= set(errors.columns)
    assert errors["error"].abs().is_monotonic_decreasing


def test_flags_are_called_by_the_names_of_arguments():
    said = in_words_of_a_program("--train-file x: no. Choose with --text-column NAME, or --resume.")
    assert said == 'data x: no. Choose with text="NAME", or resume.'


def test_several_processes_need_a_directory_in_common(frame, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="Give output_dir"):
        nlptl.fit(frame)


def test_a_directory_can_be_given_and_the_call_repeated(checkpoints, reviews, tmp_path, capsys):
    home = tmp_path / "run"
    given = {"model": checkpoints["bert"], "mode": MODE, "output_dir": home}
    run = nlptl.fit(reviews, **given, seed=3)
    assert run.directory == home and json.loads((home / "result.json").read_text())["seed"] == 3
    assert not (home / "data").exists() and not (home / ".lock").exists()
    again = nlptl.fit(reviews, **given, seed=3, resume=True)
    assert again.record == run.record and "is finished" in capsys.readouterr().out


PROGRAM = """
import sys

import pandas

import nlptl

table, model, home = sys.argv[1:]
run = nlptl.fit(
    pandas.read_csv(table), model=model, mode="freeze-lower-1", epochs=1, output_dir=home
)
print("found", run.metrics["accuracy"], run.predict("good film good")["prediction"])
"""


@pytest.mark.slow
def test_two_processes_make_one_run(checkpoints, reviews, tmp_path):
    """Each has the table; the files of the run are the main process's."""
    (tmp_path / "program.py").write_text(PROGRAM)
    done = command(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
        *(tmp_path / "program.py", reviews, checkpoints["bert"], tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if line.startswith("found")]
    assert len(found) == 2 and found[0] == found[1]
    assert result(tmp_path / "run")["launch"]["processes"] == 2
    files = {path.name for path in (tmp_path / "run" / "data").iterdir()}
    assert files == {"train.parquet"}


def test_a_tagger_reads_words_that_a_csv_writes(checkpoints, tmp_path):
    """As numpy prints a list of words and as Python does; a row's words are the same."""
    rows = [{"tokens": "['good' 'film']", "tags": "['B-X' 'O']"}] * 20
    run = nlptl.fit(rows, model=checkpoints["bert"], mode=MODE, epochs=1)
    assert run.record["task"] == "token-classification" and run.record["labels"] == ["B-X", "O"]
    (tmp_path / "t.csv").write_text("tokens\n['good' 'film']\n\"['good','film']\"\n")
    expected = run.predict({"tokens": ["good", "film"]})["prediction"]
    assert (
        len(expected) == 2 and list(run.predict(tmp_path / "t.csv")["prediction"]) == [expected] * 2
    )
