"""Several labels, numbers, tags and pairs through the recipe: trained, saved, predicted, opened elsewhere."""

import json
import random
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import result, run_in_process
from tiny import FAMILIES, WORDS, tiny_tokenizer

from nlptl.cli import report as reporting
from nlptl.cli.config import ClassifyConfig
from nlptl.cli.predict import trained_columns
from nlptl.data.encoding import encode_words
from nlptl.errors import UserError
from nlptl.modes.base import parse_mode
from nlptl.runs.predictor import load_predictor
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.kinds import chosen_kind
from nlptl.tasks.multi_label import MultiLabelClassification, best_constant, best_threshold
from nlptl.tasks.regression import Regression
from nlptl.tasks.token_classification import TokenClassification
from nlptl.train.header import data_rows
from nlptl.train.learner import Learner
from nlptl.train.setup import FinetuneArgs, start_accelerator
from nlptl.train.units import in_own_unit

THINGS = ("film", "book", "phone")
#: Name of a kind to its metrics and the fields of its examples.
KINDS = {
    "pairs": (["accuracy", "macro_f1", "matthews"], ("subject", "body")),
    "labels": (["micro_f1", "macro_f1", "exact_match"], ("text",)),
    "numbers": (["spearman", "pearson", "mae"], ("sentence1", "sentence2")),
    "tags": (["entity_f1", "accuracy"], ("tokens",)),
}


def rows(kind, rng):
    words = rng.choices(WORDS, k=6)
    if kind == "pairs":
        same = rng.random() < 0.5
        body = words if same else rng.choices(WORDS, k=6)
        return {"subject": " ".join(words), "body": " ".join(body), "queue": f"q{same:d}"}
    if kind == "labels":
        topics = [thing for thing in THINGS if rng.random() < 0.5]
        return {"text": " ".join([*topics, *words]), "topics": topics}
    if kind == "numbers":
        number = 1000 + 100 * sum(word in THINGS for word in words)
        return {"sentence1": " ".join(words), "sentence2": "a film", "score": number + 0.5}
    tokens = words * (20 if rng.random() < 0.5 else 1)  # some are longer than the model takes
    return {"tokens": tokens, "tags": [f"B-{w}" if w in THINGS else "O" for w in tokens]}


def table(kind, path):
    rng = random.Random(0)
    with path.open("w") as file:
        for _ in range(60):
            file.write(json.dumps(rows(kind, rng)) + "\n")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, checkpoints):
    """One finished run of each kind, which the recipe saw from the table."""
    base = tmp_path_factory.mktemp("kinds")
    for kind in KINDS:
        run_in_process(
            *("classify", "--train-file", table(kind, base / f"{kind}.jsonl")),
            *("--model", checkpoints["bert"], "--mode", "freeze-lower-2", "--epochs", 1),
            *("--output-dir", base / kind),
        )
    return base


def predictions(run):
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]


NAMES = {
    "pairs": "text-classification",
    "labels": "multi-label-classification",
    "numbers": "regression",
    "tags": "token-classification",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_has_the_metrics_of_its_kind_and_says_what_it_saw(runs, kind):
    record = result(runs / kind)
    metrics, fields = KINDS[kind]
    assert record["task"] == record["data"]["kind"]["name"] == NAMES[kind]
    assert record["data"]["kind"]["why"] and record["task_source"] is None
    assert [n for n in record["metrics"] if not n.endswith("_se")] == [*metrics, "loss"]
    assert all(record["metrics"][f"{name}_se"] >= 0 for name in metrics)
    assert record["selection"]["metric"] == metrics[0]
    assert record["reload_difference"] <= 1e-6
    predictor = load_predictor(runs / kind)
    assert predictor.task.fields == fields
    task, records = predictor.task, predictions(runs / kind)
    again = float(task.combine(task.statistics(records).mean(axis=0)))
    assert record["metrics"][metrics[0]] == pytest.approx(again, abs=1e-9)
    if kind in ("pairs", "numbers"):
        assert "as the tokenizer joins pairs" in record["data"]["texts"]
    config = reporting.read_yaml(runs / kind / "config.yaml")
    assert config["kind"] == "auto"


@pytest.mark.parametrize("kind", KINDS)
def test_the_predictor_says_what_the_run_said(runs, kind):
    predictor = load_predictor(runs / kind)
    config = ClassifyConfig(train_file=runs / f"{kind}.jsonl")
    _, splits, _ = type(predictor.task).prepare(config)
    for one, known in zip(predictor(splits["test"]), predictions(runs / kind), strict=True):
        if kind == "numbers":
            assert one["prediction"] == pytest.approx(known["prediction"], abs=1e-2)
        else:
            assert one["prediction"] == known["prediction"]
        if kind == "tags":
            assert len(one["prediction"]) == len(known["gold"])  # also where it is longer than 64
    if kind == "tags":
        assert any(len(p["gold"]) > 64 for p in predictions(runs / "tags"))


def test_plain_transformers_opens_the_models(runs):
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )

    first = {kind: predictions(runs / kind)[0] for kind in KINDS}
    _, splits, _ = Regression.prepare(ClassifyConfig(train_file=runs / "numbers.jsonl"))
    tokenizer = AutoTokenizer.from_pretrained(runs / "numbers/model")
    opened = AutoModelForSequenceClassification.from_pretrained(runs / "numbers/model")
    pair = [splits["test"][0][name] for name in ("sentence1", "sentence2")]
    with torch.no_grad():
        number = opened(**tokenizer(*pair, return_tensors="pt")).logits
    assert number.item() == pytest.approx(first["numbers"]["prediction"], abs=1e-2)
    assert number.item() > 500  # in its own unit
    labels = AutoModelForSequenceClassification.from_pretrained(runs / "labels/model").config
    assert labels.problem_type == "multi_label_classification"
    assert set(labels.id2label.values()) == set(THINGS)
    tags = AutoModelForTokenClassification.from_pretrained(runs / "tags/model").config
    assert tags.id2label[0] == "B-book" and len(tags.id2label) == 4


