"""Readers on inputs that nobody thought of: what was written is read back; the rest is refused in words.

The number of inputs is small here; ``NLPTL_EXAMPLES=20000 python -m pytest -n 0 -m slow`` with this file's
name runs the same for long.
"""

import csv
import io
import json
import math
import os

import pandas
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nlptl.data.label_lists import check_label_lists
from nlptl.data.labels import check_labels, check_numbers
from nlptl.data.sources import read_table
from nlptl.errors import UserError

FEW = 25
MANY = int(os.environ.get("NLPTL_EXAMPLES", 1000))
long = pytest.mark.slow

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
MARKS = st.text(st.sampled_from('"\t,;|\n\r a\u2028é\ufeff'), max_size=6)
FIELD = st.one_of(TEXT, MARKS)
ROWS = st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=6)
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**66), 2**66),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
)
#: Something of a file that is put into, over or in the place of a part of another.
PIECE = st.sampled_from(
    [
        b'"',
        b",",
        b"\n",
        b"\r",
        b"\t",
        b";",
        b"\0",
        b"\xff",
        b"\xc3",
        b"[",
        b"{",
        b"}",
        b"null",
        b":",
        b"-1e999",
    ]
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def often(count):
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
    return settings(max_examples=count, deadline=None, suppress_health_check=quiet, database=None)


def read(home, name, content):
    path = home / name
    path.write_bytes(content)
    return read_table(path, "--train-file")


def check_delimited(home, rows, separator, name):
    """What Python's csv module writes, in any separator, under either name, comes back as it was."""
    sink = io.StringIO()
    csv.writer(sink, delimiter=separator, lineterminator="\r\n").writerows(
        [("text", "label"), *rows]
    )
    try:
        table = read(home, name, sink.getvalue().encode())
    except UserError as error:
        # Tabs and line breaks within quotation marks can look like rows, and the header may stand again.
        told = ("with quoting and without", "header once more")
        if not any(words in str(error) for words in told):
            raise
        return
    assert list(zip(*table[:].values(), strict=True)) == rows


@often(FEW)
@given(ROWS, st.sampled_from(",;|\t"), st.sampled_from(["t.csv", "t.tsv"]))
def test_fields_come_back(home, rows, separator, name):
    check_delimited(home, rows, separator, name)


@long
@often(MANY)
@given(ROWS, st.sampled_from(",;|\t"), st.sampled_from(["t.csv", "t.tsv"]))
def test_fields_come_back_for_long(home, rows, separator, name):
    check_delimited(home, rows, separator, name)


def check_bare(home, rows):
    """Tab-separated lines without quoting, as GLUE's, keep their quotation marks unless all are pairs."""
    assume(all(not set(field) & set("\t\n\r\ufeff") for row in rows for field in row))
    assume(("text", "label") not in rows)
    wrapped = [f for row in rows for f in row if f.startswith('"')]
    content = "".join("\t".join(row) + "\n" for row in [("text", "label"), *rows])
    try:
        table = read(home, "t.tsv", content.encode())
    except UserError as error:
        if "with quoting and without" not in str(error):
            raise
        return
    unquoted = wrapped and all(f == '"' + f[1:-1] + '"' and len(f) > 1 for f in wrapped)
    if not unquoted:
        assert list(zip(*table[:].values(), strict=True)) == rows


@often(FEW)
@given(ROWS)
def test_bare_fields_stay(home, rows):
    check_bare(home, rows)


@long
@often(MANY)
@given(ROWS)
def test_bare_fields_stay_for_long(home, rows):
    check_bare(home, rows)


def check_json(home, rows, form):
    """What json and pandas write comes back, with the types of its values."""
    names = dict.fromkeys(name for row in rows for name in row)
    assume(names and (form == "lines" or "text" in names))
    frame = pandas.DataFrame(
        [{name: row.get(name) for name in names} for row in rows], dtype=object
    )
    if form == "lines":
        content = "".join(json.dumps(row) + "\n" for row in rows)
    elif form == "list":
        content = json.dumps(rows, indent=1)
    else:
        content = json.dumps(frame.to_dict(orient=form), default=str)
    table = read(home, "t.jsonl" if form == "lines" else "t.json", content.encode())
    for name in names:
        for found, row in zip(table[name][:], rows, strict=True):
            value = row.get(name)
            if isinstance(value, int) and not -(2**63) <= value < 2**64:
                value = str(value)  # no column can hold it
            same = found == value or math.isclose(found, value, rel_tol=1e-14, abs_tol=1e-15)
            assert same and isinstance(found, bool) == isinstance(value, bool)


CELLS = st.lists(
    st.dictionaries(st.sampled_from(["text", "label", "n"]), SCALAR), min_size=1, max_size=6
)
FORMS = st.sampled_from(["lines", "list", "split", "tight", "list"])


@often(FEW)
@given(CELLS, FORMS)
def test_values_come_back(home, rows, form):
    check_json(home, rows, form)


@long
@often(MANY)
@given(CELLS, FORMS)
def test_values_come_back_for_long(home, rows, form):
    check_json(home, rows, form)


def seeds(home):
    """Sound files of each kind, as bytes."""
    made = {
        "t.csv": b'text,label\n"a, b",x\nc,y\n',
        "t.tsv": b'text\tlabel\n"a\tb"\tx\nc\ty\n',
        "t.jsonl": b'{"text": "a", "label": 1}\n{"text": "b", "label": [2, {"c": null}]}\n',
        "t.json": b'{"columns": ["text", "label"], "data": [["a", 1], ["b", 2]]}',
    }
    Dataset.from_dict({"text": ["a", "b"] * 3, "label": [0, 1] * 3}).to_parquet(
        home / "seed.parquet"
    )
    return {**made, "t.parquet": (home / "seed.parquet").read_bytes()}


CHANGES = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 3), st.one_of(PIECE, st.binary(max_size=3))),
    max_size=4,
)


