"""Tables in memory: what is taken, what becomes of its columns, and what is refused."""

import datetime
import json

import pandas
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from nlptl.data.encoding import splits_hash
from nlptl.data.frames import to_splits, to_table, write_tables
from nlptl.data.sources import read_table
from nlptl.errors import DataError, Mistakes

ROWS = [{"text": "good film", "label": "yes"}, {"text": "bad", "label": "no"}]


@pytest.mark.parametrize(
    "given",
    [
        ROWS,
        tuple(ROWS),
        pandas.DataFrame(ROWS),
        pandas.DataFrame(ROWS, index=[7, 9]).astype({"label": "category"}),
        Dataset.from_list(ROWS),
        {"text": ["good film", "bad"], "label": ["yes", "no"]},
    ],
)
def test_every_kind_of_table_gives_the_same_rows(given):
    table = to_table(given, "data")
    assert table.column_names == ["text", "label"] and table.to_list() == ROWS


def test_columns_keep_their_values():
    day = datetime.datetime(2026, 1, 2)
    frame = pandas.DataFrame(
        {
            "text": ["a", None],
            "mixed": [1, "b"],
            "tags": [["x"], ["x", "y"]],
            "day": [day, day],
            3: [1.5, 2.5],
            "codes": pandas.Categorical([30, 20]),
            "large": [7, 2**64],
        }
    )
    rows = to_table(frame, "data").to_list()
    assert rows[0] == {
        **{
            "text": "a",
            "mixed": "1",
            "tags": ["x"],
            "day": day,
            "3": 1.5,
            "codes": 30,
            "large": "7",
        }
    }
    assert rows[1]["large"] == "18446744073709551616"
    assert rows[1]["text"] is None and rows[1]["mixed"] == "b" and rows[1]["codes"] == 20


def test_what_no_file_of_a_table_holds_becomes_texts(tmp_path):
    """A column that nobody reads must not stop a run; whichever way the table is given."""
    odd = {
        "large": [7, 2**64],
        "list": [[2**64], [1]],
        "mixed": [1, "w"],
        "empty": [{}, {}],
        "inside": [{"a": {}}, {"a": {}}],
    }
    columns = {"text": ["a", "b"], **odd}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    frame = pandas.DataFrame(columns)
    expected = {"text": ["a", "b"], **{name: [*map(str, each)] for name, each in odd.items()}}
    for given in (columns, rows, frame):
        assert to_table(given, "data").to_dict() == expected
    frame = pandas.DataFrame({"text": ["a", "b"]})
    frame["range"] = pandas.cut([1, 5], [0, 2, 6])
    frame["month"] = pandas.period_range("2026-01", periods=2, freq="M")
    frame["grade"] = pandas.Categorical([30, None])
    table = to_table(frame, "data")
    found = table.to_dict()
    assert found["range"] == ["(0, 2]", "(2, 6]"] and found["month"] == ["2026-01", "2026-02"]
    assert found["grade"] == [30, None]
    assert read_table(write_tables({"t": table}, tmp_path)["t"], "--t").to_dict() == found


def test_rows_have_the_columns_of_all_of_them(tmp_path):
    """In the order in which they come; a row without one has none there, as in a file of json lines."""
    rows = [{"text": "a"}, {"label": "yes", "text": "b"}, {"text": "c", "label": "no", "ticket": 3}]
    table = to_table(rows, "data")
    assert table.to_list() == [
        {"text": "a", "label": None, "ticket": None},
        {"text": "b", "label": "yes", "ticket": None},
        {"text": "c", "label": "no", "ticket": 3},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_table(tmp_path / "t.jsonl", "--train-file")
    assert table.column_names == read.column_names and table.to_list() == read.to_list()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (7, "data is a int; expected the path of a file, a data frame"),
        ([], "the table holds no rows"),
        (pandas.DataFrame({"text": []}), "the table holds no rows"),
        (pandas.DataFrame([[1, 2]], columns=["a", "a"]), "several columns are called a"),
        ({"text": ["a"], "label": []}, "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_refused(given, sentence):
    with pytest.raises(DataError, match=sentence):
        to_table(given, "data")


def test_splits_are_told_apart_and_all_mistakes_named():
    table = Dataset.from_list(ROWS)
    both = DatasetDict({"training": table, "dev": table, "other": table})
    found = to_splits(both, test="test.csv")
    assert {name: type(one).__name__ for name, one in found.items()} == {
        **{"train": "Dataset", "validation": "Dataset", "test": "str"}
    }
    with pytest.raises(DataError, match="no split is called train; there are dev"):
        to_splits({"dev": pandas.DataFrame(ROWS)})
    with pytest.raises(Mistakes, match=r"(?s)data is a int.*test is a float"):
        to_splits(7, test=0.5)


def test_a_written_table_is_read_back_with_its_types(tmp_path):
    kinds = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    table = Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=kinds)
    frame = to_table(pandas.DataFrame(ROWS), "data")
    files = write_tables({"train": table, "test": frame}, tmp_path / "data")
    again = {name: read_table(path, "--data") for name, path in files.items()}
    assert again["train"].features["label"].names == ["no", "yes"]
    assert splits_hash(again) == splits_hash({"train": table, "test": frame})
    assert [path.name for path in sorted((tmp_path / "data").iterdir())] == [
        "test.parquet",
        "train.parquet",
    ]
