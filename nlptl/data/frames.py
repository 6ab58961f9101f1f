"""Tables in memory (data frames, datasets, lists of rows, columns) as one kind of table, and as files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptl.data.progress import quiet_datasets
from nlptl.data.sources import SPLIT_NAMES
from nlptl.errors import DataError, Problems, listed, shortened

#: Folder of a run for the tables that a program gave in memory, as files.
DATA = "data"
#: What :func:`to_table` takes, in words.
TABLES = (
    "the path of a file, a data frame, a datasets.Dataset, a list of rows, or a mapping of columns"
)


def is_frame(given: Any) -> bool:
    """Whether something is a data frame of pandas, which is not imported for the question."""
    kinds = {f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(given).__mro__}
    return "pandas.DataFrame" in kinds


def is_dataset(given: Any) -> bool:
    """Whether something is a :class:`datasets.Dataset`."""
    return (
        hasattr(given, "column_names") and hasattr(given, "features") and hasattr(given, "select")
    )


def is_rows(given: Any) -> bool:
    """Whether something is a list of rows, each a mapping from columns to values."""
    return isinstance(given, list | tuple) and all(isinstance(row, Mapping) for row in given)


def is_splits(given: Any) -> bool:
    """Whether something maps the names of splits to tables, as a :class:`datasets.DatasetDict` does."""
    tables = isinstance(given, Mapping) and [*given.values()]
    return bool(tables) and all(is_frame(t) or is_dataset(t) or is_rows(t) for t in tables)


def to_table(given: Any, name: str) -> Any:
    """Return a table in memory as a :class:`datasets.Dataset`.

    Of a data frame the index is left out, and categories become their values. A column of several types
    becomes one of texts, and so does one of values that no file of a table holds (whole numbers beyond 64
    bits, periods, empty objects). Rows may lack columns that other rows have.

    Args:
        given: A data frame, a dataset, a list of rows, or a mapping from columns to lists of values.
        name: What the caller calls it, for messages.

    Raises:
        DataError: If it is none of these, is empty, or two of its columns have one name.
    """
    import pyarrow as pa
    from datasets import Dataset

    if is_dataset(given):
        table = given
    else:
        columns = _columns(given, name)
        try:
            table = Dataset(pa.table({column: _array(v) for column, v in columns.items()}))
        except (pa.ArrowException, TypeError, ValueError) as error:
            reason = shortened(str(error).splitlines()[0] if str(error) else type(error).__name__)
            raise DataError(f"{name}: cannot be read as a table ({reason}).") from error
    if not len(table):
        raise DataError(f"{name}: the table holds no rows.")
    return table


def _columns(given: Any, name: str) -> dict[str, Any]:
    """Return the columns of a data frame, of rows or of a mapping, each a series or a list of values."""
    if is_frame(given):
        names = [str(column) for column in given.columns]
        if twice := sorted({column for column in names if names.count(column) > 1}):
            raise DataError(f"{name}: several columns are called {listed(twice)}. Rename them.")
        return {column: _plain(given.iloc[:, place]) for place, column in enumerate(names)}
    if is_rows(given):
        names = dict.fromkeys(column for row in given for column in row)
        return {str(column): [row.get(column) for row in given] for column in names}
    if isinstance(given, Mapping):
        try:
            return {str(column): list(given[column]) for column in given}
        except TypeError as error:
            raise DataError(f"{name}: cannot be read as a table ({error}).") from error
    raise DataError(f"{name} is a {type(given).__name__}; expected {TABLES}.")


def _plain(series: Any) -> Any:
    """Return a series with its categories' values."""
    return series.astype(object) if hasattr(series, "cat") else series


def _array(values: Any) -> Any:
    """Return values as an array of one type, which a file of a table can hold; else as texts."""
    import pyarrow as pa

    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        array = None
    if array is None or not _is_held(array.type):
        array = pa.array([None if _is_gone(v) else str(v) for v in values], pa.string())
    return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array


def _is_held(kind: Any) -> bool:
    """Whether parquet and datasets have a type: none that pandas adds, and no object without fields."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(
            _is_held(kind.field(at).type) for at in range(kind.num_fields)
        )
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_held(kind.value_type)
    return not isinstance(kind, pa.BaseExtensionType)


def _is_gone(value: Any) -> bool:
    """Whether a value is missing, as None, NaN, NaT or pandas' NA."""
    import pandas

    gone = pandas.isna(value)
    return isinstance(gone, bool) and gone


def to_splits(data: Any, validation: Any = None, test: Any = None) -> dict[str, Any]:
    """Sort what a program gives by split: paths as they are, tables as datasets.

    Args:
        data: The training set, or a mapping from splits to tables; a path or name of a data set too.
        validation: The validation set; it goes before that of ``data``.
        test: The test set; likewise.

    Returns:
        Mapping from ``train``, ``validation`` and ``test`` to a path or a :class:`datasets.Dataset`, as far as
        they are given.

    Raises:
        DataError: With everything that is no table.
    """
    problems, found = Problems(), {"train": data}
    if is_splits(data):
        found = {
            split: next((data[name] for name in names if name in data), None)
            for split, names in SPLIT_NAMES.items()
        }
        if found["train"] is None:
            raise DataError(
                f"data: no split is called train; there are {listed([*map(str, data)])}."
            )
    found |= {
        split: given
        for split, given in (("validation", validation), ("test", test))
        if given is not None
    }
    names = {"train": "data", "validation": "validation", "test": "test"}
    splits = {
        split: given
        if isinstance(given, str | os.PathLike)
        else problems.run(to_table, given, names[split])
        for split, given in found.items()
        if given is not None
    }
    problems.raise_if_any()
    return splits


def write_tables(splits: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Write tables as parquet files, which only their owner can read.

    Args:
        splits: Mapping from split names to datasets.
        folder: Where they go; made if need be.

    Returns:
        The files, by split.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {}
    for split, table in splits.items():
        path = folder / f"{split}.parquet"
        partial = path.with_suffix(".partial")
        with quiet_datasets():
            table.to_parquet(str(partial))
        os.replace(partial, path)
        files[split] = path
    return files


def own_file(path: Path, was: Path, home: Path) -> Path:
    """Return where a data file of a run is now: one that the run wrote itself is wherever the run is.

    Args:
        path: Path of the file, as the run's configuration has it.
        was: Directory of the run, or of a further seed of it, as the configuration has it: relative to
            another working directory, perhaps, or that of before the run was moved.
        home: Directory of the configuration now.
    """
    place = Path(os.path.relpath(path, was))
    if place.parent not in (
        Path(DATA),
        Path("..", "..", DATA),
    ):  # further seeds are in seeds/<seed>/
        return path
    now = Path(os.path.normpath(home / place))
    return now if now.is_file() else path


def with_own_files(values: Mapping[str, Any], home: Path) -> dict[str, Any]:
    """Return a run's flags, by name, with its own data files where they are now (:func:`own_file`).

    Args:
        values: Values of the flags, as far as they are known.
        home: Directory of the configuration that has them.
    """
    names = [f"{split}_file" for split in SPLIT_NAMES if values.get(f"{split}_file") is not None]
    was = values.get("output_dir")
    own = {} if was is None else {name: own_file(values[name], was, home) for name in names}
    return {**values, **own}