def check_damaged(home, name, changes, label):
    """A damaged file gives a table or an error of ours, and so do the checks of its labels."""
    content = seeds(home)[name]
    for at, cut, piece in changes:
        at %= len(content) + 1
        content = content[:at] + piece + content[at + cut :]
    table = refusal = None
    try:
        table = read(home, name, content)
    except UserError as error:
        refusal = str(error)
    if table is None:
        assert len(refusal) < 2000
        return
    for check in (check_labels, check_numbers, check_label_lists):
        try:
            check(
                {"train": table, "test": table}, table.column_names[label % len(table.column_names)]
            )
        except UserError as error:
            refusal = str(error)
    assert len(refusal or "") < 5000


KINDS = st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.json", "t.parquet"])


@often(FEW)
@given(KINDS, CHANGES, st.integers(0, 3))
def test_damaged_files_are_read_or_refused(home, name, changes, label):
    check_damaged(home, name, changes, label)


@long
@often(MANY)
@given(KINDS, CHANGES, st.integers(0, 3))
def test_damaged_files_are_read_or_refused_for_long(home, name, changes, label):
    check_damaged(home, name, changes, label)


LABELS = st.one_of(
    TEXT,
    st.integers(-(2**66), 2**66),
    st.floats(),
    st.booleans(),
    st.sampled_from(["nan", "1", "01"]),
)


@often(FEW * 4)
@given(st.data())
def test_the_order_of_classes_depends_on_their_set_alone(data):
    values = data.draw(st.lists(LABELS, min_size=2, max_size=6))
    kinds = {type(value) for value in values}
    values = values if len(kinds) == 1 else [str(value) for value in values]
    turned = data.draw(st.permutations(values))
    found = []
    for order in (values, turned):
        try:
            found.append(
                check_labels({"train": Dataset.from_dict({"label": list(order)})}, "label")
            )
        except UserError as error:
            found.append(str(error).partition(":")[0].partition("'")[0])
    assert found[0] == found[1]
    if isinstance(found[0], tuple):
        numbers = [float(v) for v in values if isinstance(v, float)]
        assert not any(map(math.isnan, numbers))
