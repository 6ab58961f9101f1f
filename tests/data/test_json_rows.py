"""json as hubs, pandas and annotation tools write it: values keep their types; other things are refused."""

import json

import pandas
import pytest

from nlptl.data.sources import read_table

ROWS = [{"text": "a film", "label": "good"}, {"text": "a book", "label": "bad"}]
FRAME = pandas.DataFrame(ROWS)


@pytest.fixture
def read(tmp_path):
    def table(content, name="t.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_table(path, "--train-file")

    return table


@pytest.mark.parametrize("orient", ["columns", "index", "split", "table", "records", "tight"])
def test_every_orientation_of_pandas_that_names_its_columns(read, orient):
    tight = orient == "tight"
    table = read(FRAME.to_dict(orient=orient) if tight else FRAME.to_json(orient=orient))
    assert table.select_columns(["text", "label"]).to_list() == ROWS


def test_other_usual_forms(read):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    for content, name in (
        (lines, "t.json"),
        (f"\ufeff\n{lines}null\n", "t.jsonl"),
        (lines, "t.ndjson"),
        (ROWS, "t.jsonl"),
        ("\n".join(json.dumps(row, indent=1) for row in ROWS), "t.jsonl"),
        ({"data": ROWS}, "t.json"),
        ({"version": "1", "examples": ROWS}, "t.json"),
        ({"text": ["a film", "a book"], "label": ["good", "bad"]}, "t.json"),
        ({"features": [], "rows": [{"row_idx": 0, "row": row} for row in ROWS]}, "t.json"),
    ):
        assert read(content, name).to_list() == ROWS, (content, name)
    # One line of a .jsonl is one row, whatever it holds.
    assert read({"tokens": ["a", "b"]}, "t.jsonl").to_list() == [{"tokens": ["a", "b"]}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("null", "the file holds no rows"),
        ("[]", "the file holds no rows"),
        ("{}", "the file holds no rows"),
        ("null\nnull\n", "the file holds no rows"),
        ("17", "the file is a number. Expected one object per line"),
        ('"text"', "the file is a string"),
        ('[{"text": "a"}, 5]', "row 1 is a number"),
        ('{"text": "a"}\n["b"]\n', "row 1 is a list"),
        ('[["a", "b"]]', "lists without the columns' names"),
        ('{"train": [{"a": 1}], "test": [{"a": 2}]}', "several tables (train, test)"),
        ('{"text": ["a"], "label": []}', "have different lengths"),
        ('{"columns": ["a"], "data": [[1, 2]]}', "another length than its 1 column"),
        (
            '{"columns": ["text", "n", "text"], "index": [0], "data": [["a", 1, "b"]]}',
            "t.json: the table has the column text more than once. Give each column a name",
        ),
        ('{"x": {"y": "a"}, "z": {"y": "b"}}', "unclear which are rows and which are columns"),
        ('{"text": "a"}\n{"text": "b"\n', "delimiter in line 2"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}", "too many digits"),
        ("[" * 100000, "nested too deeply"),
        ('{"a": ' * 100000, "nested too deeply"),
        ('{"text": "a", "text": "b"}', "an object has 'text' twice"),
        ('{"text": "a", "n": 1}\n{"text": "b", "n": 1, "n": 2}\n', "has 'n' twice (line 2)"),
        ('[{"text": "a", "deep": [{"x": 1, "x": 1}]}]', "an object has 'x' twice"),
        ('{"text": "\\ud800"}', "row 0 has half a character (a lone surrogate"),
        ('{"text": "a"}\n{"text": "b", "n": [{"x": "\\udc00"}]}', "row 1 has half a character"),
    ],
)
def test_what_is_no_table_is_refused(refused, content, message):
    assert message in refused(content)


def test_values_keep_their_types_and_dates_stay_strings(read):
    rows = [
        {"id": "2021-01-01", "label": 1, "mixed": 1, "part": None, "deep": {"a": 1}},
        {"id": "2021-01-02", "label": 2.5, "mixed": "x", "part": "p", "deep": {"b": []}},
    ]
    for content, name in ((rows, "t.json"), ("\n".join(map(json.dumps, rows)), "t.jsonl")):
        found = read(content, name).to_list()
        assert [row.pop("deep") for row in found] == [{"a": 1, "b": None}, {"a": None, "b": []}]
        assert found == [{k: v for k, v in row.items() if k != "deep"} for row in rows]


def test_columns_and_types_that_only_later_rows_show(read):
    """Rows are read a thousand at a time: the file is read again once more is known."""
    rows = (
        [{"n": 1, "m": 1}] * 1500 + [{"n": 0.5, "m": "x", "late": ["a"]}] + [{"n": 2**60, "m": 1}]
    )
    found = read("\n".join(map(json.dumps, rows)), "t.jsonl").to_list()
    assert found == [{"n": r["n"], "m": r["m"], "late": r.get("late")} for r in rows]
    assert isinstance(found[-1]["n"], int)


def test_booleans_and_numbers_in_one_column_stay_apart(read):
    values = [True, 1.5, 1, False]
    found = read([{"label": value} for value in values]).to_list()
    assert [repr(row["label"]) for row in found] == list(map(repr, values))


def test_a_number_that_is_none_is_missing_where_types_are_mixed(read):
    found = read('[{"n": "x"}, {"n": NaN}, {"n": [1, Infinity]}]').to_list()
    assert [row["n"] for row in found] == ["x", None, [1, None]]


def test_whole_numbers_beyond_64_bits_become_texts(read):
    """Others stay numbers, up to the last that a column can hold; so it is in lists and objects too."""
    numbers = [2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40, 1]
    expected = [2**64 - 1, str(2**64), -(2**63), str(-(2**63) - 1), "1" + "0" * 40, 1]
    rows = [{"n": n, "all": [n], "deep": {"n": n}} for n in numbers]
    for content, name in ((rows, "t.json"), ("\n".join(map(json.dumps, rows)), "t.jsonl")):
        table = read(content, name)
        assert table.to_list() == [{"n": n, "all": [n], "deep": {"n": n}} for n in expected]
    ids = read([{"id": 2**64 + i} for i in range(3)])
    assert ids["id"][:] == [str(2**64 + i) for i in range(3)]
    late = read("\n".join(json.dumps({"n": n}) for n in [1] * 1500 + [10**30]), "t.jsonl")
    assert late["n"][1499:] == [1, "1" + "0" * 30]
