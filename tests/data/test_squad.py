"""SQuAD files and flat columns give one table; misplaced answers are counted, shown and mended."""

import json

import pytest
from datasets import Dataset

from nlptl.data.columns import find_column
from nlptl.data.squad import check_trainable, misplaced, normalize, place, read_questions
from nlptl.errors import DataError, UserError

PASSAGE = "Ada wrote notes in 1843. Notes by Ada were long."


def squad(qas):
    return {
        "version": "v2.0",
        "data": [{"title": "t", "paragraphs": [{"context": PASSAGE, "qas": qas}]}],
    }


QAS = [
    {"id": "a", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]},
    {
        "id": "b",
        "question": "Which year?",
        "answers": [{"text": "1843", "answer_start": 19}, {"text": "in 1843", "answer_start": 16}],
    },
    {
        "id": "c",
        "question": "Whose cat?",
        "answers": [],
        "plausible_answers": [{"text": "Ada", "answer_start": 0}],
        "is_impossible": True,
    },
]
COLUMNS = {"question": "question", "context": "context", "answers": "answers"}


def test_a_published_file_and_the_flat_forms_are_the_same(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(squad(QAS)))
    table = read_questions(path, "--train-file")
    table.to_json(tmp_path / "flat.jsonl")
    table.to_parquet(tmp_path / "flat.parquet")
    files = [path, tmp_path / "flat.jsonl", tmp_path / "flat.parquet"]
    made = [
        normalize({"train": read_questions(f, "--train-file")}, COLUMNS)["train"] for f in files
    ]
    assert made[0].to_dict() == made[1].to_dict() == made[2].to_dict()
    assert made[0]["answer_texts"][:] == [["Ada"], ["1843", "in 1843"], []]
    assert made[0]["answer_starts"][:] == [[0], [19, 16], []]
    assert find_column({"train": table}, "answers", None) == "answers"


def test_answers_as_a_list_of_records_and_without_ids():
    rows = {
        "question": ["q"],
        "context": [PASSAGE],
        "answers": [[{"text": "Ada", "answer_start": 0}]],
    }
    made = normalize({"train": Dataset.from_dict(rows)}, COLUMNS)["train"]
    assert made["id"][:] == ["0"] and made["answer_texts"][:] == [["Ada"]]


def test_answers_are_looked_for_near_their_offset():
    assert place(PASSAGE, "Ada", 0) == 0
    assert place(PASSAGE, "Ada", 30) == PASSAGE.rindex("Ada")
    assert place(PASSAGE, "Ada", -5) == 0
    assert place(PASSAGE, "Bob", 3) == -1


def test_misplaced_answers_are_counted_shown_and_explained():
    answers = [{"text": ["Ada"], "answer_start": [start]} for start in (0, 2, 9, 33)] + [
        {"text": ["Bob"], "answer_start": [0]}
    ]
    rows = {
        "id": list("abcde"),
        "question": ["q"] * 5,
        "context": [PASSAGE] * 5,
        "answers": answers,
    }
    table = normalize({"train": Dataset.from_dict(rows)}, COLUMNS)["train"]
    note = misplaced(table, "train")
    assert note.startswith("train: 4 answers are not at their offset (b: 'Ada' at 2 stands at 0; ")
    assert "; …)" in note
    assert "3 were moved" in note and "1 are nowhere in their passage" in note
    assert misplaced(table.select([0]), "train") is None


def test_every_mistake_is_named_at_once(tmp_path):
    rows = {
        "id": ["a", "a", "b"],
        "question": ["q", "", "q"],
        "context": ["", PASSAGE, PASSAGE],
        "answers": [{"text": ["Ada"], "answer_start": []}] * 3,
    }
    with pytest.raises(UserError) as caught:
        normalize({"dev": Dataset.from_dict(rows)}, COLUMNS)
    for part in (
        "empty questions, or questions that are not text: 1 of 3 (row 1)",
        "empty contexts, or contexts that are not text: 1 of 3 (row 0)",
        "of another form than SQuAD's: 3 of 3 (rows 0, 1, 2)",
        "1 ids more than once (a)",
    ):
        assert part in str(caught.value)
    path = tmp_path / "train.json"
    path.write_text(json.dumps(squad([{"id": "a", "answers": []}])))
    with pytest.raises(DataError, match="question a lacks the field 'question'"):
        read_questions(path, "--train-file")
    path.write_text('{"data": []}')
    with pytest.raises(DataError, match="holds no questions"):
        read_questions(path, "--train-file")


def test_answers_that_stand_nowhere_cannot_be_learned():
    def table(*texts):
        answers = [{"text": [text], "answer_start": [0]} for text in texts]
        rows = {"question": ["q"] * len(texts), "context": [PASSAGE] * len(texts)}
        return normalize({"train": Dataset.from_dict({**rows, "answers": answers})}, COLUMNS)[
            "train"
        ]

    with pytest.raises(DataError, match="No answer of the 2 training questions .*'context'"):
        check_trainable(table("Bob", "a keeper of lights"), COLUMNS)
    check_trainable(table("Bob", "Ada"), COLUMNS)
