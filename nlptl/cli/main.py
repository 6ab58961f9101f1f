"""The command ``nlptl``: train on any task, and use, report on and tidy up after finished runs."""

import inspect
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import tyro

from nlptl.cli.config import HELP, TaskConfig, parse_args
from nlptl.cli.ending import exit_codes
from nlptl.errors import ConfigError, Problems, listed, shortened
from nlptl.train.terminal import NAMES, painted, say, width


def train() -> None:
    """Fine-tune on any task; nlptl train --task NAME --help lists the task's flags.

    NAME is a registered task, or path/to/file.py:Class. The other flags are those of recipes/sentiment.py.
    """


def _train(argv: Sequence[str]) -> None:
    about = f"{train.__doc__}".strip().replace("\n    ", "\n")
    config = parse_args(TaskConfig, argv, description=about)
    from nlptl.cli.train import each_seed, prepare, train_seed

    each_seed(prepare(config, config.task), train_seed)


def predict(
    directory: Annotated[str, tyro.conf.Positional],
    /,
    *,
    text: str | None = None,
    question: str | None = None,
    context: str | None = None,
    field: tuple[str, ...] = (),
    file: Path | None = None,
    output: Path | None = None,
    text_column: str | None = None,
    question_column: str | None = None,
    context_column: str | None = None,
    column: tuple[str, ...] = (),
    task: str | None = None,
    batch_size: int = 32,
) -> None:
    """Label texts, answer questions, or do whatever a finished run's task is; print one JSON object per line.

    Args:
        directory: Directory of a run or its model/, a bundled name or a hub name.
        text: Text to label.
        question: Question to answer; needs --context.
        context: Passage to answer from.
        field: Fields of any other task, as name=value; the words of a sentence are separated by spaces.
        file: File with many examples: csv, tsv, jsonl, json, parquet, SQuAD json, or txt (one text per line).
        output: File for the output; by default it goes to the terminal.
        text_column: Column of the texts, if it does not have a usual name.
        question_column: Column of the questions, if it does not have a usual name.
        context_column: Column of the passages, if it does not have a usual name.
        column: Columns of any other fields, as name=column.
        task: Task instead of the one that the run names: a registered name, or path/to/file.py:Class.
        batch_size: Texts or windows per batch.
    """
    single = {"text": text, "question": question, "context": context}
    given = _check(
        {k: v for k, v in single.items() if v is not None}, field, file, output, batch_size
    )
    from nlptl.data.columns import asked_columns
    from nlptl.runs.predictor import load_predictor

    predictor = load_predictor(directory, task=task, batch_size=batch_size)
    names = predictor.task.fields
    examples: Iterable[Any]
    if file is not None:
        columns = [
            ("text", text_column),
            ("question", question_column),
            ("context", context_column),
        ]
        known = [f"{name}={own}" for name, own in columns if own is not None]
        asked = asked_columns(SimpleNamespace(column=(*known, *column)), names)
        examples = _rows(file, asked)
    else:
        if set(given) != set(names):
            raise ConfigError(
                f"{directory} takes {' and '.join(names)}; given were {listed(sorted(given))}. Give "
                f"--field {' '.join(f'{name}=…' for name in names)}, or --file."
            )
        examples = [given]
    if isinstance(examples, Sized):
        predictor.check(examples)
    total = len(examples) if isinstance(examples, Sized) else None
    _write(predictor.stream(examples), output, total)


def _check(
    single: Mapping[str, str],
    field: Sequence[str],
    file: Path | None,
    output: Path | None,
    batch_size: int,
) -> dict[str, str]:
    """Check the flags of a prediction, and return the fields that they give, by name."""
    problems, given = Problems(), dict(single)
    for entry in field:
        name, equals, value = entry.partition("=")
        if not (name and equals):
            problems.add(f"--field {shortened(entry)}: expected name=value.")
        given[name] = value
    kinds = ("text" in single, bool({"question", "context"} & {*single}), bool(field), bool(file))
    if sum(kinds) != 1:
        problems.add("Give one of --text, --question with --context, --field, or --file.")
    if not field and ("question" in single) != ("context" in single):
        problems.add("--question and --context go together.")
    if file is not None and not file.is_file():
        problems.add(f"--file {file}: there is no such file.")
    if output is not None and output.exists():
        problems.add(f"--output {output} exists, and would be overwritten. Choose another name.")
    if output is not None and not output.parent.is_dir():
        problems.add(f"--output {output}: there is no folder {output.parent}. Make it first.")
    if batch_size < 1:
        problems.add(f"--batch-size is {batch_size}; expected a number above 0.")
    problems.raise_if_any()
    return given


def _rows(file: Path, asked: dict[str, str | None]) -> Iterable[Any]:
    from nlptl.data.columns import find_columns
    from nlptl.data.sources import read_table
    from nlptl.data.squad import read_questions

    if file.suffix.lower() == ".txt":
        if len(asked) > 1:
            raise ConfigError(
                f"--file {file}: a txt holds one field per line; a table with {listed(list(asked))} is needed."
            )
        return _lines(file)
    read = partial(read_questions, answers=False) if "context" in asked else read_table
    table = read(file, "--file")
    columns = find_columns({"train": table}, asked, SimpleNamespace())
    renamed = {column: name for name, column in columns.items() if column != name}
    return table.select_columns(list(columns.values())).rename_columns(renamed)


def _lines(file: Path) -> Iterator[str]:
    from nlptl.data.bytes import check_kind, check_text

    check_kind(file, f"--file {file}")
    check_text(file, f"--file {file}")  # now, and not when the first line is asked for
    return _filled(file)


