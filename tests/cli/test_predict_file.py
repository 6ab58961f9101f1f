"""Files for nlptl predict: read as training files are; nothing is left behind by one that is refused."""

import csv
import io
import json
from types import SimpleNamespace

import pytest
from datasets import Dataset

from nlptl.cli import predict
from nlptl.errors import ConfigError, DataError
from nlptl.tasks.token_classification import TokenClassification


def test_texts_a_line_with_and_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "t[1].TXT"
    (tmp_path / "t1.TXT").write_text("wrong")
    path.write_bytes("\ufeffune scène\r\n\n b \n".encode())
    rows = predict.read_rows(path, {"text": None})
    assert list(rows.examples) == list(rows.examples) == ["une scène", "b"]
    assert list(rows.others) == [{"row": 0, "text": "une scène"}, {"row": 2, "text": "b"}]


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_a_text_file_without_a_text_is_refused(tmp_path, content):
    (tmp_path / "t.txt").write_text(content)
    for field, kind in (("text", None), ("tokens", TokenClassification(("O",)))):
        with pytest.raises(DataError, match="t.txt: the file holds no text"):
            predict.read_rows(tmp_path / "t.txt", {field: None}, kind=kind)


def test_lines_of_a_text_file_are_split_into_words_for_a_task_of_tags(tmp_path):
    path, kind = tmp_path / "t.txt", TokenClassification(("B-PER", "O"))
    path.write_text("Ada  sings here.\n\nI hear it.\n")
    rows = predict.read_rows(path, {"tokens": None}, kind=kind)
    assert list(rows.examples) == ["Ada  sings here.", "I hear it."]
    assert list(rows.others) == [
        {"row": 0, "tokens": ["Ada", "sings", "here."]},
        {"row": 2, "tokens": ["I", "hear", "it."]},
    ]
    path.write_text("Ada B-PER\nsings O\n\nI O\n")
    rows = predict.read_rows(path, {"tokens": None}, kind=kind)
    assert rows.examples.to_list() == [{"tokens": ["Ada", "sings"]}, {"tokens": ["I"]}]
    assert next(rows.others)["tags"] == ["B-PER", "O"]


@pytest.mark.parametrize("name", ["t.txt", "t.csv", "t.jsonl"])
def test_other_bytes_are_refused_before_anything_is_written(tmp_path, name):
    (tmp_path / name).write_bytes(b'text\n{"text": "a"}\nune sc\xe8ne\n')
    with pytest.raises(DataError, match=r"found another byte \(0xe8\) in line 3.*Save it as UTF-8"):
        predict.read_rows(tmp_path / name, {"text": None})
    (tmp_path / "t.txt").write_bytes("a".encode("utf-16"))
    with pytest.raises(DataError, match="expected UTF-8, found UTF-16"):
        predict.read_rows(tmp_path / "t.txt", {"text": None})


def test_a_list_under_data_is_a_table_for_texts(tmp_path):
    rows = [{"text": "a", "id": 1}, {"text": "b", "id": 2}]
    (tmp_path / "t.json").write_text(json.dumps({"data": rows}))
    found = predict.read_rows(tmp_path / "t.json", {"text": None})
    assert found.examples.to_list() == [{"text": "a"}, {"text": "b"}]
    assert list(found.others) == [{"row": i, **row} for i, row in enumerate(rows)]


def test_all_columns_of_a_table_stay_beside_the_predictions(tmp_path):
    (tmp_path / "t.csv").write_text("row,body,prediction\nr0,a,old\nr1,b,\n")
    rows = predict.read_rows(tmp_path / "t.csv", {"text": "body"})
    assert rows.examples.to_list() == [{"text": "a"}, {"text": "b"}] and rows.count == 2
    found = list(
        predict.with_columns(rows.others, iter([{"prediction": "x"}, {"prediction": "y"}]))
    )
    assert found[0] == {
        "row": 0,
        "row_in_file": "r0",
        "body": "a",
        "prediction_in_file": "old",
        "prediction": "x",
    }


