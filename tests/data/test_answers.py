"""Answers and truth values in the writings that files, tables and spreadsheets have."""

import numpy as np
import pytest

from nlptl.data.answers import answers_in_cell, answers_of, truth_of

ADA = (["Ada"], [3])


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "Ada", "answer_start": 3}],
        {"text": "Ada", "answer_start": 3},
        {"text": ["Ada"], "answer_start": [3]},
        [{"text": "Ada", "answer_start": 3.0, "answer_end": 6}],
        [{"text": "Ada", "answer_start": "3"}],
    ],
)
def test_forms_that_mean_one_thing_are_read(value):
    assert answers_of(value) == ADA == answers_in_cell(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"text": [], "answer_start": []},
        {"text": None, "answer_start": None},
        [{"text": "", "answer_start": -1}],
        {"text": [""], "answer_start": [0]},
    ],
)
def test_no_answer_is_written_in_many_ways(value):
    assert answers_of(value) == ([], []) == answers_in_cell(value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Ada", "is a text; expected a list of {text, answer_start}"),
        (["Ada"], "is a list with a text in it; expected"),
        (5, "is a number; expected"),
        ([{"text": "Ada"}], "has a text without answer_start; expected"),
        ([{"answer_start": 3}], "has an object with the fields answer_start; expected"),
        ([{}], "has an object with no fields; expected"),
        ([{"text": 5, "answer_start": 3}], "has a number as a text; expected"),
        (
            [{"text": "Ada", "answer_start": "x"}],
            "has 'x' as answer_start; expected a whole number",
        ),
        ([{"text": "Ada", "answer_start": True}], "has True as answer_start"),
        ([{"text": "Ada", "answer_start": 2.5}], "has 2.5 as answer_start"),
        ([{"text": "Ada", "answer_start": 10**30}], "as answer_start; expected a whole number"),
        ([{"text": "Ada", "answer_start": float("inf")}], "has inf as answer_start"),
        ({"text": ["Ada"], "answer_start": []}, "has 1 text and 0 as answer_start"),
        ({"text": ["Ada"], "answer_start": 3}, "has 1 text and a number as answer_start"),
        ({"text": ["Ada", ""], "answer_start": [3, 4]}, "has an empty text beside others"),
        ([{"text": "\ud83d", "answer_start": 0}], "has a text with half of a surrogate pair"),
    ],
)
def test_other_forms_are_named_in_words(value, found):
    with pytest.raises(ValueError, match="^.*" + found.split("{")[0]):
        answers_of(value)


@pytest.mark.parametrize(
    "cell",
    [
        '{"text": ["Ada"], "answer_start": [3]}',
        "{'text': ['Ada'], 'answer_start': [3]}",
        "{'text': array(['Ada'], dtype=object), 'answer_start': array([3], dtype=int32)}",
        "[{'text': 'Ada', 'answer_start': 3}]",
        " {'answer_start': [3], 'text': ['Ada']}\n",
    ],
)
def test_a_cell_holds_json_or_a_literal(cell):
    assert answers_in_cell(cell) == ADA


def test_what_pandas_writes_of_an_array_is_read():
    cell = str({"text": np.array(["Ada", "Bo"], dtype=object), "answer_start": np.array([3, -1])})
    assert answers_in_cell(cell) == (["Ada", "Bo"], [3, -1])


def test_a_printed_array_is_read_item_by_item():
    for texts in (["Ada", "Bob"], ["Ada's", 'a "b"']):
        assert answers_in_cell(str(np.array(texts, dtype=object))) == (texts, [None, None])
    assert answers_in_cell("['Ada' 'Bo']", "[3 9]", beside=True) == (["Ada", "Bo"], [3, 9])
    assert answers_in_cell("['Ada' 'Bo', 'Cy']") == (["['Ada' 'Bo', 'Cy']"], [None])
    with pytest.raises(ValueError, match=r"numpy writes no more than the first and last items"):
        answers_in_cell(str(np.array(["Ada"] * 1001, dtype=object)))


def test_a_plain_text_in_a_cell_has_no_offset_or_one_beside_it():
    assert answers_in_cell("Ada") == (["Ada"], [None])
    assert answers_in_cell(["Ada", "Bo"]) == (["Ada", "Bo"], [None, None])
    assert answers_in_cell("[sic] Ada") == (["[sic] Ada"], [None])
    assert answers_in_cell(10**400) == ([str(10**400)], [None])
    assert answers_in_cell(1843) == answers_in_cell(1843.0) == (["1843"], [None])
    for start in (3, 3.0, "3", "[3]", [3]):
        assert answers_in_cell("Ada", start, beside=True) == ADA
    assert answers_in_cell("", "", beside=True) == answers_in_cell(float("nan")) == ([], [])
    assert answers_in_cell("Ada", "", beside=True) == (["Ada"], [None])
    with pytest.raises(ValueError, match="has 1 text and 2 offsets"):
        answers_in_cell("Ada", [3, 4], beside=True)
    with pytest.raises(ValueError, match="which is no whole object"):
        answers_in_cell("{'text': ['Ada'], 'answer_start': [3")


@pytest.mark.parametrize("cell", ["[1]", "{1, 2}", "['Ada' 'Bo']", '["Ada"]', "[1, 2]", '{"a": 1}'])
def test_what_stands_in_the_passage_is_a_text(cell):
    passage = f"Ada wrote it {cell}. Bo did not."
    assert answers_in_cell(cell, passage=passage) == ([cell], [None])
    assert answers_in_cell(cell, 13, beside=True, passage=passage) == ([cell], [13])
    assert answers_in_cell("[]", passage="a list [] of nothing") == ([], [])
    assert answers_in_cell("['Ada']", passage="Ada") == (["Ada"], [None])


def test_a_set_is_a_text_wherever_it_stands():
    assert answers_in_cell("{1, 2}") == (["{1, 2}"], [None])


def test_a_cell_is_never_run():
    for cell in (
        "{'text': [__import__('os').getcwd()], 'answer_start': [0]}",
        "[open('/etc/passwd').read()]",
        "{'text': array(exit()), 'answer_start': [0]}",
        "{[]: 1}",  # Python has no such object
    ):
        try:
            texts, _ = answers_in_cell(cell)
        except ValueError:
            continue
        assert texts == [cell]  # a plain text, which stands in no passage


@pytest.mark.parametrize("value", [True, 1, 1.0, "true", "True", "TRUE", " yes ", "1", "t"])
def test_true_is_written_in_many_ways(value):
    assert truth_of(value) is True


@pytest.mark.parametrize("value", [False, 0, 0.0, "false", "False", "no", "0", "F"])
def test_so_is_false(value):
    assert truth_of(value) is False


@pytest.mark.parametrize("value", ["", "maybe", "nan", float("nan"), 2, -1, [], {}, [True]])
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match="expected true or false"):
        truth_of(value)


def test_what_is_not_given_is_none():
    assert truth_of(None) is None and truth_of(" ", cell=True) is None
