"""Labelled data from the bundled sets, local files, or the hub, as one dataset per split."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from nlptl.data.bytes import open_text
from nlptl.data.progress import quiet_datasets, waiting
from nlptl.errors import ConfigError, DataError, Problems, UserError, listed, suggest

Reader = Callable[[Path, str], Any]
BUNDLED = Path(__file__).parent.parent / "bundled"
#: Kind of table (:data:`nlptl.data.tables.KINDS`) of each file extension.
READERS: dict[str, str] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
}
#: The same where rows are sentences with tags: there a text file has a word and its tag on each line.
TAGGED_READERS = {**READERS, ".txt": "conll", ".annotated": "conll"}
#: Names that a split may have, as a file's stem or on the hub.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def read_table(path: Path, flag: str, readers: Mapping[str, str] = READERS) -> Any:
    """Read one local file, or a data set that ``save_to_disk`` wrote.

    The path is the name of that file, whatever characters it has.

    Args:
        path: Path of the file.
        flag: The flag that named it, for messages.
        readers: Kinds of files that are accepted, by file extension.

    Returns:
        A :class:`datasets.Dataset`, memory-mapped from the library's cache. Of csv and tsv all values are
        strings, as they are written.

    Raises:
        DataError: If the file is missing, of another kind, empty, or cannot be parsed.
    """
    from nlptl.data.layouts import is_saved, read_saved

    where = f"{flag} {path}"
    if path.is_dir():
        if is_saved(path):
            return read_saved(path, where)
        raise DataError(f"{where}: is a folder; expected a file ending in {', '.join(readers)}.")
    if not path.is_file():
        near = suggest(path.name, [p.name for p in path.parent.glob("*") if p.is_file()])
        raise DataError(f"{where}: there is no such file.{near}")
    kind = kind_of(path, readers)
    if kind is None:
        raise DataError(
            f"{where}: expected a file ending in {', '.join(readers)}.{unreadable(path)}"
        )
    if _is_empty(path, kind):
        raise DataError(f"{where}: the file is empty.")
    from nlptl.data.tables import read_file

    table = read_file(path, where, kind)
    if not len(table):
        raise DataError(f"{where}: the file holds no rows.")
    return table


def kind_of(path: Path, readers: Mapping[str, str] = READERS) -> str | None:
    """Return the kind of table that a file's extension promises, in small or capital letters, or None."""
    return readers.get(path.suffix.lower())


def unreadable(path: Path) -> str:
    """Say what to do with a file that is packed or a workbook, with a space before; '' for any other."""
    if path.suffix.lower() in (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".7z"):
        return " Unpack it first."
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        return " Export the table as CSV UTF-8."
    return ""


def _is_empty(path: Path, kind: str) -> bool:
    if kind == "parquet" or not path.stat().st_size:
        return not path.stat().st_size
    with open_text(path, errors="replace") as lines:
        return not any(line.strip() for line in lines)


def load_splits(
    dataset: str | None,
    files: Mapping[str, Path | None],
    *,
    read: Reader = read_table,
    readers: Mapping[str, str] = READERS,
    flag: str = "--dataset",
    notes: list[str] | None = None,
) -> dict[str, Any]:
    """Find and read the splits that there are.

    Args:
        dataset: ``bundled/…``, a local file or folder, or a hub name (``name`` or ``name:config``);
            a folder's files are told apart by their names (train, validation or dev, test).
        files: Mapping from ``train``, ``validation`` and ``test`` to a path or None; a path overrides the
            data set's own split.
        read: Function that reads one file, given its path and the flag that named it.
        readers: Kinds of files that are looked for in a folder, by file extension.
        flag: Flag that named the data set, for messages.
        notes: List that notes are added to: which splits are left out.

    Returns:
        Mapping from split names to datasets, always with ``train``.

    Raises:
        UserError: If files cannot be read (all are named), or there is no training set.
    """
    splits: dict[str, Any] = {}
    problems = Problems()
    given = {name: path for name, path in files.items() if path is not None}
    if dataset is not None and "train" not in given:
        with problems.collect():
            splits |= _load_dataset(dataset, read, readers, flag, [] if notes is None else notes)
    for name, path in given.items():
        with problems.collect():
            splits[name] = read(path, f"--{name}-file")
    problems.raise_if_any()
    if "train" not in splits:
        raise ConfigError(
            "There is no training set: give --dataset, or --train-file "
            f"(found: {listed(sorted(splits)) or 'nothing'})."
        )
    return splits


class DataRequest(Protocol):
    """A request for data: which, and how much; a task's flags (:attr:`Task.options`) come on top.

    Attributes:
        dataset: Bundled name, local file or folder, or hub name; None for files alone.
        train_file: Training data.
        validation_file: Data that the epoch is chosen on.
        test_file: Data that is scored.
        column: Columns of roles, as ``role=name``.
        id_column: Column that names the examples; None stands for ``id``, if there is one.
        max_train_examples: Most labels of training and validation together.
        max_eval_examples: Most examples of each other split.
        seed: Seed of the splits and subsets.
        model: Checkpoint, where the form of the data depends on it.
        max_length: Tokens per input.

    A request may also have ``where``, pairs of a column and a value: only rows with all of them count.
    ``flag`` is the flag that named the data set, if it is another one than ``--dataset``.
    """

    dataset: str | None
    train_file: Path | None
    validation_file: Path | None
    test_file: Path | None
    column: tuple[str, ...]
    id_column: str | None
    max_train_examples: int | None
    max_eval_examples: int | None
    seed: int
    model: Any
    max_length: int | None


