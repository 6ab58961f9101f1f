"""Floors against independent implementations, and by hand."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from tiny import sentences

from nlptl.tasks.classification import TextClassification
from nlptl.tasks.question_answering import QuestionAnswering
from nlptl.train import bag_of_words as words
from nlptl.train.floors import floors

OWN = Path(__file__).parent.parent / "tasks" / "own"


def own(name, title):
    spec = importlib.util.spec_from_file_location(f"floors_{name}", OWN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, title)


def split(make, count, seed):
    return Dataset.from_list([make(text, i) for i, text in enumerate(sentences(count, seed))])


def splits(make):
    return {
        n: split(make, c, s)
        for n, c, s in (("train", 120, 1), ("validation", 40, 2), ("test", 60, 3))
    }


def mood(text, number):
    return {"text": text, "label": "up" if "good" in text or "great" in text else "down"}


def test_a_bag_of_words_is_a_logistic_regression_with_the_penalty_that_validation_chooses():
    """The independent fit has another solver (L-BFGS), which does not penalise its intercept."""
    data, best = splits(mood), (0.0, [])
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    vectorizer.fit(data["train"]["text"][:])
    seen = {name: vectorizer.transform(table["text"][:]) for name, table in data.items()}
    gold = {name: np.asarray(table["label"][:]) for name, table in data.items()}
    for strength in (0.1, 1, 10, 100):
        model = LogisticRegression(C=strength, max_iter=1000).fit(seen["train"], gold["train"])
        score = model.score(seen["validation"], gold["validation"])
        if score > best[0]:
            best = score, model.predict(seen["test"])
    task = TextClassification(("down", "up"))
    guess = words.bag_of_words(task, data)
    assert np.mean(np.asarray(guess) == best[1]) > 0.95
    found = floors(task, data)
    assert found["bag_of_words"]["accuracy"] == pytest.approx(np.mean(gold["test"] == guess))
    usual = max(["down", "up"], key=data["train"]["label"][:].count)
    assert found["majority"]["accuracy"] == pytest.approx(np.mean(gold["test"] == usual))
    assert found["majority"]["matthews"] == 0 and found["missing"] == {}
    assert 0 < found["bag_of_words"]["seconds"] < 60


def test_of_several_classes_the_surest_wins():
    def kind(text, number):
        name = ("film", "book", "kettle")[number % 3]
        return {"text": f"{name} {text.replace(name, '')}", "label": name}

    data = splits(kind)
    guess = words.bag_of_words(TextClassification(("book", "film", "kettle", "never")), data)
    right = np.mean(np.asarray(guess) == data["test"]["label"][:])
    assert right > 0.5 and set(guess) == {"book", "film", "kettle"}


def test_numbers_labels_and_tags_have_floors_too():
    def number(text, i):
        return {"first": text, "second": text if i % 2 else "kettle phone", "score": 5.0 * (i % 2)}

    similar, data = own("similarity", "Similarity")(), splits(number)
    found = floors(similar, data)
    guess = words.bag_of_words(similar, data)
    rank = spearmanr(guess, data["test"]["score"][:]).statistic
    assert found["bag_of_words"]["spearman"] == pytest.approx(rank) and rank > 0.8
    assert found["majority"]["spearman"] == 0

    def topics(text, i):
        said = [word for word in ("film", "book") if word in text.split()]
        return {"text": text, "topics": said}

    found = floors(own("topics", "Topics")(("book", "film", "never")), splits(topics))
    assert found["bag_of_words"]["micro_f1"] > 0.7 > 0.4 > found["majority"]["micro_f1"]


def test_each_word_gets_the_tag_that_it_most_often_has():
    tagged = words.word_by_word(
        [["Ada", "ran"], ["Ada", "Ada"]], [["P", "O"], ["O", "P"]], [["ran", "Ada", "new"]]
    )
    assert tagged == [
        ["O", "P", "O"]
    ]  # a new word: O and P are equally frequent, the first by name

    def tags(text, i):
        tokens = text.split()
        return {
            "tokens": tokens,
            "tags": ["B-THING" if w in ("film", "book") else "O" for w in tokens],
        }

    found = floors(own("tags", "Tags")(("B-THING", "O")), splits(tags))
    assert found["bag_of_words"]["entity_f1"] == 1 and found["majority"]["entity_f1"] == 0


def test_a_floor_that_there_is_not_is_given_with_its_reason():
    table = {
        "id": ["q"],
        "question": ["who?"],
        "context": ["Ada ran."],
        "answer_texts": [["Ada"]],
        "answer_starts": [[0]],
    }
    each = dict.fromkeys(("train", "validation", "test"), Dataset.from_dict(table))
    found = floors(QuestionAnswering(), each)
    assert found["majority"]["f1"] == 0 and "bag_of_words" not in found
    assert "no linear model of words" in found["missing"]["bag_of_words"]
    blank = {n: Dataset.from_dict({"text": ["! ?"] * 4, "label": ["up", "down"] * 2}) for n in each}
    assert (
        "empty vocabulary"
        in floors(TextClassification(("down", "up")), blank)["missing"]["bag_of_words"]
    )


def test_many_texts_are_fitted_with_the_penalty_that_a_part_chooses(monkeypatch):
    data = splits(mood)
    monkeypatch.setattr(words, "CHOOSING", 30)
    fitted, real = [], words._answers

    def answers(kind, features, *rest):
        fitted.append(features.shape[0])
        return real(kind, features, *rest)

    monkeypatch.setattr(words, "_answers", answers)
    found = words.bag_of_words(TextClassification(("down", "up")), data)
    assert fitted == [30] * 4 + [120] and len(found) == 60


def test_the_runs_of_several_seeds_compute_the_floors_once(monkeypatch):
    data = splits(mood)
    task = TextClassification(("down", "up"))
    first = floors(task, data)
    monkeypatch.setattr("nlptl.train.floors.bag_of_words", None)
    assert floors(task, data) is first
