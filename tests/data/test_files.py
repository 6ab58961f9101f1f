"""Files that are never seen half-written."""

import json
import math

import pytest

from nlptl.data.files import write_json, write_whole


def no_constants(name):
    raise AssertionError(f"{name} is not JSON")


def test_what_could_not_be_computed_is_null(tmp_path):
    path = write_json(
        tmp_path / "a.json", {"a": [1.5, math.nan], "b": {"c": (math.inf, "é")}, "d": None}
    )
    text = path.read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=no_constants)
    assert found == {"a": [1.5, None], "b": {"c": [None, "é"]}, "d": None}
    assert "é" in text


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "a.txt", "old")

    def full_disk(self, content):
        self.touch()
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
