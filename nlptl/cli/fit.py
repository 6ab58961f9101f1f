"""One call from a table to a trained model: the recipes' checks, defaults and files, for programs."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_origin

from nlptl.cli.config import ClassifyConfig, TaskConfig, with_options
from nlptl.cli.fitted import FittedRun
from nlptl.cli.train import each_seed, make_run, prepare
from nlptl.cli.values import declared_types, from_yaml
from nlptl.data.frames import DATA, to_splits, write_tables
from nlptl.data.sources import kind_of
from nlptl.errors import ConfigError, NlptlError, Problems, listed, shortened, suggest
from nlptl.runs.directory import check_free
from nlptl.tasks import TASKS, get_task, options_of
from nlptl.tasks.base import Task
from nlptl.tasks.kinds import chosen_kind
from nlptl.tasks.options import KINDS
from nlptl.train.terminal import is_main_process

#: Flags that :func:`fit` has under names of its own, and how it calls them.
OWN = {
    "dataset": "data",
    "train_file": "data",
    "validation_file": "validation",
    "test_file": "test",
    "text_column": "text",
    "label_column": "label",
    "task": "kind",
}
#: Flags of the recipes that :func:`fit` does not take, and what does the same.
INSTEAD = {"report": "call report() of the run", "curve": "call report(curve=True) of the run"}


def fit(
    data: Any,
    *,
    text: str | int | Sequence[str | int] | None = None,
    label: str | int | Sequence[str | int] | None = None,
    kind: str = "auto",
    model: str | os.PathLike = "bundled/bert",
    mode: str = "full",
    test: Any = None,
    validation: Any = None,
    output_dir: str | os.PathLike | None = None,
    **flags: Any,
) -> FittedRun:
    """Train a pretrained model on a table, choose the epoch, score it, save it, and read it back.

    It is the recipes' run: the same checks before any slow work, defaults, splits and files.

    Example::

        run = nlptl.fit("tickets.csv", text=["subject", "body"], label="queue")
        run.errors(20)
        run.predict(new_tickets)

    Args:
        data: Labelled examples: the path of a file or folder, a bundled or hub name, a data frame, a
            :class:`datasets.Dataset`, a list of rows, a mapping of columns, or splits by name.
        text: Column or columns of the inputs (two are a pair, more are joined); found by usual names if left
            out.
        label: Column of the labels, or columns of 0 and 1, one for each label; found by usual names if left
            out.
        kind: Task: a registered name, or ``path/to/file.py:Class``; ``auto`` sees from the labels whether they
            are classes, several labels for a text, numbers, or tags of words.
        model: Checkpoint: a bundled name, a directory or a hub name.
        mode: What trains; ``nlptl modes`` lists what there is.
        test: Examples that the score comes from, as ``data``; by default a fifth of ``data`` is set aside.
        validation: Examples that choose the epoch, as ``data``; by default a tenth of ``data`` is set aside.
        output_dir: Directory of the run, with its checkpoints, for ``resume=True``; by default a temporary
            one, which goes with the object unless :meth:`~nlptl.cli.fitted.FittedRun.save` moves it.
        flags: Any other flag of the recipes, such as ``epochs=3``, ``seed=1`` or ``max_train_examples=300``.

    Returns:
        The finished run.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    asked = {"mode": mode, "model": str(model), **flags}
    with _in_words_of_a_program(), _home(output_dir, resume=bool(flags.get("resume"))) as home:
        splits = to_splits(data, validation, test)
        with _readable_tables(splits, home.folder) as places:
            config = configuration(kind, asked, places, text=text, label=label, home=home.folder)
            ready = prepare(config, _task_of(config))
            each_seed(ready, partial(make_run, checkpoints=not home.temporary), go_on=_call_again)
            return FittedRun(home.folder, temporary=home.temporary)


def _task_of(config: Any) -> str:
    return chosen_kind(config) if isinstance(config, ClassifyConfig) else config.task


class _Home:
    """The directory of a run; a temporary one lives as long as the object that holds it."""

    def __init__(self, asked: str | os.PathLike | None) -> None:
        self.temporary = TemporaryDirectory(prefix="nlptl_fit_") if asked is None else None
        self.folder = Path(self.temporary.name if self.temporary else str(asked))


@contextmanager
def _home(asked: str | os.PathLike | None, *, resume: bool) -> Iterator[_Home]:
    """Check a run's directory, or make a temporary one; take away what a failed call left in it.

    Raises:
        ConfigError: If another run is there, or several processes have no directory in common.
    """
    if asked is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("Several processes need one directory for the run. Give output_dir.")
    home = _Home(asked)
    if is_main_process():  # the others would find its directory
        check_free(home.folder, resume=resume)
    try:
        yield home
    except BaseException:
        if home.temporary is not None:
            home.temporary.cleanup()
        elif is_main_process() and not (home.folder / "config.yaml").exists():
            shutil.rmtree(home.folder / DATA, ignore_errors=True)
            if home.folder.is_dir() and not any(home.folder.iterdir()):
                home.folder.rmdir()
        raise


