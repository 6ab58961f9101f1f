"""Paths are names and no patterns; folders as the hub, Kaggle and save_to_disk leave them."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from nlptl.data.layouts import folder_splits
from nlptl.data.sources import TAGGED_READERS as TAGGED
from nlptl.data.sources import load_splits, read_table
from nlptl.errors import DataError
from nlptl.pretrain.corpus import parse_corpus, read_documents


def csv(path, word="a", rows=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text,label\n" + "".join(f"{word} {i},{i % 2}\n" for i in range(rows)))
    return path


@pytest.mark.parametrize(
    "name", ["t[1].csv", "a?b.csv", "all*.csv", "[x]/t.csv", "{a,b}.csv", "-.csv"]
)
def test_a_path_is_one_file_whatever_characters_it_has(tmp_path, name):
    for other in ("t1.csv", "axb.csv", "all_old.csv", "x/t.csv", "a.csv"):
        csv(tmp_path / other, "wrong")
    table = read_table(csv(tmp_path / name, "right"), "--train-file")
    assert table["text"][:] == ["right 0", "right 1"]
    assert load_splits(str(tmp_path / name), {})["train"]["text"][0] == "right 0"


def test_a_corpus_whose_name_ends_in_a_number_is_that_file(tmp_path):
    (tmp_path / "b.txt").write_text("wrong")
    (tmp_path / "[b].txt").write_text("right\n\nlines\u2028here\r\n")
    assert read_documents(str(tmp_path / "[b].txt"), "text")["text"][:] == [
        "right",
        "",
        "lines\u2028here",
    ]
    folder = tmp_path / "part:2"
    csv(folder / "t.csv")
    assert parse_corpus(str(folder)).weight == 1 and parse_corpus(f"{folder}:2").weight == 2


def test_a_file_changed_under_the_same_time_stamp_is_a_changed_file(tmp_path):
    path = csv(tmp_path / "t.csv", "old")
    before = os.stat(path)
    first = read_table(path, "")
    csv(path, "new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size
    changed = read_table(path, "")
    assert (first["text"][0], changed["text"][0]) == ("old 0", "new 0")
    assert first._fingerprint != changed._fingerprint
    copied = shutil.copy(path, tmp_path / "copy.csv")
    os.utime(copied, ns=(1, 1))
    assert read_table(tmp_path / "copy.csv", "")._fingerprint == changed._fingerprint


def test_a_damaged_table_in_the_cache_is_read_again(tmp_path):
    path = csv(tmp_path / "t.csv", "kept", 40)
    (kept,) = (Path(file["filename"]) for file in read_table(path, "").cache_files)
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-100], whole.replace(b"kept 7", b"kept 8")):
        assert damaged != whole
        kept.unlink()  # the bytes of an open table stay as they are
        kept.write_bytes(damaged)
        assert read_table(path, "")["text"][7] == "kept 7"
        assert kept.read_bytes() == whole
    kept.with_suffix(".json").unlink()
    assert read_table(path, "")["text"][7] == "kept 7"


def test_a_cache_that_cannot_be_written_is_blamed_and_not_the_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "file")
    with pytest.raises(DataError) as caught:
        read_table(csv(tmp_path / "t.csv"), "--train-file")
    assert f"The cache {tmp_path / 'file' / 'nlptl'} cannot be written (Not a directory)" in str(
        caught.value
    )
    assert "Set HF_HOME to a folder that can be written" in str(caught.value)


def shards(home, split, total, numbers):
    home.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        rows = {"text": [f"{split} {number}"], "label": [number % 2]}
        features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
        name = f"{split}-{number:05d}-of-{total:05d}.parquet"
        Dataset.from_dict(rows, features=features).to_parquet(home / name)


def test_a_folder_of_the_hub(tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/README.md").write_text("---\n---\n")
    shards(tmp_path / "hub/data", "train", 3, [2, 0, 1])
    shards(tmp_path / "hub/data", "test", 1, [0])
    for folder in ("hub", "hub/data"):
        splits = load_splits(str(tmp_path / folder), {})
        assert splits["train"]["text"][:] == ["train 0", "train 1", "train 2"]
        assert splits["train"].features["label"].names == ["no", "yes"]
        assert list(splits) == ["train", "test"]
    (tmp_path / "hub/data/train-00001-of-00003.parquet").unlink()
    with pytest.raises(
        DataError, match="the train split has 3 files by their names, and number 1 is missing"
    ):
        load_splits(str(tmp_path / "hub"), {})
    shards(tmp_path / "other/hub", "train", 1, [0])
    with pytest.raises(DataError, match=r"the folder has no train.*Did you mean .*/other/hub\?"):
        load_splits(str(tmp_path / "other"), {})


def test_other_folders(tmp_path):
    for number, (names, expected) in enumerate(
        [
            (
                ["Train.CSV", "dev.csv", "test.csv", "test_labels.csv"],
                ["train", "validation", "test"],
            ),
            (["reviews_train.csv", "reviews-test.csv", "notes.csv"], ["train", "test"]),
            (["train/b.csv", "train/a.csv", "val/c.csv"], ["train", "validation"]),
            (["reviews.csv"], ["train"]),
        ]
    ):
        for name in names:
            csv(tmp_path / str(number) / name, name)
        assert list(load_splits(str(tmp_path / str(number)), {})) == expected
    assert len(load_splits(str(tmp_path / "2"), {})["train"]) == 4
    csv(tmp_path / "0/train.jsonl")
    with pytest.raises(
        DataError, match=r"several files could be the train split: Train.CSV, train.jsonl"
    ):
        load_splits(str(tmp_path / "0"), {})
    csv(tmp_path / "1/new_train.csv")
    with pytest.raises(
        DataError, match=r"new_train.csv, reviews_train.csv. Say which: --train-file"
    ):
        load_splits(str(tmp_path / "1"), {})
    (tmp_path / "2/train/a.csv").write_text("words,label\na,b\n")
    with pytest.raises(DataError, match="different columns: label, text / label, words"):
        load_splits(str(tmp_path / "2"), {})
    csv(tmp_path / "3/more.csv")
    with pytest.raises(
        DataError, match=r"the folder has no train\{.csv.*it holds more.csv, reviews.csv"
    ):
        load_splits(str(tmp_path / "3"), {})
    with pytest.raises(DataError, match="is a folder; expected a file ending in .csv"):
        read_table(tmp_path / "3", "--train-file")
    for name, what in (
        ("t.csv.gz", "Unpack it first"),
        ("t.xlsx", "Export the table as CSV UTF-8"),
    ):
        with pytest.raises(DataError, match=what):
            read_table(csv(tmp_path / name), "--train-file")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["test.csv"],
            r"has no train\{.*test.csv is named after the test set, so it is not trained",
        ),
        (
            ["data/dev-00000-of-00001.jsonl"],
            "named after the validation set.*--train-file .*/data/dev-",
        ),
        (["reviewsTest.csv"], "named after the test set"),
        (["val_set.csv", "README.md"], "named after the validation set"),
        (["testset.csv"], "named after the test set"),
        (["train.csv.gz", "test.csv"], "train.csv.gz cannot be read as it is. Unpack it first"),
        (
            ["data/train.zip", "data/notes.csv"],
            "train.zip cannot be read as it is. Unpack it first",
        ),
        (["Train.xlsx", "dev.csv"], "Train.xlsx cannot be read as it is. Export the table"),
        (["dev.csv", "test.csv"], r"has no train\{.*it holds dev.csv, test.csv"),
    ],
)
def test_a_file_named_after_another_split_is_never_trained_on(tmp_path, names, message):
    for name in names:
        csv(tmp_path / name)
    with pytest.raises(DataError, match=message):
        load_splits(str(tmp_path), {})


@pytest.mark.parametrize("name", ["train_and_test.csv", "contest.csv", "latest_values.csv"])
def test_a_single_table_with_both_names_or_neither_is_trained_on_once(tmp_path, name):
    csv(tmp_path / name)
    assert folder_splits(tmp_path, "") == {"train": [tmp_path / name]}


def test_words_of_a_name_may_be_joined(tmp_path):
    for name in ("reviewsTrain.csv", "testset.csv", "devdata.csv"):
        csv(tmp_path / name)
    assert {k: v[0].name for k, v in folder_splits(tmp_path, "").items()} == {
        "train": "reviewsTrain.csv",
        "validation": "devdata.csv",
        "test": "testset.csv",
    }


def noted(path):
    notes = []
    found = list(load_splits(str(path), {}, notes=notes))
    return found, notes


def test_splits_that_are_left_out_are_told(tmp_path):
    for name in ("train.csv", "validation_matched.csv", "test.csv", "notes.csv", "train.csv.gz"):
        csv(tmp_path / name)
    found, (note,) = noted(tmp_path)
    assert found == ["train", "test"]
    assert (
        f"--dataset {tmp_path}: validation_matched.csv is left out; what was found is train" in note
    )
    assert "given by --validation-file or --test-file" in note
    (tmp_path / "validation_matched.csv").rename(tmp_path / "dev.csv")
    assert noted(tmp_path) == (["train", "validation", "test"], [])
    (tmp_path / "test.csv").rename(tmp_path / "test.csv.zip")
    assert "test.csv.zip is left out" in noted(tmp_path)[1][0]
    table = Dataset.from_dict({"text": ["a"], "label": [0]})
    saved = DatasetDict({"train": table, "test_unseen": table, "extra": table})
    saved.save_to_disk(tmp_path / "saved")
    found, (note,) = noted(tmp_path / "saved")
    assert found == ["train"] and "test_unseen, extra are left out" in note
    assert noted(tmp_path / "saved/train") == (["train"], [])


def test_what_save_to_disk_leaves(tmp_path):
    table = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    DatasetDict({"train": table, "dev": table, "extra": table}).save_to_disk(tmp_path / "all")
    splits = load_splits(str(tmp_path / "all"), {})
    assert list(splits) == ["train", "validation"] and splits["train"]["text"][:] == ["a", "b"]
    assert list(load_splits(str(tmp_path / "all/dev"), {})) == ["train"]
    assert len(read_table(tmp_path / "all/train", "--train-file")) == 2
    again = read_table(tmp_path / "all/train", "")._fingerprint
    assert again == splits["train"]._fingerprint
    data = next((tmp_path / "all/train").glob("*.arrow"))
    content = data.read_bytes()
    data.write_bytes(content[:-200])
    with pytest.raises(
        DataError, match="the data set in this folder cannot be read .*Save it again"
    ):
        load_splits(str(tmp_path / "all"), {})
    data.write_bytes(content)
    state = json.loads((tmp_path / "all/train/state.json").read_text())
    state["_data_files"] = [{"filename": "../dev/data-00000-of-00001.arrow"}]
    (tmp_path / "all/train/state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="names a file outside its folder"):
        load_splits(str(tmp_path / "all"), {})
    shutil.rmtree(tmp_path / "all/dev")
    with pytest.raises(DataError, match=r"dataset_dict.json names dev, which is not there"):
        load_splits(str(tmp_path / "all"), {})


def test_parquet_of_pandas_and_damaged_parquet(tmp_path):
    text = pyarrow.array(["a", "b"])
    columns = {
        "text": text,
        "label": pyarrow.array(["no", "yes"]).dictionary_encode(),
        "odd": pyarrow.array([[("k", 1)], []], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
    }
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    found = read_table(path, "--train-file").select_columns(["text", "label"])
    assert found.to_dict() == {"text": ["a", "b"], "label": ["no", "yes"]}
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(DataError, match="could not be read as parquet"):
        read_table(path, "--train-file")
    twice = pyarrow.Table.from_arrays([text, text, text], names=["text", "n", "text"])
    pyarrow.parquet.write_table(twice, path)
    with pytest.raises(DataError, match="the table has the column text more than once. Give each"):
        read_table(path, "--train-file")
    bad = pyarrow.array([b"\xff", b"b"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": bad}), path)
    with pytest.raises(DataError, match=r"could not be read as parquet.*UTF8"):
        read_table(path, "--train-file")
    pyarrow.parquet.write_table(pyarrow.table({"text": text[:0]}), path)
    with pytest.raises(DataError, match="has columns and no rows"):
        read_table(path, "--train-file")


def test_a_folder_of_tags_may_have_text_files(tmp_path):
    """``train.txt`` is tags where a task reads them, a table goes before it, and other tasks do not see it."""
    tags = "Ada\tB-PER\nsings\tO\n\n"
    for name in ("train.txt", "valid.txt", "test.txt", "README.md"):
        (tmp_path / name).write_text(tags * 2)
    splits = load_splits(
        str(tmp_path), {}, read=partial(read_table, readers=TAGGED), readers=TAGGED
    )
    assert sorted(splits) == ["test", "train", "validation"]
    assert splits["train"]["tokens"][0] == ["Ada", "sings"]
    with pytest.raises(DataError, match=r"has no train{.csv,.*it holds README.md, test.txt"):
        load_splits(str(tmp_path), {})
    assert {k: v[0].name for k, v in folder_splits(tmp_path, "", TAGGED).items()} == {
        "train": "train.txt",
        "validation": "valid.txt",
        "test": "test.txt",
    }
    csv(tmp_path / "train.csv")
    assert folder_splits(tmp_path, "", TAGGED)["train"] == [tmp_path / "train.csv"]
    wnut = tmp_path / "wnut"
    wnut.mkdir()
    for name in ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"):
        (wnut / name).write_text(tags)
    assert sorted(folder_splits(wnut, "", TAGGED)) == ["test", "train", "validation"]
