"""Files that are never seen half-written."""

import json
import math

import pytest

from nlptl.data.files import read_kept, write_json, write_whole
from nlptl.errors import ConfigError


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


@pytest.mark.parametrize("content", [b"", b'{"new": [', b"[]", b'{"old": 1}', b"\xff"])
def test_what_an_earlier_session_left_is_read_or_refused_in_words(tmp_path, content):
    write_json(tmp_path / "a.json", {"new": [1]})
    assert read_kept(tmp_path / "a.json", "new") == {"new": [1]}
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ConfigError, match="a.json is damaged"):
        read_kept(tmp_path / "a.json", "new")
