"""Where an example came from: the row of its file, its texts, and the columns that no task reads.

Such a column goes through all splits under its name after :data:`FILE`, so it can have no role's name, counts
in no key of kept runs, and is found again in the predictions.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from nlptl.errors import Problems, listed, suggest

#: Beginning of the names of columns that no task reads.
FILE = "file."
#: Column of the row's number in its file or split, from 0.
ROW = FILE + "row"
#: Added to the name of a file's column that a record has something else under.
SECOND = "_in_file"


def with_ids(
    splits: Mapping[str, Any], column: str | None, others: Collection[str] = ()
) -> dict[str, Any]:
    """Return splits whose column of ids is called ``id``.

    Args:
        splits: Mapping from split names to datasets.
        column: The column as ``--id-column`` names it; None for the one called id, Id or ID, if there is one.
        others: Columns that the user names for something else.

    Raises:
        ConfigError: If a split has no such column.
    """
    if column is None:
        return {split: _with_usual_id(table, others) for split, table in splits.items()}
    if column == "id":
        return dict(splits)
    problems, made = Problems(), {}
    for split, table in splits.items():
        names = table.column_names
        if column not in names:
            problems.add(
                f"--id-column {column}: the {split} split has no such column."
                f"{suggest(str(column), names)} It has: {listed(names)}."
            )
            continue
        other = {"id": f"{FILE}id"} if "id" in names else {}
        made[split] = table.rename_columns({**other, column: "id"})
    problems.raise_if_any()
    return made


def _with_usual_id(table: Any, others: Collection[str]) -> Any:
    names = table.column_names
    found = [name for name in names if name.lower() == "id" and name not in others]
    return table if "id" in names or not found else table.rename_column(found[0], "id")


def with_file_columns(made: Any, table: Any, used: Sequence[str]) -> Any:
    """Put beside a task's columns those of the file that it does not read, and the rows' numbers.

    Columns that JSON cannot hold, such as pictures, are left out.

    Args:
        made: A dataset with the task's columns.
        table: The file's dataset, row by row the same examples.
        used: Columns of ``table`` that ``made`` holds already.
    """
    from datasets import Dataset, Features, Value, concatenate_datasets

    kept = [n for n in table.column_names if n not in used and is_plain(table.features[n])]
    names = {name: name if name.startswith(FILE) else FILE + name for name in kept}
    rows = Dataset.from_dict({ROW: range(len(table))}, features=Features({ROW: Value("int64")}))
    if ROW in names.values():  # the file has a column called row
        names = {name: own + SECOND if own == ROW else own for name, own in names.items()}
    others = [table.select_columns(kept).rename_columns(names)] * bool(kept)
    return concatenate_datasets([made, rows, *others], axis=1)


def is_plain(feature: Any) -> bool:
    """Whether JSON can hold a column's values: texts, numbers, times, names of classes, lists of these.

    A column with values of several types (:class:`datasets.Json`) is made of these, and so are translations.
    """
    if isinstance(feature, Mapping):
        return all(map(is_plain, feature.values()))
    if isinstance(feature, list):
        return all(map(is_plain, feature))
    kind = type(feature).__name__
    if kind in ("ClassLabel", "Json", "Translation", "TranslationVariableLanguages"):
        return True
    if kind in ("List", "LargeList", "Sequence"):
        return is_plain(feature.feature)
    return kind == "Value" and "binary" not in feature.dtype


def without_file_columns(table: Any) -> Any:
    """Return a dataset with the columns that tasks read alone."""
    return table.select_columns([n for n in table.column_names if not n.startswith(FILE)])


def with_rows(
    records: Sequence[Mapping[str, Any]], table: Any, *, fields: Sequence[str], gold: Sequence[str]
) -> list[dict[str, Any]]:
    """Say in each prediction where its example came from: ``row``, ``id``, its texts, every other column.

    Args:
        records: A prediction for each row; what it holds stays under its own name, and a column of that name
            is called ``<name>_in_file``, as one called ``scores`` always is.
        table: The predicted dataset. Without a column of rows, a row's number in it counts.
        fields: Columns of the texts.
        gold: Columns of the gold value, which the records hold in their own form.
    """
    names = table.column_names
    others = [name for name in names if name not in ("id", ROW, *fields, *gold)]
    shown = [n for n in (*fields, *others) if n in names and is_plain(table.features[n])]
    columns = {name: _values(table, name) for name in shown}
    rows = table[ROW][:] if ROW in names else range(len(table))
    taken = {"row", "id", "scores"} | {key for record in records[:1] for key in record}
    under = dict(zip(shown, beside([n.removeprefix(FILE) for n in shown], taken), strict=True))
    made = []
    for number, (row, record) in enumerate(zip(rows, records, strict=True)):
        about = {under[name]: columns[name][number] for name in shown}
        own = {"row": row, "id": record.get("id", row) if "id" in names else row}
        made.append({**own, **about, **{k: v for k, v in record.items() if k != "id"}})
    return made


def beside(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """Name columns beside other values: one whose name is taken is called ``<name>_in_file``.

    Example:
        >>> beside(["text", "score", "score_in_file"], ["prediction", "score"])
        ['text', 'score_in_file', 'score_in_file_in_file']
    """
    used, found = set(taken), []
    for name in names:
        while name in used:
            name += SECOND
        used.add(name)
        found.append(name)
    return found


def _values(table: Any, name: str) -> list[Any]:
    """List a column's values as JSON can hold them; a class is its name."""
    names, values = getattr(table.features[name], "names", None), table[name][:]
    if names:
        return [names[v] if v is not None and 0 <= v < len(names) else None for v in values]
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]


def plain_rows(table: Any) -> Iterator[dict[str, Any]]:
    """Yield a dataset's rows as they are in the file, without columns that JSON cannot hold."""
    names = [name for name in table.column_names if is_plain(table.features[name])]
    for begin in range(0, len(table), 1000):
        part = table.select(range(begin, min(begin + 1000, len(table))))
        columns = {name: _values(part, name) for name in names}
        yield from (
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        )
