"""Tasks that users write: short, trained, cached, resumed, predicted, compared and reported."""

import ast
import json
import random
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from launching import ROOT, command, result, run_in_process
from tiny import FAMILIES, WORDS

import nlptl
from nlptl import registry
from nlptl.cli import report as reporting
from nlptl.cli.config import TaskConfig, parse_args
from nlptl.cli.main import predict
from nlptl.cli.train import each_seed, prepare, train_seed
from nlptl.errors import ConfigError, DataError, ModelError, UserError
from nlptl.runs.predictor import load_predictor
from nlptl.tasks import TASKS, get_task

OWN = Path(__file__).parent / "own"
#: File and class, and how many lines it may have.
CLASSES = {"pairs": ("Pairs", 10), "similarity": ("Similarity", 15), "topics": ("Topics", 20)}
CLASSES["tags"] = ("Tags", 30)
METRIC = {"pairs": "accuracy", "similarity": "spearman", "topics": "micro_f1", "tags": "entity_f1"}


def spelled(name):
    return f"{OWN / name}.py:{CLASSES[name][0]}"


def rows(name, count, rng):
    """Rows that a tiny model can learn: a second text that repeats the first, words that say their topic."""
    made = []
    for number in range(count):
        words = rng.choices(WORDS, k=5)
        if name in ("pairs", "similarity"):
            same = number % 2 if name == "pairs" else rng.randint(0, 1)
            other = words if same else rng.choices(WORDS, k=5)
            value = {"label": ("no", "yes")[same]} if name == "pairs" else {"score": 5.0 * same}
            made.append({"first": " ".join(words), "second": " ".join(other), **value})
        elif name == "topics":
            topics = [word for word in ("film", "book", "phone") if rng.random() < 0.5]
            made.append({"text": " ".join([*topics, *words[:2]]), "topics": topics or ["none"]})
        else:
            tags = ["B-THING" if w in ("film", "book", "phone") else "O" for w in words]
            made.append({"tokens": ["book", *words], "tags": ["B-THING", *tags]})
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    made, rng = {}, random.Random(0)
    for name in CLASSES:
        made[name] = tmp_path_factory.mktemp("own") / f"{name}.jsonl"
        lines = [json.dumps(row) for row in rows(name, 60, rng)]
        made[name].write_text("\n".join(lines) + "\n")
    return made


def train(name, data, model, directory, *flags):
    given = ["--task", spelled(name), "--train-file", data[name], "--model", model]
    given += ["--epochs", 2, "--output-dir", directory, "--learning-rate", 2e-3, *flags]
    config = parse_args(TaskConfig, [str(word) for word in given])
    each_seed(prepare(config, config.task), train_seed)
    return directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory, checkpoints, data):
    """One finished run a task, with cached states."""
    base = tmp_path_factory.mktemp("runs")
    flags = ("--mode", "freeze-lower-2", "--cache", "memory")
    return {n: train(n, data, checkpoints["bert"], base / n, *flags) for n in CLASSES}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", CLASSES)