def test_a_report_reads_the_configuration_of_the_recipe(runs, monkeypatch):
    monkeypatch.setattr(reporting, "report_run", lambda ready, *_: ready)
    for kind in ("numbers", "tags"):
        ready = reporting.report_directory(runs / kind, tier="quick")
        assert ready.task.name == NAMES[kind]
        golds = [p["gold"] for p in predictions(runs / kind)]
        assert ready.task.gold(ready.splits["test"]) == golds


# ---- pieces
@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_come_out_in_their_own_unit(checkpoints, family):
    task = Regression(mean=1000.0, deviation=50.0)
    table = Dataset.from_dict({"text": ["a film", "the book was good", "a"], "label": [900.0] * 3})
    args = FinetuneArgs(str(checkpoints[family]), parse_mode("full"), 1e-3, 1.0, head="random")
    learner = Learner(task, args, start_accelerator(tracker=None, output_dir=None, seed=0))
    learner.mode(args.mode)
    before = [p["prediction"] for p in learner.predict(table)]
    assert max(abs(number - 1000) for number in before) < 400  # near the mean, before any training
    learner.task = in_own_unit(learner, table)
    assert (learner.task.mean, learner.task.deviation) == (0.0, 1.0)
    after = [p["prediction"] for p in learner.predict(table)]
    assert after == pytest.approx(before, abs=1e-3)


def test_the_loss_of_numbers_counts_in_deviations():
    task = Regression(mean=10.0, deviation=2.0)
    assert task.gold_of(14) == 2.0
    assert task.decode(np.asarray([1.5])) == {"prediction": 13.0}
    given = {"labels": torch.tensor([2.0, 0.0]), "size": torch.tensor(2)}
    loss, size = task.loss({"logits": torch.tensor([[1.0], [0.0]])}, given)
    assert (float(loss), size) == (0.5, 2.0)
    records = [{"gold": g, "prediction": p} for g, p in ((1, 2.0), (2, 2.5), (3, 5.0))]
    found = task.score(records)
    assert found["spearman"] == pytest.approx(1) and found["mae"] == pytest.approx(3.5 / 3)


def test_a_threshold_is_chosen_on_validation_and_kept_if_it_is_given():
    records = [
        {"scores": {"a": 0.3, "b": 0.1}, "gold": ["a"]},
        {"scores": {"a": 0.28, "b": 0.2}, "gold": ["a"]},
        {"scores": {"a": 0.2, "b": 0.15}, "gold": []},
    ]
    assert best_threshold(("a", "b"), records) == 0.28  # of 0.21 to 0.28 the nearest to 0.5
    task = MultiLabelClassification(("a", "b"))
    assert task.calibrates and task.decided(records[0]["scores"]) == []
    chosen = task.calibrate(records)
    assert chosen.threshold == 0.28 and chosen.decided(records[0]["scores"]) == ["a"]
    given = MultiLabelClassification(("a", "b"), threshold=0.5)
    assert not given.calibrates and given.calibrate(records) is given


