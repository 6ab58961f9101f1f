"""Predictors get examples of any form: each is predicted, or refused in words before the first one is."""

import json

import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from nlptl.data.squad import read_questions
from nlptl.errors import DataError, ModelError
from nlptl.runs.predictor import load_predictor

HALF = "a \ud83d film"  # half of a surrogate pair, as json of \ud83d gives it


def saved(checkpoint, auto_class, path, **head):
    torch.manual_seed(0)
    auto_class.from_pretrained(checkpoint, **head).save_pretrained(path)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def classifier(checkpoints, tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier")
    names = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    return saved(checkpoints["bert"], AutoModelForSequenceClassification, path, **names)


@pytest.fixture(scope="module")
def label(classifier):
    return load_predictor(classifier)


@pytest.fixture(scope="module")
def answer(checkpoints, tmp_path_factory):
    path = tmp_path_factory.mktemp("answers")
    return load_predictor(saved(checkpoints["roberta"], AutoModelForQuestionAnswering, path))


@pytest.mark.parametrize(
    "odd",
    [5, None, b"abc", 2.5, True, "", " ", {}, {"text": None}, ("a", "b"), object(), {"text": 5}],
)
def test_a_text_of_another_type_is_refused(label, odd):
    for given_ in (odd, [odd], ["a film", odd], iter([odd])):
        with pytest.raises(DataError, match=r"Example \d is .*; expected text, as strings with"):
            label(given_)


def test_half_of_a_surrogate_pair_is_named(label, answer):
    with pytest.raises(
        DataError, match="Example 0 is .*which UTF-8 can write: it has half of a surr"
    ):
        label(HALF)
    for pair in ((HALF, "a passage"), ("who?", HALF)):
        with pytest.raises(DataError, match="Example 0 is .* has half of a surrogate pair"):
            answer(*pair)
        with pytest.raises(DataError, match="has half of a surrogate pair"):
            answer([{"question": pair[0], "context": pair[1]}])


def test_the_wrong_fields_of_a_question_are_refused(answer):
    for odd in (
        ("who?",),
        ("who?", None),
        ("who?", 5),
        ("a", "b", "c"),
        {"question": "q"},
        b"q",
        5,
    ):
        with pytest.raises(
            DataError, match="Example 0 is .*; expected question and context, as strings"
        ):
            answer([odd])
    with pytest.raises(DataError, match="expected question and context"):
        answer("who?", b"passage")


def test_all_odd_examples_are_counted_before_the_first_is_predicted(label, monkeypatch):
    monkeypatch.setattr(type(label), "_predict", lambda *_: pytest.fail("predicted"))
    texts = ["a film"] * 3000 + [None, "", "x", HALF]
    for given_ in (texts, Dataset.from_dict({"text": ["a film"] * 3000 + [None, ""]})):
        with pytest.raises(
            DataError, match=r"^\d of 3,00\d examples cannot be predicted. Example 3000"
        ):
            label(given_)


def test_what_is_no_list_of_examples_is_refused(label):
    import pandas

    with pytest.raises(DataError, match=r"found a data frame. Give frame.to_dict\('records'\)"):
        label(pandas.DataFrame({"text": ["a film"]}))
    for odd in ("a film", {"text": "a film"}, b"a film"):
        with pytest.raises(DataError, match="Expected several examples, found a"):
            next(label.stream(odd))


def test_long_and_deep_examples_are_shown_shortened(label):
    for odd in (
        {"no": "x" * 10**6},
        ("x" * 10**6, "y"),
        list(range(10**5)),
        {"a": [[["z"] * 10**4]]},
    ):
        with pytest.raises(DataError) as caught:
            label([odd])
        assert len(str(caught.value)) < 400


def test_metadata_of_any_type_goes_through(label):
    import datetime

    rows = [
        {"text": "a film", "id": datetime.datetime(2020, 1, 1), "meta": {"a": [1]}, "n": None}
    ] * 2
    for given_ in (rows, Dataset.from_list(rows)):
        assert [sorted(found) for found in label(given_)] == [["prediction", "score", "scores"]] * 2


EXAMPLES = st.one_of(
    st.none(),
    st.integers(),
    st.binary(max_size=4),
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.tuples(st.text(max_size=5)),
    st.lists(st.text(max_size=5), max_size=2),
    st.fixed_dictionaries({"text": st.text(max_size=20) | st.none() | st.floats()}),
)


@given(st.lists(EXAMPLES, max_size=4))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_examples_are_predicted_or_refused(label, examples):
    try:
        found = label(examples)
    except DataError as error:
        assert "expected text" in str(error)  # noqa: PT017
        return
    assert len(found) == len(examples)
    for record in found:
        assert record["prediction"] in ("bad", "good")
        assert sum(record["scores"].values()) == pytest.approx(1)


def test_questions_without_answers_are_answered(answer, tmp_path):
    path = tmp_path / "new.json"
    qas = [{"id": "n", "question": "Who?"}, {"question": "When?"}]
    path.write_text(
        json.dumps({"data": [{"paragraphs": [{"context": "Ada in 1843.", "qas": qas}]}]})
    )
    table = read_questions(path, "--file", answers=False)
    assert len(answer(table.select_columns(["question", "context"]))) == 2


def test_a_model_that_gives_no_single_class_is_refused_with_a_task_too(checkpoints, tmp_path):
    for number, (head, what) in enumerate(
        (
            ({"num_labels": 1}, "a number for a text"),
            ({"num_labels": 3, "problem_type": "regression"}, "3 numbers for a text"),
            (
                {"num_labels": 3, "problem_type": "multi_label_classification"},
                "any number of its 3 labels for a text",
            ),
        )
    ):
        path = saved(
            checkpoints["bert"], AutoModelForSequenceClassification, tmp_path / str(number), **head
        )
        with pytest.raises(ModelError, match="is for one class a text"):
            load_predictor(path)
        with pytest.raises(ModelError, match=f"gives {what} .* is for one class a text"):
            load_predictor(path, task="text-classification")


def test_a_record_that_does_not_go_with_the_model_is_refused(classifier):
    record = classifier / "result.json"
    for content, found in (
        ('{"task": "text-cl', "result.json is damaged"),
        ("[1]", "result.json is damaged .no json object."),
        (
            json.dumps(
                {"task": "text-classification", "task_settings": {"labels": ["a", "b", "c"]}}
            ),
            "the run has 3 labels .a, b, c., and the model beside it gives 2 numbers",
        ),
        (
            json.dumps({"task": "text-classification", "task_settings": [1]}),
            "the run's settings do not fit",
        ),
    ):
        record.write_text(content)
        try:
            with pytest.raises(ModelError, match=found):
                load_predictor(classifier)
        finally:
            record.unlink()


def test_a_run_that_is_not_there_is_looked_for_among_its_neighbours(tmp_path):
    (tmp_path / "tickets").mkdir()
    with pytest.raises(
        ModelError, match=r"no such run or checkpoint. Did you mean 'tickets'\?"
    ) as caught:
        load_predictor(tmp_path / "tickest")
    assert str(caught.value).endswith(f"{tmp_path} holds: tickets.")


def test_the_folder_of_a_study_names_the_runs_in_it(tmp_path):
    for name in ("tasks/a", "tasks/b"):
        (tmp_path / "study" / name).mkdir(parents=True)
        (tmp_path / "study" / name / "result.json").write_text("{}")
    with pytest.raises(
        ModelError, match=r"no run and no checkpoint, but holds the runs .*tasks/a, .*/b"
    ):
        load_predictor(tmp_path / "study")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="is not a model directory"):
        load_predictor(tmp_path / "empty")