def test_a_task_of_ones_own_is_short(name):
    title, most = CLASSES[name]
    text = (OWN / f"{name}.py").read_text()
    (found,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    own = text.splitlines()[found.lineno - 1 : found.end_lineno]
    assert found.name == title
    assert 3 <= sum(bool(line.strip()) for line in own) <= most


def test_the_docs_show_one_of_them_as_it_is():
    code = (OWN / "similarity.py").read_text().partition('"""\n\n')[2]
    assert f"```python\n{code}```" in (ROOT / "docs/extend.md").read_text()


@pytest.mark.parametrize("name", CLASSES)
def test_it_is_trained_scored_cached_and_saved(trained, name):
    record = result(trained[name])
    assert (record["task"], record["task_version"]) == (name, 1)
    assert record["task_source"] == spelled(name)
    assert record["cache"]["kind"] == "memory" and record["cache"]["blocks"] == 2
    assert record["selection"]["metric"] == METRIC[name]
    value, error = (record["metrics"][f"{METRIC[name]}{end}"] for end in ("", "_se"))
    assert -1 <= value <= 1 and error >= 0
    assert record["reload_difference"] <= 1e-6
    each = lines(trained[name] / "predictions.jsonl")
    task = get_task(spelled(name))(tuple(record["labels"]))
    assert value == pytest.approx(task.combine(task.statistics(each).mean(axis=0)), abs=1e-9)


def test_cached_states_change_nothing(trained, data, checkpoints, tmp_path):
    for name in ("pairs", "tags"):
        flags = ("--mode", "freeze-lower-2", "--cache", "off")
        plain = result(train(name, data, checkpoints["bert"], tmp_path / name, *flags))
        cached = result(trained[name])
        assert plain["cache"] is None
        assert cached["metrics"] == pytest.approx(plain["metrics"], abs=1e-4)


@pytest.mark.parametrize("name", CLASSES)
def test_nlptl_predict_says_what_the_run_said(trained, data, name, tmp_path):
    _, splits, _ = get_task(spelled(name)).prepare(
        parse_args(TaskConfig, ["--task", spelled(name), "--train-file", str(data[name])])
    )
    path, out = tmp_path / "t.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in splits["test"]))
    predict(str(trained[name]), file=path, output=out)
    for one, known in zip(lines(out), lines(trained[name] / "predictions.jsonl"), strict=True):
        if name == "similarity":
            assert one["prediction"] == pytest.approx(known["prediction"], abs=1e-4)
        else:
            assert one["prediction"] == known["prediction"]
        assert "gold" not in one and ("score" in one) is (name in ("pairs", "similarity"))


def test_the_command_takes_the_fields_of_any_task(trained):
    done = command(
        *("-m", "nlptl", "predict", trained["pairs"], "--field", "first=a film", "second=a film")
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"prediction", "score", "scores"}
    with pytest.raises(
        ConfigError, match="takes first and second; given were text. Give --field fi"
    ):
        predict(str(trained["pairs"]), text="a film")
    with pytest.raises(UserError, match="expected name=value"):
        predict(str(trained["pairs"]), field=("first",))


def test_words_may_be_given_as_a_sentence_or_as_a_list(trained):
    predictor = load_predictor(trained["tags"])
    one = predictor("the book was good")
    assert one == predictor({"tokens": ["the", "book", "was", "good"]})
    assert len(one["prediction"]) == 4 and set(one["prediction"]) <= {"O", "B-THING"}
    with pytest.raises(DataError, match="expected tokens, as a list of words"):
        predictor([{"tokens": []}])


def test_a_run_on_pairs_takes_no_single_text_and_a_regression_gives_its_numbers(trained):
    with pytest.raises(DataError, match="expected first and second"):
        load_predictor(trained["pairs"])("a film")
    predictor = load_predictor(trained["similarity"])
    one, two = predictor([("a film", "a film"), ("a film", "the plot was dull")])
    assert isinstance(one["prediction"], float) and one["prediction"] != two["prediction"]
    assert set(one) == {"prediction"}


def test_a_model_alone_is_opened_only_where_it_says_what_it_means(trained, tmp_path):
    shutil.copytree(trained["pairs"] / "model", tmp_path / "classes")
    assert load_predictor(tmp_path / "classes").task.name == "text-classification"
    for name in ("similarity", "topics"):
        shutil.copytree(trained[name] / "model", tmp_path / name)
        with pytest.raises(ModelError, match="not one class, and no result.json says"):
            load_predictor(tmp_path / name)
        assert load_predictor(tmp_path / name, task=spelled(name)).task.name == name
    assert load_predictor(trained["similarity"] / "model").task.name == "similarity"


def test_a_run_whose_task_cannot_be_imported_is_refused(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained["pairs"], run)

    def say(**changed):
        record = {**result(trained["pairs"]), **changed}
        (run / "result.json").write_text(json.dumps(record))

    say(task_source="/nowhere/mine.py:Pairs")
    with pytest.raises(ModelError, match=r"cannot be imported here: .*no file /nowhere/mine.py"):
        load_predictor(run)
    say(task="far", task_source="package_of_theirs.tasks:Far")
    with pytest.raises(
        ModelError, match=r"no such task.*class package_of_theirs.tasks:Far: import"
    ):
        load_predictor(run)
    shutil.copy(OWN / "pairs.py", run / "brought.py")
    say(task_source=f"{run / 'brought.py'}:Pairs")
    with pytest.raises(ModelError, match="is inside the run, and code of a run is not imported"):
        load_predictor(run)
    say(task="masked-lm", task_source=None)
    with pytest.raises(ModelError, match="a run of the task 'masked-lm', which cannot be imported"):
        load_predictor(run)
    say(task_settings={"labels": ["no", "yes"], "strength": 2})
    with pytest.raises(ModelError, match="do not fit the task pairs"):
        load_predictor(run)


def test_a_registered_task_and_another_packages_are_found_by_name(
    trained, data, checkpoints, tmp_path, monkeypatch
):
    @nlptl.register_task
    class Mine(nlptl.TextClassification):
        name, fields = "mine", ("first", "second")

    monkeypatch.setitem(TASKS.things, "mine", Mine)
    flags = ["--task", "mine", "--train-file", data["pairs"], "--model", checkpoints["bert"]]
    flags += ["--epochs", 1, "--class-weights", "balanced", "--output-dir", tmp_path / "run"]
    config = parse_args(TaskConfig, [str(word) for word in flags])
    each_seed(prepare(config, "mine"), train_seed)
    record = result(tmp_path / "run")
    assert record["task"] == "mine" and {"accuracy", "macro_f1", "matthews"} <= set(
        record["metrics"]
    )
    assert record["data"]["class_weights"] == [1.0, 1.0]
    assert type(load_predictor(tmp_path / "run").task) is Mine
    monkeypatch.delitem(TASKS.things, "mine")
    monkeypatch.syspath_prepend(str(OWN))
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [EntryPoint("mine", "pairs:Pairs", group)]
    )
    assert get_task("mine").name == "pairs"
    monkeypatch.delitem(TASKS.things, "mine")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["head-only", "freeze-lower-1", "lora"])
