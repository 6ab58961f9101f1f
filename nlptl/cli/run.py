"""Recipes by name: from the checkout or from the wheel, in one process or in several."""

import ast
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from nlptl.cli.help import spoken
from nlptl.errors import ConfigError, suggest
from nlptl.train.stopping import TYPED

PACKAGE = Path(__file__).parent.parent


def recipes() -> dict[str, Path]:
    """Return the recipes by name: those of the checkout that nlptl lies in, else those in the wheel."""
    beside = PACKAGE.parent / "recipes"
    own = (PACKAGE.parent / "pyproject.toml").is_file() and beside.is_dir()
    folder = beside if own else PACKAGE / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def run(words: Sequence[str]) -> None:
    """Run a recipe as its own command line does.

    Args:
        words: Name of the recipe, with hyphens or underscores, and its flags. ``--processes N`` starts N
            processes on this machine.

    Raises:
        ConfigError: If there is no such recipe, or the number of processes is none.
        SystemExit: After a run of several processes, with the exit code of the one that failed first.
    """
    if not words or words[0] in ("-h", "--help"):
        print(overview())  # noqa: T201
        return
    name, known = words[0].replace("-", "_"), recipes()
    names = [spoken(one) for one in known]
    if words[0].startswith("-"):
        raise ConfigError(
            f"nlptl run {words[0]}: expected the name of a recipe first, as in nlptl run sentiment "
            f"{words[0]}. There are: {', '.join(names)}."
        )
    if name not in known:
        near = suggest(spoken(name), names)
        raise ConfigError(
            f"nlptl run {words[0]}: there is no such recipe.{near} There are: {', '.join(names)}."
        )
    flags, processes = split_processes(words[1:])
    if processes > 1 and not {"-h", "--help"} & set(flags):
        raise SystemExit(launch(known[name], flags, processes))
    sys.argv = [f"nlptl run {spoken(name)}", *flags]
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # else its own words are needed too
        os.environ[TYPED] = sys.argv[0]  # runpy puts the recipe's path there
    try:
        runpy.run_path(str(known[name]), run_name="__main__")
    finally:
        os.environ.pop(TYPED, None)


def overview() -> str:
    """List the recipes, each with the first line of its docstring."""
    lines = [
        "usage: nlptl run RECIPE [--processes N] [flags of the recipe]",
        "",
        "nlptl run RECIPE --help lists the flags. --processes N trains in N processes on this machine;",
        "torchrun and accelerate launch work too: torchrun --nproc_per_node 2 -m nlptl run RECIPE ...",
        "",
    ]
    known = recipes()
    width = max(map(len, known), default=0)
    for name, path in known.items():
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {spoken(name):<{width}}  {about.splitlines()[0] if about else ''}")
    return "\n".join(lines)


def split_processes(words: Sequence[str]) -> tuple[list[str], int]:
    """Take ``--processes N`` or ``--processes=N`` out of a command line; without it, N is 1.

    Raises:
        ConfigError: If N is no number above 0, or the run is a launcher's already.

    Example:
        >>> split_processes(["--mode", "full", "--processes=2"])
        (['--mode', 'full'], 2)
    """
    rest, given, left = [], None, list(words)
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        if flag != "--processes":
            rest.append(word)
            continue
        given = value if equals else left.pop(0) if left else ""
    if given is None:
        return rest, 1
    if not (given.isdecimal() and int(given) > 0):
        raise ConfigError(f"--processes {given}: expected a number above 0.")
    if "RANK" in os.environ or "WORLD_SIZE" in os.environ:
        raise ConfigError(
            f"--processes {given}: a launcher (torchrun, accelerate) has started this process already. Leave "
            "the flag out, or the launcher."
        )
    return rest, int(given)


def launch(recipe: Path, flags: Sequence[str], processes: int) -> int:
    """Start a recipe in several processes on this machine by torch's launcher, and return its exit code.

    Args:
        recipe: File of the recipe.
        flags: Its flags.
        processes: Number of processes; each takes an equal share of the cores.
    """
    import logging
    import uuid

    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from nlptl.train.machine import cores

    # A failed process has said what happened; torch's own block of text would repeat it.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    plan = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
    )
    os.environ[TYPED] = f"nlptl run {spoken(recipe.stem)} --processes {processes}"
    try:
        elastic_launch(plan, sys.executable)("-u", str(recipe), *flags)
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    except SignalException as signal:
        return 128 + int(signal.sigval)
    finally:
        del os.environ[TYPED]  # was for the started processes
    return 0
