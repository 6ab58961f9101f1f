"""Several labels of a row, however a file writes them."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Json, List

from nlptl.data.label_lists import (
    check_label_lists,
    with_indicators,
    with_label_columns,
    with_lists,
)
from nlptl.errors import DataError, UserError


def lists(values, separator=None):
    return with_lists(Dataset.from_dict({"x": values, "y": values}), "x", separator)["x"][:]


def test_a_table_may_have_no_other_column():
    alone = Dataset.from_dict({"x": ["['a']", "['b']"]})
    assert with_lists(alone, "x").to_dict() == {"x": [["a"], ["b"]]}


def test_texts_that_write_lists_become_lists():
    assert lists(["['a', 'b']", '["c"]', "[]", "", None]) == [["a", "b"], ["c"], [], [], []]
    assert lists(["[1, 2]", "[]"]) == [["1", "2"], []]
    assert lists(["a; b", "", "c;"], ";") == [["a", "b"], [], ["c"]]
    assert lists([["a"], []]) == [["a"], []]
    assert lists(["a", "['b']"]) == ["a", "['b']"]  # told by the check
    assert lists(["__import__('os')", "[x]"]) == ["__import__('os')", "[x]"]


def test_lists_that_numpy_prints_are_read_item_by_item():
    assert lists(["['a' 'b']", "[]", "['c']"]) == [["a", "b"], [], ["c"]]
    printed = [str(np.array(row, dtype=object)) for row in (["it's", 'a "b"', ""], ["x"] * 40)]
    assert "\n" in printed[1]
    assert lists(printed) == [["it's", 'a "b"', ""], ["x"] * 40]
    assert lists(["[1 0 0]", "[ 1 -2]", "[ True False]"]) == [
        *(["1", "0", "0"], ["1", "-2"], ["True", "False"])
    ]
    assert lists(["[np.int64(1), np.int64(0)]", "[np.str_('a') 'b']"]) == [["1", "0"], ["a", "b"]]
    for joined in ("['a' 'b', 'c']", "['a''b']", "[O B-PER]", "['a' b()]"):
        assert lists([joined, "['d']"]) == [joined, "['d']"]  # a list in no writing


def test_what_is_no_label_in_a_written_list_is_named():
    for odd in ("['a' None]", "[0.5 1. ]", "[nan]"):
        table = with_lists(Dataset.from_dict({"x": ["['a']", odd]}), "x")
        with pytest.raises(UserError, match=r"not lists of labels: 1 of 2 \(row 1\)"):
            check_label_lists({"train": table}, "x")


def test_a_list_whose_middle_numpy_left_out_is_refused():
    long = str(np.array(["x"] * 1001, dtype=object))
    assert "..." in long
    for cell in (long, "['a', ..., 'b']"):
        with pytest.raises(
            DataError, match=r"'x' holds lists without their middle: 1 of 2 \(row 1"
        ):
            lists(["['a']", cell])


def test_columns_of_zeros_and_ones_become_one_list():
    rows = {"text": ["a", "b", "c"], "rude": [1, 0, 1], "loud": ["yes", "", "0"], "n": [1, 2, 3]}
    made = with_label_columns({"train": Dataset.from_dict(rows)}, ("rude", "loud"))["train"]
    assert made.column_names == ["text", "rude", "n"]
    assert made["rude"][:] == [[0, 1], [], [0]]
    assert check_label_lists({"train": made}, "rude")[0] == ["rude", "loud"]
    train, test = Dataset.from_dict(rows), Dataset.from_dict({"text": ["a"]})
    assert with_label_columns({"train": train, "test": test}, ("rude", "loud"))["test"] is test


def test_columns_with_something_else_are_named():
    train = Dataset.from_dict({"text": ["a", "b"], "rude": [1, 2], "loud": ["yes", "maybe"]})
    with pytest.raises(UserError) as caught:
        with_label_columns({"train": train}, ("rude", "loud"))
    for column in ("rude", "loud"):
        assert f"'{column}' holds something else than 0 and 1: 1 of 2 (row 1)" in str(caught.value)
    with pytest.raises(UserError, match="Did you mean 'loud'"):
        with_label_columns({"train": train}, ("rude", "lout"))
    fine = Dataset.from_dict({"text": ["a"], "rude": [1], "loud": [0]})
    with pytest.raises(UserError, match="The test split has no column loud; training has it"):
        with_label_columns({"train": fine, "test": fine.remove_columns("loud")}, ("rude", "loud"))


def indicators(train, **more):
    tables = {k: Dataset.from_dict({"x": v}) for k, v in {"train": train, **more}.items()}
    return with_indicators(tables, "x")


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 0, 1], [0, 0, 0], [0, 1, 0]],
        [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        [[True, False, True], [False, False, False], [False, True, False]],
        [["1", "0", "1"], ["0.0", "0.0", "0.0"], ["False", "True", "False"]],  # from a csv
    ],
)
def test_zeros_and_ones_say_which_labels_a_row_has(rows):
    made, (note,) = indicators(rows, test=[[0, 0, 1]], other=[[], []])
    assert check_label_lists(made, "x") == (["0", "1", "2"], ["other"])
    assert made["train"]["x"][:] == [[0, 2], [], [1]] and made["test"]["x"][:] == [[2]]
    assert note.startswith("The column 'x' has 3 zeros and ones in each row, so each place is a la")


def test_two_places_are_told_from_the_names_0_and_1():
    assert indicators([[0, 1], [1, 0]])[0]["train"]["x"][:] == [[1], [0]]
    assert indicators([[1, 1], [1, 0]])[0]["train"]["x"][:] == [[0, 1], [0]]
    for names in ([[0, 1], [1], []], [[0], [1]], [[0, 1], [0, 1]], [[1, 2, 1]], [["a", "a"]]):
        made, notes = indicators(names)
        assert made["train"]["x"][:] == names and notes == []
    named = Features({"x": List(ClassLabel(names=["no", "yes"]))})
    table = Dataset.from_dict({"x": [[0, 0], [1, 0]]}, features=named)
    assert with_indicators({"train": table}, "x") == ({"train": table}, [])


def test_rows_with_another_number_of_zeros_and_ones_are_named():
    with pytest.raises(UserError) as caught:
        indicators([[1, 0, 1], [0, 0, 1], [0, 1], [], None], test=[[0, 0, 2], [0, 0, 1]])
    assert (
        "train split's column 'x' is read as zeros and ones, one for each of 3 labels, and has"
        in (message := str(caught.value))
    )
    assert "3 of 5 (rows 2, 3, 4). Expected 3 of" in message and "1 of 2 (row 0)" in message
    mixed = Dataset.from_dict({"x": [[1, 0, 1], 1, "a"]}, features=Features({"x": Json()}))
    with pytest.raises(UserError, match=r"2 of 3 \(rows 1, 2\)"):
        with_indicators({"train": mixed}, "x")


@pytest.mark.parametrize("ignored", [-100, -100.0, "-100"])
def test_the_number_of_an_ignored_tag_is_no_tag(ignored):
    one = type(ignored)(1)
    rows = {"words": [["a", "b"], ["c", "d"]], "tags": [[one, one], [ignored, one]]}
    with pytest.raises(UserError, match=r"holds -100, which .* has no tag: 1 of 2 \(row 1\)"):
        check_label_lists({"train": Dataset.from_dict(rows)}, "tags", words="words")
    assert "-100" in check_label_lists({"train": Dataset.from_dict(rows)}, "tags")[0]  # no tags


def test_a_training_set_without_any_label_is_refused():
    with pytest.raises(DataError, match="No row of the training set has a label in the column 'x'"):
        check_label_lists({"train": Dataset.from_dict({"x": [[], []]})}, "x")


def test_one_tag_is_refused_and_one_label_of_several_is_not():
    rows = {"tokens": [["a", "b"], ["c"]], "x": [["O", "O"], ["O"]]}
    train = Dataset.from_dict(rows)
    with pytest.raises(UserError, match="has one tag only, 'O', in the column 'x'.*two or more"):
        check_label_lists({"train": train}, "x", "tokens")
    assert check_label_lists({"train": train}, "x")[0] == ["O"]
