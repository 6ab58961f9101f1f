"""Bars: on a terminal only, for slow work only, and gone when the work is done."""

import time

import pytest

from nlptl.data import progress
from nlptl.data.progress import bar, counted, doing, hidden, waiting


@pytest.fixture
def screen(capsys, monkeypatch):
    """Standard error as a terminal, on which bars come at once; returns what was drawn."""
    monkeypatch.setattr(progress, "is_terminal", lambda stream: True)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    return lambda: capsys.readouterr().err


def test_a_bar_says_what_is_done_and_of_what(screen):
    with doing("run 2 of 6"), doing("validation"):
        shown = list(counted(range(3), "scoring", unit="rows"))
    assert shown == [0, 1, 2]
    drawn = screen()
    assert "run 2 of 6 · validation · scoring" in drawn and "/3 rows" in drawn
    assert drawn.endswith("\r")  # nothing stays


def test_quick_work_has_no_bar(screen, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 60.0)
    assert list(counted(range(3), "scoring")) == [0, 1, 2]
    with waiting("loading"):
        pass
    assert screen() == ""


def test_a_file_gets_no_bar(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    assert list(counted(range(3), "scoring")) == [0, 1, 2]
    with waiting("loading"):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_only_the_first_process_draws(screen, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert bar(3, "scoring").disable
    monkeypatch.setenv("RANK", "0")
    with hidden():
        assert bar(3, "scoring").disable
    shown = bar(3, "scoring")
    assert not shown.disable
    shown.close()


def test_work_without_steps_counts_its_seconds(screen, monkeypatch):
    monkeypatch.setattr(progress, "TICK", 0.01)
    with waiting("loading"):
        time.sleep(0.1)
    assert "loading … 00:00" in screen()


def test_a_line_that_waits_goes_when_the_work_fails(screen, monkeypatch):
    monkeypatch.setattr(progress, "TICK", 0.01)
    with pytest.raises(ValueError, match="no"), waiting("loading"):
        raise ValueError("no")
    screen()
    time.sleep(0.05)
    assert screen() == ""
