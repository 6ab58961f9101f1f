"""Help: every flag once, in a group, with what it takes and its default in words."""

import ast
import dataclasses
from pathlib import Path

import pytest
from launching import ROOT

from nlptl.cli import config, main
from nlptl.cli.config import (
    CompareConfig,
    PretrainConfig,
    ReportedConfig,
    SentimentConfig,
    TaskConfig,
    with_task,
)
from nlptl.cli.help import (
    GROUPS,
    OTHERS,
    Flag,
    as_typed,
    field_texts,
    flags_of,
    flags_of_function,
    grouped,
    help_lines,
)
from nlptl.tasks.options import BUILTIN_OPTIONS, TaskOptions

KINDS = [
    *(SentimentConfig, CompareConfig, PretrainConfig),
    *(with_task(TaskConfig, name) for name in BUILTIN_OPTIONS),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_flag_is_shown_once_with_a_text_and_in_a_known_group(kind):
    groups = grouped(flags_of(kind))
    shown = [flag.name for each in groups.values() for flag in each]
    assert sorted(shown) == sorted([*(f.name for f in dataclasses.fields(kind)), "config", "help"])
    assert all(flag.text.endswith((".", "…")) for each in groups.values() for flag in each)


def test_a_flag_that_no_group_names_is_of_its_task_or_of_the_training():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options(TaskOptions):
        edge: float = 0.5

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Tuned(ReportedConfig):
        sharpness: float = 0.0

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Own(Options, Tuned):
        pass

    groups = {title: [flag.name for flag in each] for title, each in grouped(flags_of(Own)).items()}
    assert "edge" in groups[OTHERS] and "sharpness" in groups["training"]


def test_the_groups_name_a_flag_once():
    names = [name for each in GROUPS.values() for name in each]
    assert len(names) == len({*names})


def test_a_text_of_a_subclass_comes_before_its_base_s():
    assert "Tokens per window" in field_texts(with_task(TaskConfig, "qa"))["max_length"]
    assert "Most tokens per text" in field_texts(SentimentConfig)["max_length"]


def test_types_and_defaults_are_in_words():
    flags = {flag.name: flag for flag in flags_of(SentimentConfig)}
    assert flags["learning_rate"].spelled == "--learning-rate NUMBER|find"
    assert flags["lora_targets"].spelled == "--lora-targets TEXT ..."
    assert flags["resume"].spelled == "--resume" and flags["resume"].default == ""
    assert flags["warmup"].default == "0.1" and flags["l2_sp"].default == "0"
    assert flags["epochs"].default == "" and flags["train_file"].takes == "PATH"
    assert {f.name: f.default for f in flags_of(CompareConfig)}["method"] == "finetune"


def test_lines_fit_80_columns_and_the_texts_are_in_one_column(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = list(help_lines(grouped(flags_of(SentimentConfig)), "nlptl run sentiment", "What."))
    assert max(map(len, lines)) <= 80
    at = lines.index("  --train-file PATH       Training data: a csv, tsv, jsonl, json or parquet")
    assert lines[at + 1] == " " * 26 + "file."


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.py")), ids=lambda p: p.stem)
def test_what_a_recipe_does_fits_80_columns_and_its_commands_can_be_copied(path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    about = ast.get_docstring(ast.parse(path.read_text()))
    shown = "\n".join(help_lines({}, f"nlptl run {path.stem} [flags]", about))
    assert max(map(len, shown.splitlines())) <= 80
    typed = as_typed(about, "nlptl run")
    _, _, below = shown.partition("[flags]")
    assert below.replace("\\\n", " ").split() == typed.split()


def test_flags_of_a_function_come_from_its_docstring():
    def use(directory: Path, /, *, size: int = 32, many: tuple[str, ...] = ()) -> None:
        """Use it.

        Args:
            directory: Where it
                lies.
            size: How many.
            many: Names.
        """

    positional, flags = flags_of_function(use)
    assert positional == [Flag("directory", "PATH", "Where it lies.")]
    assert flags[:2] == [
        Flag("size", "NUMBER", "How many.", "32"),
        Flag("many", "TEXT ...", "Names."),
    ]


@pytest.mark.parametrize("name", ["predict", "report", "cache", "families", "doctor"])
def test_each_command_has_help(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["nlptl", name, "--help"])
    main.main()
    said = capsys.readouterr().out
    assert said.startswith(f"usage: nlptl {name}") and "--help" in said and "Args:" not in said


def test_nlptl_alone_lists_the_commands(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["nlptl"])
    main.main()
    said = capsys.readouterr().out
    commands = [one.__name__ for group in main.COMMANDS.values() for one in group]
    assert all(f"\n  {name} " in said for name in commands) and "``" not in said


def test_help_wins_over_mistakes(capsys):
    with pytest.raises(SystemExit) as caught:
        config.parse_args(SentimentConfig, ["--epochs", "x", "--help"])
    assert caught.value.code == 0 and "usage:" in capsys.readouterr().out