def load_asked(
    request: DataRequest, *, read: Reader | None = None, readers: Mapping[str, str] = READERS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what a :class:`nlptl.cli.config.SupervisedConfig` asks for.

    Args:
        request: Request for the data.
        read: See :func:`load_splits`; None reads tables.
        readers: Kinds of files that are accepted, by file extension.

    Returns:
        The splits, and a record of where they came from.

    Raises:
        UserError: See :func:`load_splits`.
    """
    files = {name: getattr(request, f"{name}_file") for name in SPLIT_NAMES}
    read = read or partial(read_table, readers=readers)
    flag = getattr(request, "flag", "--dataset")
    notes: list[str] = []
    splits = load_splits(request.dataset, files, read=read, readers=readers, flag=flag, notes=notes)
    for condition in getattr(request, "where", ()):
        splits = rows_of(splits, *condition)
    record = {
        "dataset": None if request.train_file else request.dataset,
        "files": {name: str(path) for name, path in files.items() if path},
        **({"notes": notes} if notes else {}),
    }
    return splits, record


def rows_of(splits: Mapping[str, Any], column: str, value: str) -> dict[str, Any]:
    """Keep the rows of each split that have a value in a column, such as those of one domain.

    Splits without such a row are left out.

    Raises:
        DataError: If a split has no such column, or the training set no such row.
    """
    found = {}
    for split, table in splits.items():
        if column not in table.column_names:
            raise DataError(
                f"The {split} split has no column '{column}'.{suggest(column, table.column_names)} It has: "
                f"{listed(table.column_names)}."
            )
        each = [str(one) for one in table[column][:]]
        if rows := [row for row, one in enumerate(each) if one == value]:
            found[split] = table.select(rows)
    if "train" not in found:
        known = sorted({str(one) for one in splits["train"][column][:]})
        raise DataError(
            f"No row of the training set has '{value}' in the column '{column}'.{suggest(value, known)} There "
            f"are: {listed(known)}."
        )
    return found


def local_path(name: str) -> Path:
    """Return the path that a name would have: ``bundled/…`` is in the package, anything else is a path."""
    return BUNDLED / name.removeprefix("bundled/") if name.startswith("bundled/") else Path(name)


def _load_dataset(
    name: str, read: Reader, readers: Mapping[str, str], flag: str, notes: list[str]
) -> dict[str, Any]:
    path = local_path(name)
    if name.startswith("bundled/") and not path.is_dir():
        known = sorted(f"bundled/{p.parent.name}" for p in BUNDLED.glob("*/train.jsonl"))
        raise DataError(f"{flag} {name}: there is no such bundled set. There are: {listed(known)}.")
    if path.is_dir():
        return _load_folder(path, name, read, readers, flag, notes)
    if kind_of(path, readers) or path.is_file():
        return {"train": read(path, flag)}
    return _load_hub(name, flag, notes)


def _load_folder(
    path: Path, name: str, read: Reader, readers: Mapping[str, str], flag: str, notes: list[str]
) -> dict[str, Any]:
    from nlptl.data.layouts import folder_splits, joined, left_out, saved_splits

    where = f"{flag} {name}"
    if (saved := saved_splits(path, where)) is not None:
        return _named_splits(saved, where, notes)
    found, problems = folder_splits(path, where, readers), Problems()
    splits = {}
    for split, files in found.items():
        with problems.collect():
            splits[split] = joined([read(file, flag) for file in files], where)
    problems.raise_if_any()
    notes += _told(left_out(path, found, readers), where, found)
    return splits


def _told(names: Sequence[str], where: str, found: Iterable[str]) -> list[str]:
    """Say which splits or files of them are left out, if there are any."""
    if not names:
        return []
    return [
        f"{where}: {listed(names, 8)} {'are' if len(names) > 1 else 'is'} left out; what was found is "
        f"{listed([*found])}. Another file can be given by --validation-file or --test-file."
    ]


def from_hub(name: str, flag: str, instead: str) -> Any:
    """Load all splits of a hub data set, ``name`` or ``name:config``.

    Raises:
        DataError: If it cannot be loaded.
    """
    from datasets import load_dataset

    repository, _, config = name.partition(":")
    try:
        with quiet_datasets(), waiting(f"loading {name}"):
            return load_dataset(repository, config or None)
    except UserError:
        raise
    except Exception as error:  # the hub client raises a dozen kinds
        raise DataError(
            f"{flag} {name}: is not a local file or folder, and could not be loaded from the hub "
            f"({type(error).__name__}: {str(error).splitlines()[0]}). Check the name and the network, "
            f"{instead}."
        ) from error


def _load_hub(name: str, flag: str, notes: list[str]) -> dict[str, Any]:
    loaded = from_hub(name, flag, "or give a local file, or bundled/remarks")
    return _named_splits(loaded, f"{flag} {name}", notes)


def _named_splits(loaded: Mapping[Any, Any], where: str, notes: list[str]) -> dict[str, Any]:
    """Return the splits of a data set under the names that they have here, and note which are left out."""
    own = {
        split: name
        for split, names in SPLIT_NAMES.items()
        if (name := next((n for n in names if loaded.get(n) is not None), None))
    }
    if "train" not in own:
        raise DataError(
            f"{where}: no split is called train; there are {listed([str(n) for n in loaded])}."
        )
    notes += _told([str(n) for n in loaded if n not in own.values()], where, own)
    return {split: loaded[name] for split, name in own.items()}
