"""SQuAD files and flat columns give one table; misplaced answers are counted, shown and mended."""

import json

import pytest
from datasets import Dataset

from nlptl.data.columns import find_column
from nlptl.data.squad import (
    answer_notes,
    check_trainable,
    misplaced,
    normalize,
    place,
    placed,
    read_questions,
)
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


def read(tmp_path, content, name="train.json", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_questions(path, "--train-file", **options)


def formed(tmp_path, content, name="train.json"):
    table = read(tmp_path, content, name)
    answers = find_column({"train": table}, "answers", None)
    return normalize({"train": table}, {**COLUMNS, "answers": answers})["train"]


def test_the_usual_wrappers_give_the_same_questions(tmp_path):
    expected = formed(tmp_path, squad(QAS)).to_dict()
    paragraphs = squad(QAS)["data"][0]["paragraphs"]
    rows = [{**qa, "context": PASSAGE} for qa in QAS]
    for whole in (
        squad(QAS)["data"],  # a list of articles
        {"data": squad(QAS)["data"][0]},  # one article
        squad(QAS)["data"][0],
        {"paragraphs": paragraphs[0]},
        paragraphs,
        paragraphs[0],
        {"version": "v2.0", "data": rows},  # as the examples of transformers want it
        b"\xef\xbb\xbf" + json.dumps(squad(QAS)).encode(),  # with a byte order mark
    ):
        assert formed(tmp_path, whole).to_dict() == expected, whole
    one = squad(QAS[0])  # qas is an object
    assert formed(tmp_path, one)["answer_texts"][:] == [["Ada"]]


def test_an_answer_in_brackets_that_the_passage_has_is_a_text(tmp_path):
    rows = [("Ada wrote it [1]. Bob did not.", "[1]"), ("Ada and Bob", "['Ada' 'Bob']")]
    cells = "".join(f'q,{context},"{answer}"\n' for context, answer in rows)
    table = formed(tmp_path, f"question,context,answers\n{cells}".encode(), "train.csv")
    assert table["answer_texts"][:] == [["[1]"], ["Ada", "Bob"]]
    assert table["answer_starts"][:] == [[13], [0, 8]]


def test_questions_without_ids_are_numbered(tmp_path):
    def with_ids(*ids):
        return squad([{**qa, "id": i} for qa, i in zip(QAS, ids, strict=True)])

    without = squad([{k: v for k, v in qa.items() if k != "id"} for qa in QAS])
    for whole in (without, with_ids(None, None, None), with_ids("", " ", float("nan"))):
        assert formed(tmp_path, whole)["id"][:] == ["0", "1", "2"]
    assert formed(tmp_path, with_ids("2", 7, None))["id"][:] == ["2", "7", "row-2"]
    named = squad([{**{k: v for k, v in QAS[0].items() if k != "id"}, "qid": "x"}])
    assert formed(tmp_path, named)["id"][:] == ["x"]
    rows = [
        {"question": "q", "context": PASSAGE, "answers": QAS[0]["answers"], "id": i}
        for i in ("a", None)
    ]
    assert formed(tmp_path, rows)["id"][:] == ["a", "1"]


def test_is_impossible_as_a_word_is_read_and_anything_else_refused(tmp_path):
    def marked(*marks):
        each = zip([QAS[0], QAS[1], QAS[2]], marks, strict=True)
        return squad([{**qa, "is_impossible": mark} for qa, mark in each])

    for marks in (("False", "false", "True"), (0, "no", 1), (None, False, "YES")):
        assert formed(tmp_path, marked(*marks))["answer_texts"][:] == [
            ["Ada"],
            ["1843", "in 1843"],
            [],
        ]
    for odd in (float("nan"), "", "perhaps", 2, []):
        with pytest.raises(
            DataError, match="is_impossible of question a is .*; expected true or false"
        ):
            read(tmp_path, marked(odd, False, True))


def test_a_mark_that_contradicts_answers_counts_and_is_told(tmp_path):
    table = formed(tmp_path, squad([{**QAS[0], "is_impossible": "True"}, QAS[1]]))
    assert table["answer_texts"][:] == [[], ["1843", "in 1843"]]
    (note,) = answer_notes(table, "train")
    assert note.startswith(
        "train: 1 of 2 questions is marked is_impossible and has answers; the mark"
    )
    assert answer_notes(formed(tmp_path, squad(QAS)), "train") == []
    rows = [
        {"question": "q", "context": PASSAGE, "answers": QAS[0]["answers"], "is_impossible": "true"}
    ]
    assert len(answer_notes(formed(tmp_path, rows), "train")) == 1


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.ndjson"])
def test_articles_and_paragraphs_may_stand_one_a_line(tmp_path, name):
    whole = squad(QAS)
    paragraph = whole["data"][0]["paragraphs"][0]
    expected = formed(tmp_path, whole).to_dict()
    split = [{**paragraph, "qas": [qa]} for qa in QAS]
    for lines in (
        [whole],
        whole["data"],
        [paragraph],
        split,
        [{"title": "t", "paragraphs": [one]} for one in split],
    ):
        text = "\n\n".join(map(json.dumps, lines)) + "\n"
        assert formed(tmp_path, text.encode(), name).to_dict() == expected
    broken = f"{json.dumps(paragraph)}\n{{\n"
    with pytest.raises(DataError, match=f"{name}: line 2 could not be read as json"):
        formed(tmp_path, broken.encode(), name)
    rows = [
        {"question": qa["question"], "context": PASSAGE, "answers": [], "data": []} for qa in QAS
    ]
    text = "\n".join(map(json.dumps, rows))
    assert formed(tmp_path, text.encode(), name)["question"][:] == [
        "Who?",
        "Which year?",
        "Whose cat?",
    ]


def test_a_prediction_needs_no_answers_and_a_test_set_does(tmp_path):
    new = squad(
        [
            {"id": "n", "question": "Who?", "answers": "whatever", "is_impossible": "?"},
            {"question": "When?"},
        ]
    )
    table = read(tmp_path, new, answers=False)
    assert table.column_names == ["id", "question", "context"]
    assert table["id"][:] == ["n", None] and table["context"][:] == [PASSAGE] * 2
    with pytest.raises(
        DataError,
        match="question 0 lacks the field 'answers', which a training, validation or test",
    ):
        read(tmp_path, squad([{"question": "When?"}]))


@pytest.mark.parametrize(
    ("whole", "found"),
    [
        (squad(["str"]), "question 0 is a text; expected an object with a question"),
        (squad([None]), "question 0 is null; expected an object with a question"),
        (squad({"a": 1}), "question 0 lacks the field 'question'"),
        (squad("qas"), r"qas of data\[0\].paragraphs\[0\] is a text; expected a list of questions"),
        ({"data": ["article"]}, r"data\[0\] is a text; expected objects with paragraphs or qas"),
        ({"data": None}, "data is null; expected objects"),
        (
            {"data": [{"title": "t"}]},
            r"data\[0\] is an object with title; expected paragraphs or qas",
        ),
        ({"data": [[]]}, "data has a list in its list"),
        (
            {"data": {"data": {"data": {"data": {"data": {"data": {"data": []}}}}}}},
            "expected objects",
        ),
        ({"data": [{"paragraphs": [{"qas": [QAS[0]]}]}]}, "question a lacks the field 'context'"),
        (squad([{**QAS[0], "question": 5}]), "question of question a is a number; expected a text"),
        (squad([{**QAS[0], "question": " "}]), "question of question a is empty; expected a text"),
        (
            squad([{**QAS[0], "question": "\ud83d"}]),
            "question of question a is a text with half of",
        ),
        (
            squad([{**QAS[0], "answers": "Ada"}]),
            "answers of question a is a text; expected a list of",
        ),
        (
            squad([{**QAS[0], "answers": ["Ada"]}]),
            "answers of question a is a list with a text in it",
        ),
    ],
)
def test_json_of_another_shape_is_described_in_words(tmp_path, whole, found):
    with pytest.raises(DataError, match=found) as caught:
        read(tmp_path, whole)
    assert "Expected SQuAD's form: data / paragraphs" in str(caught.value)


def test_files_that_are_no_json_are_refused_in_words(tmp_path):
    for content, found in (
        (b'{"data": [', "could not be read as json"),
        (b'{"data": [], "data": []}', "an object has 'data' twice"),
        (b"\xff\xfe{", "expected UTF-8, found other bytes"),
        (b'{"data": ' + b"[" * 50_000, "nested too deeply|could not be read as json"),
    ):
        with pytest.raises(DataError, match=found):
            read(tmp_path, content)
    many = squad([{**QAS[0], "id": "x" * 10**5, "answers": "y" * 10**6}] * 50)
    with pytest.raises(DataError, match=r"50 in all") as caught:
        read(tmp_path, many)
    assert len(str(caught.value)) < 1500


CELLS = {
    "dict": ("answers", "\"{'text': ['Ada'], 'answer_start': [34]}\""),
    "pandas": (
        "answers",
        "\"{'text': array(['Ada'], dtype=object), 'answer_start': array([34])}\"",
    ),
    "beside": ("answer_text,answer_start", "Ada,34"),
    "given": ("answers,answer_start", "Ada,[34]"),
}


@pytest.mark.parametrize("form", CELLS)
def test_a_csv_holds_questions_in_the_usual_forms(tmp_path, form):
    head, cells = CELLS[form]
    table = formed(
        tmp_path, f'question,context,{head}\nWho?,"{PASSAGE}",{cells}\n'.encode(), "t.csv"
    )
    assert table["answer_texts"][:] == [["Ada"]] and table["answer_starts"][:] == [[34]]
    assert answer_notes(table, "train") == []


@pytest.mark.parametrize(
    ("offset", "mark"),
    [
        ("Answer_Start", "Is_Impossible"),
        ("ANSWER_STARTS", "IS_IMPOSSIBLE"),
        ("answerStart", "isImpossible"),
        ("Answer Start", "Impossible"),
    ],
)
def test_offsets_and_marks_are_found_in_any_capitals(tmp_path, offset, mark):
    rows = f'Who?,"{PASSAGE}",Ada,34,False\nWhose?,"{PASSAGE}",Ada,0,True\n'
    head = f"question,context,answer,{offset},{mark}"
    table = formed(tmp_path, f"{head}\n{rows}".encode(), "t.csv")
    assert (table["answer_texts"][:], table["answer_starts"][:]) == ([["Ada"], []], [[34], []])
    (note,) = answer_notes(table, "train")
    assert note.startswith("train: 1 of 2 questions is marked is_impossible and has answers")
    with pytest.raises(UserError, match=f"column '{mark}' cannot be read: 1 of 2 .row 0."):
        formed(tmp_path, f"{head}\n{rows.replace('False', 'so')}".encode(), "t.csv")


@pytest.mark.parametrize("mark", ["isImpossible", "Is_Impossible", "impossible"])
def test_keys_of_squad_are_found_in_any_capitals(tmp_path, mark):
    each = [{("ID" if key == "id" else key): value for key, value in qa.items()} for qa in QAS]
    each[1] = {**each[1], mark: True}
    table = formed(tmp_path, squad(each))
    assert table["id"][:] == ["a", "b", "c"]
    assert table["answer_texts"][:] == [["Ada"], [], []]
    each[1][mark] = "so"
    with pytest.raises(DataError, match=f"{mark} of question b is 'so'; expected true or false"):
        read(tmp_path, squad(each))


def test_a_plain_answer_is_looked_for_as_a_whole_word_and_told(tmp_path):
    assert placed("Adam met Ada", "Ada", None) == 9 and placed("Adam", "Ada", None) == 0
    assert placed("x", "Ada", None) == -1
    rows = f'Who?,"{PASSAGE}",Ada\nWhen?,"{PASSAGE}",1843\nWhose?,"{PASSAGE}",Bob\nWhat?,"{PASSAGE}",\n'
    table = formed(tmp_path, f"question,context,answer\n{rows}".encode(), "t.csv")
    assert table["answer_starts"][:] == [[0], [19], [-1], []]
    (note,) = answer_notes(table, "train")
    assert note.startswith(
        "train: 3 answers have no offset, so each is taken where it first occurs"
    )
    assert "1 occur there more than once, and 1 nowhere" in note


def test_answers_in_a_table_that_cannot_be_read_are_shown(tmp_path):
    rows = [
        {"question": "q", "context": PASSAGE, "answers": {"text": ["Ada"], "answer_start": [1, 2]}}
    ]
    with pytest.raises(
        UserError, match="1 of 1 .row 0.; the first has 1 text and 2 as answer_start"
    ):
        formed(tmp_path, rows)
    rows = [
        {"question": "q", "context": PASSAGE, "answers": QAS[0]["answers"], "is_impossible": "so"}
    ]
    with pytest.raises(
        UserError, match="column 'is_impossible' cannot be read: 1 of 1 .row 0.; the first is 'so'"
    ):
        formed(tmp_path, rows)


def test_questions_are_read_without_the_chatter_of_other_libraries(tmp_path, capfd):
    """``.json`` may be SQuAD's articles, or an object a line; of neither is a bar left on the screen."""
    answers = {"text": ["Ada"], "answer_start": [0]}
    rows = [{"id": str(n), "question": f"who {n}?", "context": f"Ada {n} sings."} for n in range(3)]
    lines = tmp_path / "lines.json"
    lines.write_text("".join(json.dumps({**row, "answers": answers}) + "\n" for row in rows))
    assert read_questions(lines, "--train-file")["question"][:] == [r["question"] for r in rows]
    asked = [{"id": row["id"], "question": row["question"], "answers": []} for row in rows]
    nested = tmp_path / f"{tmp_path.name}.json"
    nested.write_text(
        json.dumps({"data": [{"paragraphs": [{"context": str(tmp_path), "qas": asked}]}]})
    )
    assert len(read_questions(nested, "--train-file")) == 3
    assert capfd.readouterr().err == ""
