"""The command lines of ``nlptl``'s commands: every mistake in words, in one message."""

import sys

import pytest

from nlptl.cli import main as home
from nlptl.cli.main import check_command, doctor, families, modes, report
from nlptl.cli.predict import predict
from nlptl.cli.values import check_call
from nlptl.errors import ConfigError, UserError


@pytest.mark.parametrize(
    ("command", "words", "parts"),
    [
        (
            report,
            ["runs/a", "--tiers", "quick"],
            ["--tiers: there is no", "Did you mean '--tier'?"],
        ),
        (report, ["runs/a", "--tier", "fast"], ["--tier is fast; expected one of quick, stand"]),
        (report, [], ["DIRECTORY is missing; expected nlptl report DIRECTORY."]),
        (report, ["--curve", "--tier"], ["--tier has no value", "DIRECTORY is missing"]),
        (report, ["a", "b"], ["'b' belongs to no flag; expected nlptl report DIRECTORY."]),
        (report, ["a", "--curve", "x"], ["'x' belongs to no flag; --curve takes none."]),
        (predict, ["a", "--text", "good", "film"], ["'film' belongs to no flag; --text takes one"]),
        (predict, ["a", "--batch-size", "3.5", "--txt", "x"], ["a whole number", "'--text'?"]),
        (modes, ["lora"], ["'lora' belongs to no flag; expected nlptl modes."]),
        (doctor, ["--fix"], ["--fix: there is no such flag."]),
    ],
)
def test_mistakes_of_a_command_line_come_in_one_message(command, words, parts):
    with pytest.raises(UserError) as caught:
        check_call(command, words)
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (report, ["runs/a", "--tier", "quick", "--no-curve"]),
        (report, ["--curve", "--tier=full", "runs/a"]),
        (predict, ["--text", "a good film", "runs/a"]),
        (predict, ["runs/a", "--field", "premise=a b", "hypothesis=c", "--batch_size", "8"]),
        (families, []),
        (families, ["bert", "gpt2", "--output", "page.md"]),
    ],
)
def test_what_the_parser_takes_is_taken(command, words):
    check_call(command, words)


def test_a_command_that_is_not_there_is_named_with_what_is_meant():
    known = ["run", "predict", "report"]
    check_command("report", known)
    with pytest.raises(ConfigError, match=r"nlptl predikt: .* Did you mean 'predict'\?"):
        check_command("predikt", known)
    with pytest.raises(ConfigError, match=r"It is a recipe: nlptl run few-shot\. There are: run,"):
        check_command("few_shot", known)


def test_the_program_ends_with_code_2_and_without_a_box(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nlptl", "report", "--tiers", "quick"])
    with pytest.raises(SystemExit) as ended:
        home.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "error: 2 things need your attention" in said
    assert "─" not in said
