"""Files of every kind give the same table; the hub's cache and its absence; clear refusals."""

import json

import pytest
from datasets import Dataset, DatasetDict

from nlptl.data.sources import load_splits, read_table
from nlptl.data.squad_json import read_json
from nlptl.errors import ConfigError, DataError, Mistakes

ROWS = {"text": ['He said "no", twice', "NA", "café, naïve 😀"], "label": ["b", "a", "b"]}


def write(path, rows=ROWS):
    table = Dataset.from_dict(rows)
    records = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    kind = path.suffix
    if kind == ".csv":
        table.to_csv(path)
    elif kind == ".tsv":
        lines = ["\t".join(rows), *("\t".join(r.values()) for r in records)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif kind == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif kind == ".json":
        path.write_text(json.dumps(records))
    else:
        table.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_each_kind_of_file_gives_the_same_rows(tmp_path, kind):
    table = read_table(write(tmp_path / f"x.{kind}"), "--train-file")
    assert table.to_dict() == ROWS


@pytest.mark.parametrize("marks", ["\ufeff", "\ufeff" * 3])
def test_byte_order_marks_belong_to_no_column_text_or_word(tmp_path, marks):
    for name, content, expected in (
        ("t.csv", "text,n\na,1\n", {"text": ["a"], "n": ["1"]}),
        ("t.tsv", '"text"\tn\na\t1\n', {"text": ["a"], "n": ["1"]}),
        ("t.jsonl", '{"text": "a"}\n', {"text": ["a"]}),
        ("t.json", '[{"text": "a"}]', {"text": ["a"]}),
        ("t.conll", "a\tO\nb\tO\n", {"tokens": [["a", "b"]], "tags": [["O", "O"]]}),
    ):
        (tmp_path / name).write_text(marks + content, encoding="utf-8")
        assert read_table(tmp_path / name, "--train-file").to_dict() == expected
    (tmp_path / "q.json").write_text(f'{marks}{{"data": []}}', encoding="utf-8")
    assert read_json(tmp_path / "q.json", "") == {"data": []}
    (tmp_path / "e.csv").write_text(marks, encoding="utf-8")
    with pytest.raises(DataError, match="the file is empty"):
        read_table(tmp_path / "e.csv", "--train-file")


def test_a_folder_is_told_apart_by_names(tmp_path):
    write(tmp_path / "train.csv")
    write(tmp_path / "dev.jsonl")
    splits = load_splits(str(tmp_path), {"test": write(tmp_path / "held.parquet")})
    assert sorted(splits) == ["test", "train", "validation"]


def test_a_hub_set_is_read_under_its_name_and_configuration(monkeypatch):
    seen = []

    def stub(name, config=None, **kwargs):
        seen.append((name, config))
        return DatasetDict({"train": Dataset.from_dict(ROWS), "dev": Dataset.from_dict(ROWS)})

    monkeypatch.setattr("datasets.load_dataset", stub)
    assert sorted(load_splits("glue:sst2", {})) == ["train", "validation"]
    assert seen == [("glue", "sst2")]


def test_a_hub_name_without_network_says_what_to_do():
    with pytest.raises(
        DataError, match=r"--dataset nobody/nothing: is not a local file.*from the hub"
    ):
        load_splits("nobody/nothing", {})


def test_missing_empty_and_strange_files_are_all_named(tmp_path):
    write(tmp_path / "reviews.csv")
    (tmp_path / "void.csv").write_text("\n")
    (tmp_path / "head.csv").write_text("text,label\n")
    (tmp_path / "odd.xlsx").write_text("?")
    with pytest.raises(DataError, match=r"no such file. Did you mean 'reviews.csv'"):
        read_table(tmp_path / "review.csv", "--train-file")
    with pytest.raises(DataError, match="the file is empty"):
        read_table(tmp_path / "void.csv", "--train-file")
    with pytest.raises(DataError, match="a header and no rows"):
        read_table(tmp_path / "head.csv", "--train-file")
    with pytest.raises(DataError, match=r"expected a file ending in .csv"):
        read_table(tmp_path / "odd.xlsx", "--train-file")
    (tmp_path / "broken.jsonl").write_text('{"text": "a", "label"\n')
    with pytest.raises(DataError, match="could not be read as jsonl"):
        read_table(tmp_path / "broken.jsonl", "--train-file")
    with pytest.raises(Mistakes, match=r"(?s)2 things.*1\. --train-file.*2\. --test-file"):
        load_splits(None, {"train": tmp_path / "a.csv", "test": tmp_path / "b.csv"})


def test_no_training_set_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no training set"):
        load_splits(None, {"test": write(tmp_path / "x.csv")})