def test_the_columns_of_the_run_are_taken_where_the_file_has_them(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("body,text\na,b\n")
    columns = {"text": "body", "label": "queue"}
    (tmp_path / "result.json").write_text(json.dumps({"data": {"columns": columns}}))
    trained = predict.trained_columns(str(tmp_path))
    assert trained == {"text": "body", "label": "queue"}
    for known, asked, own in (
        (trained, None, "a"),
        ({}, None, "b"),
        (trained, "text", "b"),
        ({"text": "gone"}, None, "b"),
    ):
        found = predict.read_rows(tmp_path / "t.csv", {"text": asked}, trained=known)
        assert found.examples.to_list() == [{"text": own}]
        said = capsys.readouterr()
        noted = known == {"text": "gone"}
        assert (
            "no column 'gone', which the run was trained on; 'text' is read as" in said.err
        ) == noted
        assert not said.out  # where the predictions go
    (tmp_path / "result.json").write_text("[]")
    assert predict.trained_columns(str(tmp_path)) == predict.trained_columns("bundled/bert") == {}


def test_words_are_read_as_numpy_prints_them(tmp_path):
    (tmp_path / "t.csv").write_text("tokens\n['good' 'film']\n\"['bad', 'film']\"\n")
    kind = SimpleNamespace(split_into_words=True, fields=("tokens",))
    rows = predict.read_rows(tmp_path / "t.csv", {"tokens": None}, kind=kind)
    assert rows.examples["tokens"][:] == [["good", "film"], ["bad", "film"]]


@pytest.mark.parametrize(
    ("file", "output", "form"),
    [
        ("x.csv", None, ","),
        ("x.TSV", None, "\t"),
        ("x.parquet", None, ""),
        ("x.csv", "y.jsonl", ""),
        ("x.jsonl", "y.csv", ","),
        ("x.csv", "y.out", ","),
        (None, None, ""),
    ],
)
def test_the_form_of_the_output(tmp_path, file, output, form):
    assert predict._form(file and tmp_path / file, output and tmp_path / output) == form


@pytest.mark.parametrize("name", ["x.xlsx", "x.PARQUET", "x.csv.gz", "x.feather"])
def test_an_output_of_a_form_that_is_not_written_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=f"{name}: expected a name ending in .csv, .tsv, .jsonl"):
        predict.predict("nowhere", text="a", output=tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_a_table_is_what_a_csv_reader_reads_back():
    out = io.StringIO()
    text = 'say "hi", now\nand here;\ttoo'
    records = [
        {"row": 0, "text": text, "n": None, "prediction": "a", "score": 0.5, "scores": {"a": 0.5}},
        {"row": 1, "text": "b", "n": 3, "prediction": ["x", "y"], "score": 1.0, "scores": {}},
    ]
    predict.write_table(records, out, ",")
    found = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert found[0] == {"row": "0", "text": text, "n": "", "prediction": "a", "score": "0.5"}
    assert found[1]["prediction"] == '["x", "y"]'
    out = io.StringIO()
    predict.write_table([{"prediction": [], "scores": {"x": 0.1}}], out, "\t")
    assert list(csv.DictReader(io.StringIO(out.getvalue()), delimiter="\t")) == [
        {"prediction": "[]", "scores": '{"x": 0.1}'}
    ]


def test_what_would_steer_a_terminal_is_not_shown_there():
    class Screen(io.StringIO):
        def isatty(self):
            return True

    out = Screen()
    predict.write_table([{"text": "a\x1b[2Jb", "prediction": "x"}], out, ",")
    assert "\x1b" not in out.getvalue()
    plain = io.StringIO()
    predict.write_table([{"text": "a\x1b[2Jb", "prediction": "x"}], plain, ",")
    assert "\x1b" in plain.getvalue()  # a file keeps its texts


def test_half_of_a_surrogate_pair_in_another_column_is_an_escape(tmp_path):
    records = iter([{"note": "\ud83d", "prediction": "x"}])
    predict._write(records, tmp_path / "out.jsonl", 1)
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {"note": "\ud83d", "prediction": "x"}


def test_an_output_without_a_record_does_not_block_the_next_try(tmp_path):
    def failing(*records):
        yield from records
        raise DataError("a text is wrong")

    for records, left in (((), False), (({"prediction": "x"},), True)):
        with pytest.raises(DataError, match="a text is wrong"):
            predict._write(failing(*records), tmp_path / "out.jsonl", 2)
        assert (tmp_path / "out.jsonl").exists() is left


def test_rows_of_a_parquet_keep_their_types(tmp_path):
    Dataset.from_dict({"text": ["a"], "n": [1.5], "tags": [["x"]]}).to_parquet(
        tmp_path / "t.parquet"
    )
    rows = predict.read_rows(tmp_path / "t.parquet", {"text": None})
    assert list(rows.others) == [{"row": 0, "text": "a", "n": 1.5, "tags": ["x"]}]
