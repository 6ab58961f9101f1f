"""Columns found by name or asked for; texts and labels checked with row numbers."""

from types import SimpleNamespace

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from nlptl.data.columns import (
    as_number,
    asked_columns,
    check_texts,
    check_words,
    column_flag,
    find_column,
    find_columns,
    is_words,
    only_numbers,
    rows_where,
    usual_names,
)
from nlptl.data.labels import check_labels
from nlptl.errors import ConfigError, DataError, UserError


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


def test_the_first_of_two_columns_that_differ_in_case_is_taken():
    splits = {"train": table(Text=["a"], text=["b"])}
    assert find_column(splits, "text", None) == "Text"
    assert find_column(splits, "text", "text") == "text"
    # The usual names are looked for in their own order, not in that of the columns.
    assert find_column({"train": table(title=["a"], review=["b"])}, "text", None) == "review"


def test_a_role_without_usual_names_is_called_as_it_is():
    assert usual_names("Mood") == ("mood",) and usual_names("context")[0] == "context"
    assert find_column({"train": table(MOOD=["a"])}, "mood", None) == "MOOD"
    with pytest.raises(
        DataError, match=r"for a mood \(mood\)\. .* Say which with --mood-column NAME"
    ):
        find_column({"train": table(x=["a"])}, "mood", None)


def test_flags_are_those_that_a_request_has():
    texts = SimpleNamespace(text_column=None, label_column=None, column=())
    assert column_flag("text") == column_flag("text", texts) == "--text-column "
    assert column_flag("first", texts) == "--column first="
    # A tagger's words and tags come by the flags of a classifier, unless it has its own.
    assert column_flag("tokens", texts) == "--text-column "
    assert column_flag("tags", texts) == "--label-column "
    assert (
        column_flag("tags", SimpleNamespace(tags_column=None, label_column=None))
        == "--tags-column "
    )
    assert column_flag("first_part") == "--first-part-column "


def test_columns_are_asked_for_by_flag_or_by_role():
    asked = SimpleNamespace(
        text_column=("body",), label_column=None, column=("first=a", "label=b=c")
    )
    found = asked_columns(asked, ["text", "label", "first"])
    assert found == {"text": "body", "label": "b=c", "first": "a"}
    assert asked_columns(SimpleNamespace(text_column="body"), ["text"]) == {"text": "body"}
    assert asked_columns(SimpleNamespace(text_column=()), ["text"]) == {"text": None}


def test_mistakes_in_what_is_asked_for_come_together():
    asked = SimpleNamespace(text_column=("a", "b"), label_column=None)
    asked.column = ("frist=a", "first=", "first", "label=y")
    with pytest.raises(UserError) as caught:
        asked_columns(asked, ["text", "label", "first"])
    message = str(caught.value)
    assert "4 things" in message and "--text-column a b: expected one column, found 2" in message
    assert (
        "--column frist=a: expected role=name, with one of the roles text, label, first" in message
    )
    assert "Did you mean 'first'" in message
    assert "--column first=: expected" in message and "--column first: expected" in message


def test_a_column_for_two_roles_is_refused_with_all_that_is_missing():
    splits = {"train": table(label=["a"], text=["b"])}
    assert find_columns(splits, {"text": None, "label": None}) == {"text": "text", "label": "label"}
    with pytest.raises(UserError) as caught:
        find_columns(splits, {"text": "label", "label": None, "first": None})
    message = str(caught.value)
    assert "2 things" in message and "usual name for a first" in message
    assert "The column 'label' stands for text, label at once" in message
    assert "--text-column NAME, --label-column NAME" in message


def test_rows_are_counted_from_zero_and_five_are_named():
    assert rows_where([1, 2, 3], lambda v: v > 3) == ""
    assert rows_where([1, 2, 3], lambda v: v > 2) == "1 of 3 (row 2)"
    assert rows_where([1, 2, 3], lambda v: v > 1) == "2 of 3 (rows 1, 2)"
    assert rows_where(range(20), lambda v: v > 9).startswith("10 of 20 (rows 10, 11, 12, 13, 14")
    assert "15" not in rows_where(range(20), lambda v: v > 9)


def test_texts_that_are_numbers_are_no_texts():
    with pytest.raises(
        ConfigError, match="The train split's column 'text' holds numbers and no text"
    ):
        check_texts({"train": table(text=["1", " 2.5e3 ", "-.5"])}, "text")
    check_texts({"train": table(text=["1", "2", "three"])}, "text")
    assert only_numbers(table(x=[1, 2.5]), "x") and not only_numbers(table(x=["1", None]), "x")


def test_every_split_is_looked_through_and_selected_rows_are_counted_as_they_are():
    texts = table(text=["a", "", "b", " "])
    splits = {"train": texts.select([0, 2]), "validation": texts.select([3, 0]), "test": texts}
    with pytest.raises(UserError) as caught:
        check_texts(splits, "text", "--context-column ")
    message = str(caught.value)
    assert "2 things" in message and "The train split" not in message
    assert "The validation split's column 'text' holds empty texts: 1 of 2 (row 0)" in message
    assert "The test split's column 'text' holds empty texts: 2 of 4 (rows 1, 3)" in message
    check_texts({"train": splits["train"]}, "text")
    with pytest.raises(ConfigError, match="choose another column with --context-column NAME"):
        check_texts({"train": table(text=[["a"]])}, "text", "--context-column ")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *(
            (7, 7.0),
            (-2.5, -2.5),
            (" 3. ", 3.0),
            ("+.5E-1", 0.05),
            (10**400, None),
            ("1e999", None),
        ),
        *(
            (True, None),
            ("1_000", None),
            ("0x10", None),
            ("\u0663", None),
            ("inf", None),
            ("", None),
        ),
        *((None, None), ([1], None), (float("nan"), None), (float("inf"), None), (b"1", None)),
    ],
)
def test_numbers_are_those_that_a_table_writes(value, number):
    assert as_number(value) == number


def test_lists_of_words_are_checked_with_their_rows():
    words = table(tokens=[["a"], ["b", "c d"], [], ["e"]])
    check_words({"train": words.select([0, 3])}, "tokens", "--text-column ")
    with pytest.raises(UserError) as caught:
        check_words({"train": words, "test": words.select([1])}, "tokens", "--text-column ")
    message = str(caught.value)
    assert (
        "The train split's column 'tokens' holds values that are not lists of words: 2 of 4"
        in message
    )
    assert "(rows 1, 2)" in message and "The test split" in message and "1 of 1 (row 0)" in message
    assert "choose another column with --text-column NAME" in message


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
