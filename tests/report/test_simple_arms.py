"""The arms without a trained block, of tasks whose examples have no classes to separate."""

from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from nlptl.report.simple_arms import simple_arms
from nlptl.tasks.question_answering import QuestionAnswering
from nlptl.tasks.regression import Regression
from nlptl.tasks.token_classification import TokenClassification

WORDS = ["poor", "fair", "good", "great"]


def arms(task, splits):
    nothing: Any = None  # without classes no checkpoint is asked
    return simple_arms(
        task, splits, args=nothing, untouched=nothing, seeds=[0], accelerator=nothing
    )


def numbers(size, seed):
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 4, size)
    texts = [f"{WORDS[v]} {draw.choice(['film', 'book'])} here" for v in values]
    return Dataset.from_dict(
        {"text": texts, "label": [float(v) + draw.normal(0, 0.3) for v in values]}
    )


def test_numbers_have_the_row_of_a_ridge_regression_on_words():
    splits = {name: numbers(60, seed) for seed, name in enumerate(("train", "validation", "test"))}
    found = arms(Regression(mean=1.5, deviation=1.2), splits)
    bag = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(splits["train"]["text"])
    each = [
        Ridge(alpha=1 / c).fit(bag.transform(splits["train"]["text"]), splits["train"]["label"])
        for c in (0.1, 1.0, 10.0, 100.0)
    ]
    scores = [
        spearmanr(model.predict(bag.transform(splits["test"]["text"])), splits["test"]["label"])[0]
        for model in each
    ]
    mean = found["bow"]["arm"]["mean"]
    assert mean > 0.7 and any(mean == pytest.approx(score, abs=1e-6) for score in scores)
    assert found["bow"]["statistics"].shape == (60, 5)
    assert "no classes to separate" in found["probe"]["arm"]["missing"]


def test_tags_have_the_row_of_each_words_most_frequent_tag():
    rows = {
        "tokens": [["Ada", "sleeps"], ["Bob", "sleeps"]],
        "tags": [["B-PER", "O"], ["B-PER", "O"]],
    }
    test = {
        "tokens": [["Ada", "sings"], ["Ada", "Bob"]],
        "tags": [["B-PER", "O"], ["B-PER", "B-PER"]],
    }
    tables = {
        name: Dataset.from_dict({**rows, "label": rows["tags"]}) for name in ("train", "validation")
    }
    tables["test"] = Dataset.from_dict({**test, "label": test["tags"]})
    found = arms(TokenClassification(("B-PER", "O")), tables)
    assert found["bow"]["arm"]["mean"] == pytest.approx(
        6 / 7
    )  # "sings" gets B-PER: 3 right of 4 found


def test_questions_have_none_and_say_so():
    table = Dataset.from_dict(
        {
            "id": ["a"],
            "question": ["who?"],
            "context": ["Ada sings."],
            "answer_texts": [["Ada"]],
        }
    )
    found = arms(QuestionAnswering(), dict.fromkeys(("train", "validation", "test"), table))
    assert found["bow"]["arm"]["missing"].startswith("no linear model of words answers the task")
