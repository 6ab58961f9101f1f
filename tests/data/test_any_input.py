"""Whatever stands in a SQuAD file or in a table of questions: rows, or an error of our own, and short."""

import json
from itertools import pairwise

import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlptl.data.answers import answers_in_cell, answers_of, truth_of
from nlptl.data.squad import normalize, place, placed
from nlptl.data.squad_json import flatten, is_nested
from nlptl.errors import LONGEST, DataError, UserError

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)  # lone surrogates too
KEYS = st.sampled_from(
    ("data", "paragraphs", "qas", "context", "question", "id", "answers", "is_impossible")
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.sampled_from(("false", "True", "", "x" * 10**5, 10**400, -1))
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            KEYS | st.sampled_from(("text", "answer_start")) | ANY_TEXT, inner, max_size=4
        )
    ),
    max_leaves=12,
)
ANSWER = st.fixed_dictionaries(
    {"text": ANY_TEXT | st.just("Ada") | JSON, "answer_start": st.integers(-5, 50) | JSON}
)
ANSWERS = st.lists(ANSWER, max_size=3) | ANSWER | JSON
QUESTION = st.fixed_dictionaries(
    {"question": ANY_TEXT | st.just("Who?") | JSON},
    optional={"id": JSON, "answers": ANSWERS, "is_impossible": SCALARS, "qid": JSON},
)
PARAGRAPH = st.fixed_dictionaries(
    {"context": st.just("Adam met Ada.") | JSON, "qas": st.lists(QUESTION, max_size=3) | JSON}
)
ARTICLES = st.lists(
    st.fixed_dictionaries({"paragraphs": st.lists(PARAGRAPH, max_size=2) | JSON}), max_size=2
)
FILES = st.fixed_dictionaries({"data": ARTICLES}) | ARTICLES | PARAGRAPH | JSON
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
MANY = settings(FEW, max_examples=20_000)


def is_short(error, most, begins=("",)):
    """Check the message of an error, which holds no value as long as the input's."""
    assert str(error).startswith(begins) and len(str(error)) <= most


def is_sound(row):
    row["question"].encode()
    row["context"].encode()
    texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
    assert len(texts) == len(starts)
    assert all(text.strip() and text.encode() for text in texts)
    assert all(type(start) is int and abs(start) < 2**63 for start in starts)
    assert row["is_impossible"] in (None, True, False)
    assert row["id"] is None or row["id"].strip()


def read_any(whole):
    """Read what a file could hold; its rows are sound, or the error is ours."""
    if not is_nested(whole):
        return
    try:
        for row in flatten(whole, "--train-file t.json"):
            is_sound(row)
    except DataError as error:
        is_short(error, LONGEST + 3)


def answer_any(value):
    """Read any answers; they are sound, or the message goes on after "answers of question q0"."""
    for read in (answers_of, answers_in_cell):
        try:
            texts, starts = read(value)
        except ValueError as error:
            is_short(error, 600, ("is ", "has "))
            continue
        assert len(texts) == len(starts)
        assert all(isinstance(text, str) and text.strip() for text in texts)


def mark_any(value):
    try:
        assert truth_of(value) in (None, True, False)
    except ValueError as error:
        is_short(error, 120)


def form_any(rows):
    """Form any table of questions; it has the rows of the table, or the error is ours."""
    rows = [{"question": "q", "context": "Adam met Ada.", **row} for row in rows]
    try:
        table = Dataset.from_list(rows)
    except Exception:  # arrow has no such column, so no file can hold it
        return
    roles = {"question": "question", "context": "context", "answers": "answers"}
    try:
        made = normalize({"train": table}, roles)["train"]
    except UserError as error:
        is_short(error, 2 * LONGEST)
        return
    assert len(made) == len(rows) == len(set(made["id"][:]))
    for texts, starts in zip(made["answer_texts"][:], made["answer_starts"][:], strict=True):
        for text, start in zip(texts, starts, strict=True):
            assert start == -1 or "Adam met Ada."[start:].startswith(text)


ROWS = st.lists(
    st.fixed_dictionaries({"answers": ANSWERS}, optional={"id": SCALARS, "is_impossible": SCALARS}),
    min_size=1,
    max_size=3,
)
CASES = {
    "files": (read_any, FILES),
    "answers": (answer_any, ANSWERS),
    "cells": (answer_any, ANSWERS.map(repr) | ANSWERS.map(json.dumps) | ANY_TEXT),
    "marks": (mark_any, JSON),
    "tables": (form_any, ROWS),
}


@pytest.mark.parametrize("name", CASES)
def test_any_input_is_read_or_refused(name):
    check, inputs = CASES[name]
    FEW(given(inputs)(lambda value: check(value)))()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name != "tables"])
def test_twenty_thousand_inputs_are_read_or_refused(name):
    check, inputs = CASES[name]
    MANY(given(inputs)(lambda value: check(value)))()


@FEW
@given(st.text("ab ", max_size=30), st.text("ab", min_size=1, max_size=3), st.integers(-3, 35))
def test_an_answer_is_placed_where_it_stands(passage, text, start):
    every = [i for i in range(len(passage)) if passage.startswith(text, i)]
    at = place(passage, text, start)
    assert at == min(every, key=lambda i: (abs(i - start), i), default=-1)
    at = placed(passage, text, None)
    words = [begin for begin, end in pairwise_words(passage) if passage[begin:end] == text]
    assert at == (words or every or [-1])[0]


def pairwise_words(passage):
    """Yield begin and end of each word."""
    edges = [-1, *(i for i, c in enumerate(passage) if c == " "), len(passage)]
    return [(a + 1, b) for a, b in pairwise(edges)]
