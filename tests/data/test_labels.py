"""Labels of whatever type: as they are written, one order in every process, no traceback for any value."""

import datetime
import itertools
import json
from types import SimpleNamespace

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from launching import command

from nlptl.data.label_lists import check_label_lists
from nlptl.data.labels import check_labels, check_numbers, distinct, hidden_splits, label_values
from nlptl.errors import UserError
from nlptl.tasks.classification import TextClassification


def classes(values, **more):
    tables = {k: Dataset.from_dict({"label": v}) for k, v in {"train": values, **more}.items()}
    return check_labels(tables, "label")[0]


def test_the_order_is_of_the_names_and_not_of_the_rows():
    names = ["nan", "0", "1", "inf", "-2", "1.0", "1e1", "NaN", "a"]
    for order in itertools.islice(itertools.permutations(names), 0, None, 5000):
        assert classes(list(order)) == ["-2", "0", "1", "1.0", "1e1", "NaN", "a", "inf", "nan"]


ORDER = """
from pathlib import Path
from nlptl.data.labels import check_labels
from nlptl.data.sources import read_table
print(check_labels({"train": read_table(Path("t.csv"), "")}, "label")[0])
"""


@pytest.mark.slow
def test_the_order_is_the_same_in_every_process(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"a,{v}\n" for v in ("nan", 1, "x", 0, "inf") * 3))
    found = set()
    for seed in ("1", "2", "3"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        done = command("-c", ORDER.replace("t.csv", str(path)))
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert found == {"['0', '1', 'inf', 'nan', 'x']\n"}


DAY = datetime.date(2021, 1, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["a"], ["b"]], r"no labels: 2 of 2 \(rows 0, 1\), some of type list"),
        ([{"a": 1}, {"a": 2}], "some of type dict"),
        ([DAY, DAY], "some of type date"),
        ([b"a", b"b"], "some of type bytes"),
        (["a", "", " "], r"missing labels, or numbers that are not whole: 2 of 3 \(rows 1, 2\)"),
        ([1.0, float("nan")], r"missing labels.*1 of 2 \(row 1\)"),
    ],
)
def test_values_that_are_no_labels_are_named_by_row_and_type(values, message):
    with pytest.raises(UserError, match=message):
        classes(values)
    with pytest.raises(UserError, match=message.replace("train", "test")):
        classes(["a", "b"], test=values)
    with pytest.raises(UserError, match="not lists of labels"):
        check_label_lists({"train": Dataset.from_dict({"label": [[v] for v in values]})}, "label")


def test_splits_of_empty_labels_count_as_hidden():
    tables = {"train": Dataset.from_dict({"label": ["a", "b"]})}
    for hidden in (["", ""], [None, None], [float("nan")] * 2, ["-1", "-1"], [-1, -1], [[], []]):
        test = Dataset.from_dict({"label": hidden})
        assert check_labels({**tables, "test": test}, "label") == (["a", "b"], ["test"])
        assert check_numbers(
            {"train": Dataset.from_dict({"label": ["0.5"]}), "t": test}, "label"
        ) == ["t"]
    assert distinct(test.select([1]), "label") == [[]]


def test_numbers_that_no_model_can_give_are_named():
    train = Dataset.from_dict({"label": [1e30, -1e31, 0.5, 1e300]})
    with pytest.raises(UserError, match=r"numbers beyond 1e\+30: 2 of 4 \(rows 1, 3\).* 32 bits"):
        check_numbers({"train": train}, "label")


def test_what_the_training_set_has_too_is_no_sign_of_hidden_labels():
    for train, test in (
        ([-1, 0, 1], [-1, -1]),
        (["-1", "1"], ["-1"]),
        ([-1.0, 1.0], [-1.0, None]),
        ([["a"], []], [[], []]),
    ):
        tables = {k: Dataset.from_dict({"label": v}) for k, v in (("train", train), ("t", test))}
        assert hidden_splits(tables, "label") == []
        hidden = {**tables, "t": Dataset.from_dict({"label": [None, None]})}
        assert hidden_splits(hidden, "label") == ["t"]
    assert classes([-1, 1], test=[-1]) == ["-1", "1"]
    with pytest.raises(
        UserError, match=r"test split's column 'label' holds missing labels.*1 of 2"
    ):
        classes([-1, 1], test=[-1, None])
    lists = {k: Dataset.from_dict({"x": v}) for k, v in (("train", [["a"], []]), ("t", [[]]))}
    assert check_label_lists(lists, "x") == (["a"], [])
    numbers = {k: Dataset.from_dict({"x": v}) for k, v in (("train", [-1.0, 0.5]), ("t", [-1.0]))}
    assert check_numbers(numbers, "x") == []