def test_always_the_same_labels_are_those_that_score_best():
    gold = [["a", "b"], ["a", "b"], ["a"], ["c"]]
    assert best_constant(gold) == ["a", "b"]  # 10/14; a alone 6/10, all three 12/18
    table = Dataset.from_dict({"text": list("wxyz"), "label": gold})
    task = MultiLabelClassification(("a", "b", "c"))
    made = task.constant_predictions(table, table)
    assert {tuple(p["prediction"]) for p in made} == {("a", "b")}
    assert task.score(made)["micro_f1"] == pytest.approx(10 / 14)
    assert task.strata(table) == ["b", "b", "a", "c"]


def test_labels_in_texts_need_a_separator(tmp_path):
    lines = ["text,topics", *["a film,x;y", "a book,y", "a phone,"] * 10]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    asked = {"train_file": tmp_path / "t.csv", "label_column": ("topics",)}
    with pytest.raises(UserError, match="such as 'x;y'; expected a list of labels.*--label-sep"):
        MultiLabelClassification.prepare(ClassifyConfig(**asked))
    config = ClassifyConfig(**asked, label_separator=";")
    assert chosen_kind(config) == MultiLabelClassification.name
    task, splits, record = MultiLabelClassification.prepare(config)
    assert task.labels == ("x", "y") and record["train_counts"] == {"x": 7, "y": 14}
    assert {len(each) for each in task.gold(splits["test"])} == {0, 1, 2}


def test_the_record_names_every_column_of_labels(tmp_path):
    lines = ["text,rude,loud", *["a film,0,1", "a book,1,0", "a phone,0,0"] * 10]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    config = ClassifyConfig(train_file=tmp_path / "t.csv", label_column=("rude", "loud"))
    _, splits, record = MultiLabelClassification.prepare(config)
    assert record["columns"] == {"text": "text", "label": ["rude", "loud"]}
    task = SimpleNamespace(fields=("text",), split_into_words=False)
    assert not any(
        "rude" in row[1] for row in data_rows(task, splits, {**record, "texts": "t"})[:2]
    )
    record_file = tmp_path / "result.json"
    record_file.write_text(json.dumps({"data": record}))
    assert trained_columns(str(tmp_path)) == {"text": "text"}


def test_three_columns_are_joined_and_blank_ones_left_out(tmp_path):
    lines = ["a,b,c,label", *["film,good,x,yes", ",bad,y,no"] * 10]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    config = ClassifyConfig(train_file=tmp_path / "t.csv", text_column=("a", "c", "b"))
    task, splits, record = TextClassification.prepare(config)
    assert task.inputs == task.fields == ("a", "c", "b")
    assert record["texts"] == "the columns 'a', 'c' and 'b', joined by ' | '"
    assert {*task.texts(splits["train"])} == {"film | x | good", "y | bad"}
    assert any("have nothing in the column 'a'" in note for note in record["notes"])
    tokenizer = tiny_tokenizer("bert")
    (row,) = task.encode(splits["train"].select([0]), tokenizer, 40).rows["input_ids"][:]
    assert row == tokenizer(task.texts(splits["train"])[0])["input_ids"]
    (tmp_path / "t.csv").write_text("\n".join([*lines, ",,,no"]) + "\n")
    with pytest.raises(UserError, match=r"without any text in a, c, b: 1 of 21 \(row 20\)"):
        TextClassification.prepare(config)


# ---- windows
@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_is_read_once_in_some_window(family):
    tokenizer, rng = tiny_tokenizer(family), random.Random(1)
    sentences = [rng.choices([*WORDS, "filmbookphone"], k=k) for k in (1, 7, 60, 33)]
    whole = encode_words(sentences, tokenizer, max_length=10_000)
    assert whole["example"] == [0, 1, 2, 3]
    for stride in (None, 0, 5):
        made = encode_words(sentences, tokenizer, max_length=16, stride=stride)
        assert max(map(len, made["input_ids"])) <= 16 and len(made["example"]) > 8
        for number, (ids, places) in enumerate(
            zip(whole["input_ids"], whole["places"], strict=True)
        ):
            own = [i for i, example in enumerate(made["example"]) if example == number]
            read = [made["input_ids"][i][place] for i in own for place in made["places"][i]]
            assert read == [ids[place] for place in places]
            words = [made["word"][i] + k for i in own for k in range(len(made["places"][i]))]
            assert words == list(range(len(sentences[number])))


def test_a_word_is_read_where_more_is_to_be_seen_on_both_sides():
    """Rooms of 8 tokens that share 4: the border is in the middle of what they share."""
    tokenizer = tiny_tokenizer("bert")
    made = encode_words([["film"] * 12], tokenizer, max_length=10, stride=4)
    assert [len(places) for places in made["places"]] == [6, 6]
    assert made["places"][1][0] == 3  # two words of the overlap are before it, and [CLS]


