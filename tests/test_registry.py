"""Names to things: built in, registered, of files and of other packages; and what a thing computes."""

import sys
from importlib.metadata import EntryPoint

import pytest

from nlptl import registry as module
from nlptl.data.code_hash import code_hash
from nlptl.errors import ConfigError
from nlptl.registry import Registry


def made():
    return Registry("task", "nlptl.tests", {"counter": "collections:Counter"}, {"count": "counter"})


def test_names_aliases_and_registered_things():
    from collections import Counter

    things = made()
    assert things.get("counter") is things.get("count") is Counter
    things.register("mine", 5)
    assert things.get("mine") == 5
    assert things.names() == ["counter", "mine"]
    with pytest.raises(
        ConfigError, match=r"--task conter: there is no such task. Did you mean 'counter'"
    ):
        things.get("conter", "--task")
    with pytest.raises(ConfigError, match="Did you mean 'count'"):
        things.get("coun", "--task")


def test_a_class_of_a_file_is_imported_once(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("class Mine:\n    pass\n")
    things = made()
    assert things.get(f"{file}:Mine") is made().get(f"{file}:Mine")
    assert things.get(f"{file}:Mine").__name__ == "Mine" and things.names() == ["counter"]
    with pytest.raises(ConfigError, match="has no Other; it has Mine"):
        things.get(f"{file}:Other", "--task")
    with pytest.raises(ConfigError, match="there is no file"):
        things.get(f"{tmp_path / 'none.py'}:Mine", "--task")
    (tmp_path / "bad.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ConfigError, match="cannot be imported .*nothing_of_this_name"):
        things.get(f"{tmp_path / 'bad.py'}:Mine", "--task")


def test_entry_points_of_other_packages(monkeypatch, tmp_path):
    (tmp_path / "elsewhere_of_tests.py").write_text("thing = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint("theirs", "elsewhere_of_tests:thing", "nlptl.tests"),
        EntryPoint("lost", "package_that_is_gone.part:thing", "nlptl.tests"),
    ]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    things = made()
    assert things.names() == ["counter", "theirs", "lost"]
    assert "elsewhere_of_tests" not in sys.modules  # only when it is asked for
    assert things.get("theirs") == 7
    with pytest.raises(
        ConfigError, match=r"its module package_that_is_gone.part cannot be imported"
    ):
        things.get("lost", "--task")


def test_a_hash_of_code_sees_constants_closures_and_what_is_called():
    def make(value):
        class Mine:
            def loss(self):
                return value

        return Mine

    assert code_hash(make(1)) == code_hash(make(1)) != code_hash(make(2))

    def helper():
        return 1

    def outer(use):
        def inner():
            return use()

        return inner

    def other():
        return 2

    assert code_hash(outer(helper)) != code_hash(outer(other))

    def documented():
        """Say one thing."""
        return 1

    def documented_otherwise():
        """Say another thing."""
        return 1

    assert code_hash(documented) == code_hash(documented_otherwise)