@contextmanager
def _readable_tables(splits: Mapping[str, Any], home: Path) -> Iterator[dict[str, str]]:
    """Give every split a place that can be read: tables in memory become files of the run.

    So a saved run can be resumed and reported on, whatever became of the program's table.
    """
    tables = {name: given for name, given in splits.items() if not _is_place(given)}
    places = {name: str(given) for name, given in splits.items() if _is_place(given)}
    if not tables:
        yield places
    elif is_main_process():
        files = write_tables(tables, home / DATA)
        yield places | {name: str(path) for name, path in files.items()}
    else:  # its own, equal files: the main process may still be writing
        with TemporaryDirectory() as folder:
            files = write_tables(tables, Path(folder))
            yield places | {name: str(path) for name, path in files.items()}


def _is_place(given: Any) -> bool:
    return isinstance(given, str | os.PathLike)


def configuration(
    kind: str,
    asked: Mapping[str, Any],
    places: Mapping[str, str],
    *,
    text: str | int | Sequence[str | int] | None = None,
    label: str | int | Sequence[str | int] | None = None,
    home: Path,
) -> Any:
    """Make the configuration that the recipe would have.

    Args:
        kind: ``auto``, a registered name, or ``path/to/file.py:Class``.
        asked: Flags by name, with their values.
        places: Mapping from splits to paths or names.
        text: Column or columns of the inputs.
        label: Column or columns of the labels.
        home: Directory of the run.

    Returns:
        That of ``nlptl run classify`` for its kinds of task; that of ``nlptl train`` for others.

    Raises:
        UserError: With all flags that do not exist, and all values of the wrong type.
    """
    kind = TASKS.aliases.get(kind, kind)
    seen = kind in ("auto", *KINDS)
    cls: Any = ClassifyConfig if seen else with_options(TaskConfig, options_of(kind))
    types, problems = declared_types(cls), Problems()
    values: dict[str, Any] = {"kind" if seen else "task": kind, "output_dir": str(home)}
    values |= {**_places(places), **asked}
    texts, labels = _listed(text), _listed(label)
    if seen:
        values |= {"text_column": texts, "label_column": labels}
    else:
        values |= problems.run(_columns, get_task(kind), types, texts, labels) or {}
    for name in [name for name in asked if name not in types or name in (*OWN, *INSTEAD)]:
        del values[name]
        if name in (*OWN, *INSTEAD):
            problems.add(f"{name}: {INSTEAD.get(name) or f'give {OWN[name]}'} instead.")
        else:
            known = [*OWN.values(), *types]
            problems.add(f"{shortened(name)}: fit has no such argument.{suggest(name, known)}")
    read = {}
    for name, value in values.items():
        try:
            read[name] = from_yaml(_plain(value), types[name])
        except ValueError as error:
            given = OWN.get(name, name)
            problems.add(f"{given} is {shortened(repr(value))}; expected {error}.")
    problems.raise_if_any()
    return cls(**read)


def _places(places: Mapping[str, str]) -> dict[str, str | None]:
    """Return the flags for the data: the training set may be a file, a folder, or the name of a data set."""
    given: dict[str, str | None] = {f"{name}_file": place for name, place in places.items()}
    own = Path(places["train"])
    as_file = own.is_file() or (kind_of(own) and not own.is_dir())
    return given | (
        {"dataset": None} if as_file else {"dataset": places["train"], "train_file": None}
    )


def _listed(columns: str | int | Sequence[str | int] | None) -> list[str]:
    """List names of columns, those of a data frame without names by their numbers."""
    if columns is None:
        return []
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        return [str(columns)]
    return [str(column) for column in columns]


def _columns(
    kind: type[Task], types: Mapping[str, Any], texts: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Return the flags for the columns of a task's roles.

    Raises:
        ConfigError: If there are more or fewer columns than the task has roles.
    """
    if kind.fields == ("text",) and get_origin(types.get("text_column")) is tuple:
        return {"text_column": texts, "label_column": labels}
    problems, roles = Problems(), {}
    for name, columns, own in (("text", texts, kind.fields), ("label", labels, (kind.label,))):
        if columns and len(columns) != len(own):
            problems.add(
                f"{name} names {len(columns)} column{'s' * (len(columns) > 1)} ({listed(columns)}); the task "
                f"{kind.name} takes {len(own)}: {listed(own)}."
            )
        roles |= dict(zip(own, columns, strict=False))
    problems.raise_if_any()
    named = {role for role in roles if f"{role}_column" in types}
    other = [f"{role}={column}" for role, column in roles.items() if role not in named]
    return {
        **{f"{role}_column": roles[role] for role in sorted(named)},
        **({"column": other} if other else {}),
    }


def _plain(value: Any) -> Any:
    """Return a value as YAML would give it."""
    if isinstance(value, os.PathLike):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _call_again(*, resume: bool) -> str:
    return f"nlptl.fit(…{', resume=True' * resume})"


@contextmanager
def _in_words_of_a_program() -> Iterator[None]:
    """Call flags by the names of arguments in the messages of errors."""
    try:
        yield
    except NlptlError as error:
        error.args = (in_words_of_a_program(str(error)),)
        raise


def in_words_of_a_program(message: str) -> str:
    """Call flags by the names that they have as arguments of :func:`fit`.

    Example:
        >>> in_words_of_a_program("Say which with --text-column NAME. --max-length is 3; expected 8 or more.")
        'Say which with text="NAME". max_length is 3; expected 8 or more.'
    """

    def name(found: re.Match) -> str:
        own = found[1].replace("-", "_")
        return f"{OWN.get(own, own)}" + ('="NAME"' if found[2] else "")

    return re.sub(r"--([a-z][a-z0-9-]*[a-z0-9])( NAME\b)?", name, message)
