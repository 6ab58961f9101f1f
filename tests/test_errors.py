"""Messages stay short, however long the value is that they echo."""

from pathlib import Path

import pytest

from nlptl.cli.config import SentimentConfig, load_yaml
from nlptl.cli.values import check_words
from nlptl.errors import (
    LONGEST,
    MOST,
    ConfigError,
    DataError,
    Mistakes,
    Problems,
    RunError,
    UserError,
    listed,
    many,
    shortened,
    suggest,
)
from nlptl.modes.base import parse_mode

LONG = "x" * 10**6


def test_a_text_loses_its_middle():
    assert shortened("abc", 3) == "abc"
    assert shortened("abcdefghij", 5) == "abc … ij"
    assert listed(["a", LONG, "b"]).count("x") == 200
    assert suggest(LONG, ["full"]) == ""


def test_a_message_keeps_its_beginning_and_its_remedy():
    message = str(DataError(f"--train-file {LONG} is wrong. Choose another."))
    assert len(message) == LONGEST + 3
    assert message.startswith("--train-file xxx") and message.endswith("is wrong. Choose another.")
    assert str(UserError("as it is")) == "as it is" and str(ConfigError()) == ""


def test_many_mistakes_are_counted_and_the_first_ones_spelled_out():
    problems = Problems()
    for number in range(200):
        problems.add(f"{number} {LONG}")
    with pytest.raises(Mistakes) as caught:
        problems.raise_if_any()
    assert str(caught.value).startswith("200 things need your attention:\n1. 0 xx")
    assert str(caught.value).endswith("… and 150 more of these.")
    assert len(str(caught.value)) < (MOST + 1) * (LONGEST + 20)


@pytest.mark.parametrize(
    "argv", [["--model", LONG, LONG], [f"--{LONG}"], ["--seed", LONG], ["--schedule", LONG], [LONG]]
)
def test_a_command_line_is_echoed_shortened(argv):
    with pytest.raises(UserError) as caught:
        check_words(SentimentConfig, argv)
    assert len(str(caught.value)) < 500


def test_a_mode_and_a_file_of_flags_are_echoed_shortened(tmp_path):
    for odd in (LONG, f"freeze-lower-{LONG}", f"chain:{LONG},{LONG}"):
        with pytest.raises(UserError) as caught:
            parse_mode(odd)
        assert len(str(caught.value)) <= LONGEST + 3
    path = tmp_path / "c.yaml"
    path.write_text(f"seed: {LONG}\n{LONG[:5000]}: 1\n")
    with pytest.raises(UserError) as caught:
        load_yaml(SentimentConfig, path)
    assert len(str(caught.value)) < 3000


def test_a_notebook_shows_the_message_and_no_lines_of_nlptl():
    """IPython calls this method of an exception, and prints the lines that it returns in place of its own."""
    found = Mistakes(["--epochs is 0.", "--mode heads: there is no such mode."])
    assert found._render_traceback_() == [f"Mistakes: {found}"]
    assert not hasattr(RunError("ours"), "_render_traceback_")


def test_a_name_that_no_file_can_have_is_a_mistake_and_other_errors_are_none():
    problems = Problems()
    with problems.collect():
        Path(LONG).stat()
    (message,) = problems.messages
    assert "found one of 1,000,000 characters, which no file can have" in message
    assert len(message) < 400 and isinstance(problems.errors[0], ConfigError)
    with pytest.raises(FileNotFoundError), problems.collect():
        Path("no/such/file").stat()
    assert len(problems.errors) == 1


def test_a_number_of_things_agrees_with_its_name():
    assert many(1, "core") == "1 core" and many(0, "core") == "0 cores"
    assert many(1200, "training text") == "1,200 training texts"
    assert many(2, "copy") == "2 copies" and many(2, "day") == "2 days"
    assert many(2, "class") == "2 classes" and many(2, "batch") == "2 batches"
