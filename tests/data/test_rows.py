"""Rows, ids and the columns that no task reads: kept through the splits, and found again in predictions."""

import json
from datetime import date
from types import SimpleNamespace

import pytest
from datasets import ClassLabel, Dataset, Features, Translation, Value

from nlptl.data.encoding import splits_hash
from nlptl.data.rows import plain_rows, with_file_columns, with_ids, with_rows
from nlptl.data.sources import read_table
from nlptl.errors import UserError
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.question_answering import QuestionAnswering


def asked(path, **more):
    none = ("dataset", "validation_file", "test_file", "max_train_examples", "max_eval_examples")
    none += ("text_column", "label_column", "id_column", "max_length", "stride")
    none += ("question_column", "context_column", "answers_column")
    rest = {
        "column": (),
        "seed": 0,
        "class_weights": "none",
        "model": "none",
        "squad_version": "auto",
    }
    rest |= {"n_best": 20, "max_answer_tokens": 30, "train_file": path}
    return SimpleNamespace(**{**dict.fromkeys(none), **rest, **more})


def tickets(path, count=60):
    lines = ["ticket_id,body,queue,text,row,when"]
    lines += [f"T{i},words of {i},{'ab'[i % 2]},subject {i},r{i},2026-01-01" for i in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_predictions_lead_back_to_the_rows_of_a_csv(tmp_path):
    path = tickets(tmp_path / "t.csv")
    request = asked(path, text_column="body", label_column="queue", id_column="ticket_id")
    task, splits, _ = TextClassification.prepare(request)
    test = splits["test"]
    found = with_rows(
        [
            {"id": i, "prediction": "a", "scores": {"a": 1.0}, "gold": g}
            for i, g in zip(test["id"], test["label"], strict=True)
        ],
        test,
        fields=task.fields,
        gold=task.gold_columns,
    )
    assert len(found) == 12
    for record in found:
        row = record["row"]
        assert record == {
            **{
                "row": row,
                "id": f"T{row}",
                "text": f"words of {row}",
                "text_in_file": f"subject {row}",
            },
            **{"row_in_file": f"r{row}", "when": "2026-01-01"},
            **{"prediction": "a", "scores": {"a": 1.0}, "gold": "ab"[row % 2]},
        }
    rows = [table["file.row"][:] for table in splits.values()]
    assert sorted(row for part in rows for row in part) == list(range(60))


def test_a_split_that_is_left_out_is_noted_in_the_record(tmp_path):
    for name in ("train.csv", "dev_unseen.csv", "dev_seen.csv"):
        tickets(tmp_path / name)
    (tmp_path / "dev_seen.csv").rename(tmp_path / "dev.csv")
    request = asked(None, dataset=str(tmp_path), label_column="queue", text_column="body")
    _, _, record = TextClassification.prepare(request)
    assert "dev_unseen.csv is left out" in record["notes"][0]
    rows = "".join(f"who {i}?,a{i} met Ada,Ada\n" for i in range(30))
    for path in tmp_path.iterdir():
        path.write_text(f"question,context,answers\n{rows}")
    _, _, record = QuestionAnswering.prepare(asked(None, dataset=str(tmp_path)))
    assert "dev_unseen.csv is left out" in record["notes"][0]


def test_other_columns_do_not_change_the_hash_of_the_data(tmp_path):
    kept = []
    for name, count in (("one", 60), ("two", 60), ("three", 61)):
        path = tickets(tmp_path / f"{name}.csv", count)
        if name == "two":
            path.write_text(path.read_text().replace("2026", "2027"))
        request = asked(path, text_column="body", label_column="queue")
        kept.append(splits_hash(TextClassification.prepare(request)[1]))
    assert kept[0] == kept[1] != kept[2]


def test_questions_keep_rows_ids_and_other_columns(tmp_path):
    path = tmp_path / "q.jsonl"
    each = [
        {
            "key": f"K{i}",
            "id": i,
            "question": f"who {i}?",
            "context": f"{c} met Ada.",
            "answers": ["Ada"],
            "page": i,
        }
        for i, c in enumerate("abcdefghij" * 3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in each))
    task, splits, _ = QuestionAnswering.prepare(asked(path, id_column="key"))
    test = splits["test"]
    made = task.constant_predictions(splits["train"], test)
    found = with_rows(made, test, fields=task.fields, gold=task.gold_columns)
    for record in found:
        row = record["row"]
        assert (record["id"], record["page"], record["id_in_file"]) == (f"K{row}", row, row)
        assert record["question"] == f"who {row}?" and "answer_texts" not in record
        assert record["gold"] == ["Ada"]


def test_an_id_column_that_is_not_there_is_named_with_the_columns(tmp_path):
    table = Dataset.from_dict({"ticket": [1], "text": ["a"]})
    with pytest.raises(
        UserError, match="--id-column tiket: the train split has no such column.*ticket"
    ):
        with_ids({"train": table}, "tiket")
    assert with_ids({"train": table}, None)["train"] is table


@pytest.mark.parametrize("name", ["ID", "Id"])
def test_ids_are_found_in_any_capitals_unless_the_column_is_for_something_else(tmp_path, name):
    path = tickets(tmp_path / "t.csv")
    path.write_text(path.read_text().replace("ticket_id", name))
    _, splits, _ = TextClassification.prepare(asked(path, label_column="queue"))
    rows = splits["test"]["file.row"][:]
    assert splits["test"]["id"][:] == [f"T{row}" for row in rows]
    request = asked(path, text_column=name, label_column="queue")
    _, splits, _ = TextClassification.prepare(request)
    assert splits["test"]["text"][:] == [f"T{row}" for row in rows]
    table = Dataset.from_dict({"id": [1], name: [2]})
    assert with_ids({"train": table}, None)["train"] is table


def test_a_column_called_scores_is_never_taken_for_those_of_a_prediction():
    table = Dataset.from_dict({"tokens": [["a"]], "tags": [["O"]], "file.scores": ["high"]})
    records = [{"prediction": ["O"], "gold": ["O"]}]
    (found,) = with_rows(records, table, fields=["tokens"], gold=["tags"])
    assert found["scores_in_file"] == "high" and "scores" not in found


def test_a_table_without_rows_and_ids_is_numbered():
    table = Dataset.from_dict(
        {"text": ["a", "b"], "label": ["x", "y"], "price": [1.5, float("nan")]}
    )
    records = [{"id": 0, "prediction": "x", "gold": "x"}, {"id": 1, "prediction": "x", "gold": "y"}]
    found = with_rows(records, table, fields=("text",), gold=("label",))
    assert [(r["row"], r["id"], r["text"], r["price"]) for r in found] == [
        (0, 0, "a", 1.5),
        (1, 1, "b", None),
    ]


def test_columns_that_json_cannot_hold_are_left_out_and_classes_have_names():
    features = Features(
        {
            "text": Value("string"),
            "kind": ClassLabel(names=["no", "yes"]),
            "bytes": Value("binary"),
            "day": Value("date32"),
        }
    )
    table = Dataset.from_dict(
        {"text": ["a"], "kind": [1], "bytes": [b"x"], "day": [date(2026, 1, 2)]}, features=features
    )
    made = with_file_columns(table.select_columns(["text"]), table, ["text"])
    assert made.column_names == ["text", "file.row", "file.kind", "file.day"]
    (record,) = with_rows(
        [{"prediction": "x", "gold": None}], made, fields=("text",), gold=("label",)
    )
    assert (record["kind"], str(record["day"])) == ("yes", "2026-01-02")
    assert list(plain_rows(table)) == [{"text": "a", "kind": "yes", "day": date(2026, 1, 2)}]


def test_columns_of_several_types_and_translations_are_kept(tmp_path):
    pairs = Features({"text": Value("string"), "pair": Translation(languages=["en", "fr"])})
    given = [{"text": "a", "pair": {"en": "one", "fr": "un"}}]
    assert list(plain_rows(Dataset.from_list(given, features=pairs))) == given
    path = tmp_path / "t.jsonl"
    mixed = [7, "x", None, [1, "a"], {"deep": [0.5]}] * 12
    each = [{"text": f"t {i}", "label": "ab"[i % 2], "m": m} for i, m in enumerate(mixed)]
    path.write_text("".join(json.dumps(row) + "\n" for row in each))
    assert list(plain_rows(read_table(path, ""))) == each
    task, splits, _ = TextClassification.prepare(asked(path))
    test = splits["test"]
    made = [{"prediction": "a", "gold": gold} for gold in test["label"]]
    found = with_rows(made, test, fields=task.fields, gold=task.gold_columns)
    assert [one["m"] for one in found] == [mixed[one["row"]] for one in found]


def test_rows_are_right_after_rows_were_selected():
    whole = Dataset.from_dict({"text": list("abcdef"), "n": list(range(6))})
    some = whole.select([5, 3, 1])
    made = with_file_columns(some.select_columns(["text"]), some, ["text"])
    assert made.to_dict() == {"text": ["f", "d", "b"], "file.row": [0, 1, 2], "file.n": [5, 3, 1]}
