"""Columns found by name or asked for; texts and labels checked with row numbers."""

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from nlptl.data.columns import check_texts, find_column, is_words
from nlptl.data.labels import check_labels
from nlptl.errors import ConfigError, DataError


def table(**columns):
    return Dataset.from_dict(columns)


def test_usual_names_are_found_whatever_their_case():
    splits = {"train": table(ID=[1], Review=["a"], Sentiment=["b"])}
    assert find_column(splits, "text", None) == "Review"
    assert find_column(splits, "label", None) == "Sentiment"


def test_unusual_and_misspelt_columns_are_refused_with_those_that_exist():
    splits = {"train": table(opinion=["a"], stars=[1])}
    with pytest.raises(DataError, match=r"It has: opinion, stars\. Say which with --text-column"):
        find_column(splits, "text", None)
    with pytest.raises(DataError, match="Did you mean 'opinion'"):
        find_column(splits, "text", "opinoin")
    with pytest.raises(DataError, match="the test split has no such column"):
        find_column({**splits, "test": table(text=["a"])}, "text", "opinion")


def test_empty_and_non_string_texts_are_counted_with_their_rows():
    with pytest.raises(ConfigError, match=r"empty texts: 2 of 4 \(rows 1, 3\)"):
        check_texts({"train": table(text=["a", " ", "b", ""])}, "text")
    with pytest.raises(ConfigError, match=r"not text: 3 of 3 \(rows 0, 1, 2\), of type int"):
        check_texts({"train": table(text=[1, 2, 3])}, "text")
    with pytest.raises(ConfigError, match=r"not text: 1 of 2 \(row 1\), of type NoneType"):
        check_texts({"train": table(text=["a", None])}, "text")


def classes(values, **more):
    return check_labels({"train": table(label=values), **more}, "label")


def test_labels_of_any_kind_become_names_in_order():
    assert classes(["pos", "neg", "pos"]) == (["neg", "pos"], [])
    assert classes([10, 2, 10])[0] == ["2", "10"]
    assert classes([1.0, 0.0])[0] == ["0", "1"]
    assert classes([True, False])[0] == ["False", "True"]


def test_named_integer_labels_keep_their_names_and_a_hidden_test_set_is_left_out():
    features = Features({"label": ClassLabel(names=["bad", "good"])})
    train = Dataset.from_dict({"label": [1, 0]}, features=features)
    hidden = Dataset.from_dict({"label": [-1, -1]}, features=Features({"label": Value("int64")}))
    assert check_labels({"train": train, "test": hidden}, "label") == (["bad", "good"], ["test"])


def test_label_mistakes_name_their_rows():
    with pytest.raises(ConfigError, match=r"1 of 3 \(row 2\)"):
        classes(["a", "b", None])
    with pytest.raises(ConfigError, match=r"not whole: 1 of 2 \(row 0\)"):
        classes([0.5, 1.0])
    with pytest.raises(ConfigError, match="one class only, 'a'"):
        classes(["a", "a"])
    with pytest.raises(ConfigError, match=r"never has: c\. Training has: a, b"):
        classes(["a", "b"], validation=table(label=["a", "c"]))
    with pytest.raises(ConfigError, match="1001 different values.*right --label-column"):
        classes([str(i) for i in range(1001)])


@pytest.mark.parametrize(
    ("value", "are"),
    [
        (["two", "words"], True),
        (["one"], True),
        ([], False),
        (["two words"], False),
        (["a", ""], False),
        (["a", 1], False),
        ("word", False),
    ],
)
def test_lists_of_words_are_told_from_lists_of_texts(value, are):
    assert is_words(value) == are
