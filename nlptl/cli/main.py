"""The command ``nlptl``: train on any task, and use, report on and tidy up after finished runs."""

import inspect
import sys
import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nlptl.cli.config import HELP, TaskConfig, parse_args
from nlptl.cli.ending import exit_codes
from nlptl.cli.predict import predict
from nlptl.cli.values import check_call, check_written
from nlptl.errors import ConfigError, listed, many, shortened, suggest
from nlptl.train.terminal import NAMES, painted, say, width


def train() -> None:
    """Fine-tune on any task; nlptl train --task NAME --help lists the task's flags.

    NAME is a registered task, or path/to/file.py:Class. The other flags are those of nlptl run sentiment.
    """


def _train(argv: Sequence[str]) -> None:
    about = f"{train.__doc__}".strip().replace("\n    ", "\n")
    config = parse_args(TaskConfig, argv, description=about)
    from nlptl.cli.train import each_seed, prepare, train_seed

    each_seed(prepare(config, config.task), train_seed)


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
        say(f"removed {many(len(removed), 'entry')}, {size / 1e6:.1f} MB")
    there = directory.entries()
    for entry in there:
        day = datetime.fromtimestamp(entry.used).isoformat(" ", "minutes")
        say(f"{entry.bytes / 1e6:10.1f} MB  used {day}  {entry.path.name[:12]}  {entry.about}")
    total = sum(entry.bytes for entry in there)
    say(
        f"{directory.folder()}: {many(len(there), 'entry')}, {total / 1e6:.1f} MB of at most "
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


def check_command(name: str, known: Sequence[str]) -> None:
    """Make sure that there is a command of a name.

    Raises:
        ConfigError: If there is none; the message says what is meant, as far as that can be seen.
    """
    if name in known:
        return
    from nlptl.cli.help import spoken
    from nlptl.cli.run import recipes

    near = suggest(name, known)
    if spoken(name) in map(spoken, recipes()):
        near = f" It is a recipe: nlptl run {spoken(name)}."
    raise ConfigError(
        f"nlptl {shortened(name)}: there is no such command.{near} There are: {listed(known)}."
    )


def main() -> None:
    """Run ``nlptl``."""
    with exit_codes():
        command, words = sys.argv[1:2], sys.argv[2:]
        check_written(sys.argv[1:])
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
        check_command(command[0], [*commands])
        check_call(commands[command[0]], words)
        tyro.extras.subcommand_cli_from_dict(commands, prog="nlptl")