def test_tags_take_every_mode_and_family(checkpoints, data, tmp_path, family, mode):
    run = train("tags", data, checkpoints[family], tmp_path / "run", "--mode", mode)
    record = result(run)
    head = record["parameters"]["by_part"]["head"]
    assert head["total"] == head["trainable"] == 2 * 32 + 2 + (32 if family == "t5" else 0)
    assert record["reload_difference"] <= 1e-4
    if mode == "head-only":
        assert record["parameters"]["trainable"] == head["total"]
        assert record["cache"]["blocks"] == 3
    if mode == "lora":
        from peft import AutoPeftModelForTokenClassification

        adapter = AutoPeftModelForTokenClassification.from_pretrained(run / "adapter", num_labels=2)
        whole = load_predictor(run).model
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.no_grad():
            torch.testing.assert_close(
                adapter.eval()(input_ids=ids).logits, whole(input_ids=ids).logits, rtol=0, atol=1e-4
            )


def test_pairs_take_every_family(checkpoints, data, tmp_path, family):
    run = train("pairs", data, checkpoints[family], tmp_path / "run", "--mode", "head-only")
    assert result(run)["cache"]["blocks"] == (6 if family == "t5" else 3)


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(
    checkpoints, data, tmp_path, monkeypatch
):
    from safetensors.torch import load_file

    from nlptl.train import hooks

    whole = train("tags", data, checkpoints["bert"], tmp_path / "whole")
    scored = hooks.KeepBest.on_epoch

    def cut(self, state):
        scored(self, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(hooks.KeepBest, "on_epoch", cut)
    with pytest.raises(KeyboardInterrupt):
        train("tags", data, checkpoints["bert"], tmp_path / "cut")
    monkeypatch.undo()
    resumed = train("tags", data, checkpoints["bert"], tmp_path / "cut", "--resume")
    one, two = (load_file(run / "model/model.safetensors") for run in (whole, resumed))
    assert all((tensor == two[key]).all() for key, tensor in one.items())
    assert result(whole)["metrics"] == result(resumed)["metrics"]


@pytest.mark.slow
def test_compare_and_report_know_it(trained, data, checkpoints, tmp_path, monkeypatch):
    """Worker processes import the file too."""
    run_in_process(
        *("compare", "--task", spelled("pairs"), "--train-file", data["pairs"]),
        *("--model", checkpoints["bert"], "--mode", "head-only", "full", "--seeds", 2),
        *("--epochs", 1, "--parallel", 2, "--output-dir", tmp_path / "compared"),
    )
    record = json.loads((tmp_path / "compared/compare.json").read_text())
    assert record["task"] == "pairs" and set(record["rows"]) == {"head-only", "full"}
    monkeypatch.setattr(reporting, "report_run", lambda ready, *_: ready)
    ready = reporting.report_directory(trained["pairs"], tier="quick")
    assert type(ready.task) is get_task(spelled("pairs"))
    gold = [line["gold"] for line in lines(trained["pairs"] / "predictions.jsonl")]
    assert ready.task.gold(ready.splits["test"]) == gold
