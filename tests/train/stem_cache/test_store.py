"""Entries on disk while several runs write, read and remove them."""

import json
import os
import time

import numpy as np
import pytest

from nlptl.errors import ConfigError, RunError
from nlptl.train.setup import new_accelerator
from nlptl.train.stem_cache import directory
from nlptl.train.stem_cache.store import ABANDONED, Draft, Entry

ROWS = np.array([2, 3])


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path))
    return tmp_path / "prefix"


def entry(key="a"):
    return Entry("w", key, {"states": 4}, ROWS, "float32", "2 texts")


def written(key="a", value=1.0):
    draft = Draft(entry(key), new_accelerator())
    for index, rows in enumerate(ROWS):
        draft.arrays["states"].put(index, np.full((rows, 4), value, "float32"))
    draft.arrays["states"].flush()
    return draft


def test_two_runs_may_write_the_same_entry(own_folder):
    """Neither touches the other's unfinished file, and whoever comes last takes what is there."""
    slow, fast = written(), written()
    first = fast.publish()["states"].flat[:].copy()
    second = slow.publish()["states"].flat[:].copy()
    assert (first == 1).all() and (second == 1).all()
    assert [path.name for path in own_folder.iterdir()] == ["a-float32"]


def test_a_damaged_entry_gives_way(own_folder):
    written(value=1.0).publish()
    (own_folder / "a-float32/states").write_bytes(bytes(80))
    assert entry().open("disk") is None
    opened = written(value=2.0).publish()
    assert (opened["states"].flat == 2).all()


def test_a_draft_that_was_taken_away_says_so():
    draft = written()
    assert [found.path for found in directory.shrink(0)] == [draft.path]
    with pytest.raises(RunError, match="was removed while it was written"):
        draft.publish()


def test_room_is_made_for_whole_entries_by_whole_entries(own_folder):
    """Another run's young draft neither counts nor goes; an abandoned one always goes."""
    young, old = written("young"), written("old")
    os.utime(old.path, (time.time() - 2 * ABANDONED,) * 2)
    for key in "bc":
        written(key).publish()
    assert not old.path.exists() and young.path.exists()
    whole = [found for found in directory.entries() if found.path != young.path]
    size = sum(found.bytes for found in whole)
    assert not directory.shrink(size, sparing=ABANDONED)
    assert len(directory.shrink(size - 1, sparing=ABANDONED)) == 1
    assert len(list(own_folder.iterdir())) == 2 and young.path.exists()


def test_entries_that_vanish_are_not_there(own_folder, monkeypatch):
    written().publish()
    record = directory._record

    def vanishing(path):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
        return record(path)

    monkeypatch.setattr(directory, "_record", vanishing)
    assert directory.entries() == []


def test_the_record_names_every_file(own_folder):
    written().publish()
    found = json.loads((own_folder / "a-float32/meta.json").read_text())
    assert list(found["checksums"]) == ["states"] and found["about"] == "2 texts"


def test_a_limit_that_is_no_number(monkeypatch):
    monkeypatch.setenv("NLPTL_CACHE_GB", "20GB")
    with pytest.raises(ConfigError, match="NLPTL_CACHE_GB is '20GB'; expected a number"):
        directory.limit()