def test_a_word_of_which_nothing_is_left_is_an_unknown_token():
    tokenizer = tiny_tokenizer("bert")
    words = ["\u200d", "film", "\u200d", "\u200d", "book", "\u200d"]
    made = encode_words([words], tokenizer, max_length=20)
    (ids,), (places,) = made["input_ids"], made["places"]
    assert places == [1, 2, 3, 4, 5, 6]
    unknown = tokenizer.unk_token_id
    assert [ids[p] == unknown for p in places] == [True, False, True, True, False, True]


def test_labels_and_outputs_of_windows_are_put_together_again():
    tokenizer, task = tiny_tokenizer("bert"), TokenClassification(("B-X", "O"))
    tags = [["O", "B-X"] * 10, ["B-X"]]
    table = Dataset.from_dict({"tokens": [["a", "film"] * 10, ["book"]], "tags": tags})
    part = task.encode(table, tokenizer, 12)
    assert len(part.rows) > 2 and part.rows["example"][-1] == 1 and part.truncated == 0
    batch = task.collator(tokenizer)([*part.rows], np.random.default_rng(0))
    assert int(batch["size"]) == 21  # each label counts once
    outputs = []
    for row in part.rows:
        logits = np.zeros((row["length"], 2))
        for place, gold in zip(row["places"], row["gold"], strict=True):
            logits[place, gold] = 1
        outputs.append(logits)
    found = task.predictions(table, part, {"logits": outputs})
    assert [p["prediction"] for p in found] == tags == [p["gold"] for p in found]
    notes = task.notes({"train": part}, tokenizer)
    assert any(note.startswith("1 sentence of train is longer") for note in notes)


def test_tags_without_entities_are_scored_by_words():
    task = TokenClassification(("NN", "VB"))
    assert task.selection == "accuracy" and not task.has_entities
    records = [{"gold": ["NN", "VB"], "prediction": ["NN", "NN"]}]
    assert task.score(records)["accuracy"] == 0.5
    assert "entities" not in task.to_public(records[0])
    named = TokenClassification(("B-X", "I-X", "O"))
    assert named.selection == "entity_f1"
    public = named.to_public({"id": 0, "gold": None, "prediction": ["O", "B-X", "I-X"]})
    assert public["entities"] == [{"entity": "X", "first": 1, "last": 2}]


def test_tags_in_iob1_are_read_as_iob2_and_windows_must_move_on(tmp_path, checkpoints):
    (tmp_path / "t.conll").write_text("Ada I-PER\nL. I-PER\nsings O\n\n" * 20)
    config = ClassifyConfig(train_file=tmp_path / "t.conll", model=str(checkpoints["bert"]))
    task, splits, record = TokenClassification.prepare(config)
    assert task.labels == ("B-PER", "I-PER", "O")
    assert task.gold(splits["test"])[0] == ["B-PER", "I-PER", "O"]
    assert any("written in IOB1" in note for note in record["notes"])
    assert record["train_counts"] == dict.fromkeys(task.labels, len(splits["train"]))
    for stride in (-1, 62):
        own = ClassifyConfig(
            train_file=tmp_path / "t.conll", model=str(checkpoints["bert"]), stride=stride
        )
        with pytest.raises(UserError, match=f"--stride {stride}: .*Choose 0 to 61"):
            TokenClassification.prepare(own)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["labels", "numbers", "tags"])
def test_a_report_and_a_comparison_know_each_kind(runs, checkpoints, tmp_path, kind):
    shutil.copytree(runs / kind, tmp_path / "run")
    made = reporting.report_directory(tmp_path / "run", tier="quick").record
    assert made["id"]["task"] == NAMES[kind] and made["id"]["metric"] == KINDS[kind][0][0]
    arms = made["downstream"]
    assert arms["majority"]["mean"] is not None and len(arms["scratch"]["scores"]) == 3
    assert (arms["zero_shot"]["missing"] is None) is (kind == "numbers")
    assert (tmp_path / "run/report.html").exists()
    run_in_process(
        *("compare", "--task", NAMES[kind], "--train-file", runs / f"{kind}.jsonl"),
        *("--model", checkpoints["bert"], "--mode", "head-only", "lora", "--seeds", 2),
        *("--epochs", 1, "--output-dir", tmp_path / "compared"),
    )
    record = json.loads((tmp_path / "compared/compare.json").read_text())
    assert record["task"] == NAMES[kind] and set(record["rows"]) == {"head-only", "lora"}
