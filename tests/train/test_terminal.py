"""Lines of a run: whole in a file, wrapped and coloured on a terminal, without what would steer it."""

import pytest

from nlptl.train import terminal
from nlptl.train.terminal import Block, laid_out, muted, say


@pytest.fixture
def screen(capsys, monkeypatch):
    """Standard output as a terminal of 40 columns; returns what was printed."""
    monkeypatch.setattr(terminal, "is_terminal", lambda stream: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # for rich, which looks for itself
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return lambda: capsys.readouterr().out


LONG = "note: 12 of the 200 examples of the test set are in the training set too."


def test_a_file_gets_whole_lines_without_colours(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    say(LONG)
    say(Block([("data", "x" * 10)]), "bold")
    assert capsys.readouterr().out == f"{LONG}\ndata  {'x' * 10}\n"


def test_a_terminal_gets_wrapped_lines_and_yellow_notes(screen):
    say(LONG)
    lines = screen().splitlines()
    assert len(lines) == 2 and all("\x1b[33m" in line for line in lines)
    assert lines[1].startswith("\x1b[33m  ")  # what goes on is indented


def test_colours_can_be_switched_off(screen, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    say(LONG)
    assert "\x1b" not in screen()


def test_a_name_of_the_data_cannot_steer_the_terminal(screen):
    say(Block([("classes", "bad\x1b[2Jname")]))
    said = screen()
    assert "\x1b[2J" not in said and "bad" in said


def test_the_texts_of_a_block_stand_in_one_column():
    rows = [
        ("data", "one two three four five"),
        ("", "six"),
        ("classes", "/a/path/that/stays/whole"),
    ]
    lines = [name + text for name, text in laid_out(rows, 30)]
    assert lines == [
        "data     one two three four",
        "         five",
        "         six",
        "classes  /a/path/that/stays/whole",
    ]


def test_an_empty_line_comes_before_a_block_apart(capsys):
    say(Block([("test", "0.5")], apart=True))
    with muted():
        say("nothing")
        say(Block([("nothing", "")]))
    assert capsys.readouterr().out == "\ntest  0.5\n"


def test_lines_are_at_most_so_long(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert terminal.width() == terminal.WIDEST