def _filled(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig") as lines:
        yield from (line.strip() for line in lines if line.strip())


def _write(records: Iterator[dict[str, Any]], output: Path | None, total: int | None) -> None:
    from nlptl.data.progress import counted

    sink = nullcontext(sys.stdout) if output is None else output.open("w", encoding="utf-8")
    try:
        with sink as file:
            for record in counted(records, "predicting", total, "examples"):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    finally:
        if output is not None and not output.stat().st_size:  # it would block the next try
            output.unlink()


def cache(*, clear: bool = False, keep_gb: float | None = None) -> None:
    """Show the cached states of frozen blocks (--cache), or remove them.

    They are kept in $NLPTL_CACHE, by default ~/.cache/nlptl, and take at most $NLPTL_CACHE_GB gigabytes, by
    default 20; the least recently used are removed first.

    Args:
        clear: Remove all cached states.
        keep_gb: Gigabytes to keep at most; the least recently used states are removed first.
    """
    from nlptl.train.stem_cache import directory

    if clear or keep_gb is not None:
        if keep_gb is not None and keep_gb < 0:
            raise ConfigError(f"--keep-gb is {keep_gb}; expected 0 or more.")
        removed = directory.shrink(0 if clear else 1e9 * (keep_gb or 0))
        size = sum(entry.bytes for entry in removed)
        say(f"removed {len(removed)} entries, {size / 1e6:.1f} MB")
    there = directory.entries()
    for entry in there:
        day = datetime.fromtimestamp(entry.used).isoformat(" ", "minutes")
        say(f"{entry.bytes / 1e6:10.1f} MB  used {day}  {entry.path.name[:12]}  {entry.about}")
    total = sum(entry.bytes for entry in there)
    say(
        f"{directory.folder()}: {len(there)} entries, {total / 1e6:.1f} MB of at most "
        f"{directory.limit() / 1e6:.0f} MB"
    )


def report(
    directory: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    tier: Literal["quick", "standard", "full"] = "standard",
    curve: bool = False,
    upstream_text: str | None = None,
) -> None:
    """Report what the pretraining of a finished run was worth; write report.json, .md and .html beside it.

    Args:
        directory: Directory of the run.
        tier: Number of seeds per arm: quick 3, standard 6, full 10.
        curve: Also train on smaller sets, which show how many labels the pretraining is worth.
        upstream_text: Held-out text to measure forgetting on: a file, a folder or a hub name.
    """
    from nlptl.cli.report import report_directory

    report_directory(directory, tier=tier, curve=curve, upstream_text=upstream_text)


def families(
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    *,
    output: Path | None = None,
) -> None:
    """Check which architectures of transformers can be frozen, cached and adapted, on tiny random models.

    All of them take several minutes on one core.

    Args:
        names: Architectures by their model_type, such as bert or deberta-v2; all by default.
        output: File for the whole matrix as a page in Markdown.
    """
    from nlptl.cli.families import check_families

    check_families(names, output)


def run() -> None:
    """Run a recipe, in one process or in several; nlptl run lists the recipes."""


def modes() -> None:
    """List what --mode takes: what trains, when to take it, default rates and epochs."""
    from nlptl.modes.listing import describe_modes

    say(describe_modes())


def models() -> None:
    """List the bundled checkpoints, and say what else --model takes."""
    from nlptl.cli.listing import describe_models

    say(describe_models())


def tasks() -> None:
    """List the registered tasks."""
    from nlptl.cli.listing import describe_tasks

    say(describe_tasks())


def doctor() -> None:
    """Examine this machine: versions, devices, precisions, memory, disk, hub; say what is slow, and why."""
    from nlptl.cli.doctor import examine

    say(examine())


#: Commands by what one wants to do.
COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "train": (run, train),
    "use": (predict, report),
    "look": (modes, models, families, tasks),
    "machine": (doctor, cache),
}


def overview() -> str:
    """List the commands, each with the first line of its docstring."""
    lines = [
        f"{painted('usage:', NAMES)} nlptl COMMAND [flags]",
        "",
        "Train on any task; use, report on and tidy up after finished runs.",
        "nlptl COMMAND --help lists a command's flags; nlptl --version prints the version.",
    ]
    for title, commands in COMMANDS.items():
        lines += ["", painted(title, NAMES)]
        for command in commands:
            about = f"{command.__doc__}".strip().splitlines()[0]
            first, *more = textwrap.wrap(about, width() - 14)
            lines.append(f"  {painted(f'{command.__name__:<12}', 'bold')}{first}")
            lines += [" " * 14 + line for line in more]
    return "\n".join(lines)


def help_of(command: Callable[..., None]) -> None:
    """Print the help of a command of this file."""
    from nlptl.cli.help import flags_of_function, print_help

    positional, flags = flags_of_function(command)
    about = f"{inspect.getdoc(command)}".split("Args:")[0].replace("``", "").strip()
    usage = [f"nlptl {command.__name__}", *(each.name.upper() for each in positional), "[flags]"]
    for each in positional:
        about += f"\n\n{each.name.upper()}: {each.text}"
    print_help({"flags": flags}, " ".join(usage), about)


def main() -> None:
    """Run ``nlptl``."""
    with exit_codes():
        command, words = sys.argv[1:2], sys.argv[2:]
        if command == ["train"]:  # its flags depend on the task
            return _train(words)
        if command == ["run"]:  # its flags depend on the recipe
            from nlptl.cli import run as running

            return running.run(words)
        if command == ["--version"]:
            from nlptl.cli.doctor import own_version

            return say(f"nlptl {own_version()}")
        if not command or HELP & {*command}:
            return print(overview())  # noqa: T201
        commands = {one.__name__: one for group in COMMANDS.values() for one in group}
        if command[0] in commands and HELP & {*words}:
            return help_of(commands[command[0]])
        tyro.extras.subcommand_cli_from_dict(commands, prog="nlptl")