def prepared(tmp_path, **splits):
    """Prepare text classification from tables or lines of jsonl."""
    asked = dict.fromkeys(("dataset", "max_train_examples", "max_eval_examples"))
    asked |= {"column": (), "seed": 0, "class_weights": "none"}
    for name in ("train", "validation", "test"):
        asked[f"{name}_file"] = None
        if (table := splits.get(name)) is not None:
            path = tmp_path / (name if isinstance(table, Dataset) else f"{name}.jsonl")
            if isinstance(table, Dataset):
                table.save_to_disk(path)
            else:
                path.write_text("".join(json.dumps(row) + "\n" for row in table))
            asked[f"{name}_file"] = path
    return TextClassification.prepare(SimpleNamespace(**asked))


def rows(*labels, times=10):
    return [{"text": f"text {i}", "label": v} for i, v in enumerate(labels * times)]


def test_lists_of_one_label_are_that_label_and_of_several_are_refused(tmp_path):
    task, splits, record = prepared(
        tmp_path, train=rows(["x"], ["y"]), validation=rows("x", "y"), test=rows(["y"], ["x"])
    )
    assert task.labels == ("x", "y") and record["train_counts"] == {"x": 10, "y": 10}
    assert [task.gold(splits[s])[:2] for s in ("train", "validation", "test")] == [
        ["x", "y"],
        ["x", "y"],
        ["y", "x"],
    ]
    with pytest.raises(UserError, match=r"several labels: 1 of 21 \(row 20\)"):
        prepared(tmp_path, train=[*rows(["x"], ["y"]), *rows(["x", "y"], times=1)])
    with pytest.raises(UserError, match=r"missing labels.*1 of 21 \(row 20\)"):
        prepared(tmp_path, train=[*rows(["x"], ["y"]), *rows([], times=1)])
    for odd in ({"a": 1}, [{"a": 1}], [["x"]]):
        with pytest.raises(UserError, match="test split.*some of type|several labels"):
            prepared(tmp_path, train=rows("x", "y"), test=rows(odd, "x"))
    assert prepared(tmp_path, train=rows("x", ["y"]))[0].labels == ("x", "y")
    assert prepared(tmp_path, train=rows(["a"], [1], "1", True))[0].labels == ("1", "True", "a")


def test_names_of_numbers_hold_in_splits_that_lack_them_or_have_another_order(tmp_path):
    def named(names, *labels, several=False):
        feature = ClassLabel(names=names)
        made = Features({"text": Value("string"), "label": List(feature) if several else feature})
        given = [[v] for v in labels] if several else list(labels)
        return Dataset.from_dict({"text": ["a"] * len(labels), "label": given}, features=made)

    for several in (False, True):
        task, splits, _ = prepared(
            tmp_path / str(several),
            train=named(["no", "yes"], *[0, 1] * 5, several=several),
            validation=named(["yes", "no"], 0, 1),
            test=rows(0, 1),
        )
        assert task.labels == ("no", "yes")
        assert task.gold(splits["validation"]) == ["yes", "no"]
        assert task.gold(splits["test"])[:2] == ["no", "yes"]
    with pytest.raises(UserError, match="never has: 0, 2"):
        prepared(tmp_path / "x", train=named(["no", "yes"], 0, 1), test=rows(0, 2))


def test_a_split_without_a_column_of_labels_is_hidden_and_told(tmp_path):
    bare = [{"text": "a"}, {"text": "b"}]
    task, splits, record = prepared(tmp_path, train=rows("x", "y"), test=bare)
    assert record["hidden_labels"] == ["test"] and record["carved_from_train"]["test"] == 4
    assert len(splits["test"]) == 4 and set(task.gold(splits["test"])) == {"x", "y"}
    note = record["notes"][0]
    assert note.startswith(
        "test: the file has no column for the label, so it is left out, and 4 examples"
    )
    for marks in (("-1",), (None, -1)):
        _, _, record = prepared(tmp_path, train=rows("x", "y"), test=rows(*marks))
        assert record["hidden_labels"] == ["test"]
        assert record["notes"][0].startswith(
            "test: its label column holds only -1 or nothing, so it is left out, and 4 examples"
        )
    # Under another name it is there: that is a mistake.
    for other in ("Labels", "sentiment"):
        with pytest.raises(UserError, match="the test split has no such column"):
            prepared(tmp_path, train=rows("x", "y"), test=[{"text": "a", other: "x"}])


@pytest.mark.parametrize("values", [["a", "b", None], [0, 1, 2], [[1], [2], []]])
def test_many_selected_labels_are_those_of_the_rows(values):
    table = Dataset.from_dict({"label": values * 700}).select(range(2099, 500, -1))
    assert len(table) > 1000
    assert label_values(table, "label") == [values[row % 3] for row in range(2099, 500, -1)]
