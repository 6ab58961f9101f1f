"""Which column holds what, and whether its values will do."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nlptl.errors import DataError, Problems, listed, suggest

USUAL = {
    "text": (
        "sentence",
        "text",
        "review",
        "review_text",
        "content",
        "tweet",
        "comment",
        "document",
    ),
    "question": ("question", "query"),
    "context": ("context", "passage", "paragraph"),
    "answers": ("answers", "answer"),
    "label": ("label", "labels", "sentiment", "class", "category", "target", "polarity"),
}


def find_column(splits: Mapping[str, Any], role: str, asked: str | None) -> str:
    """Name the column of a role in all splits.

    Args:
        splits: Split name to dataset.
        role: A key of :data:`USUAL`; its flag is ``--{role}-column``.
        asked: The user's choice, or None to look for a usual name.

    Raises:
        DataError: If it is not there, with the columns that are.
    """
    names = splits["train"].column_names
    if asked is None:
        lower = {name.lower(): name for name in reversed(names)}
        asked = next((lower[usual] for usual in USUAL[role] if usual in lower), None)
        if asked is None:
            raise DataError(
                f"No column of the training set is called like a {role} usually is "
                f"({', '.join(USUAL[role])}). It has: {listed(names)}. Say which with --{role}-column."
            )
    for split, table in splits.items():
        if asked not in table.column_names:
            raise DataError(
                f"--{role}-column {asked}: the {split} split has no such column."
                f"{suggest(asked, table.column_names)} It has: {listed(table.column_names)}."
            )
    return asked


def find_columns(splits: Mapping[str, Any], asked: Mapping[str, str | None]) -> dict[str, str]:
    """Name the columns of several roles; ``asked`` is role to choice, see :func:`find_column`.

    Raises:
        DataError: With all that are not there.
    """
    problems = Problems()
    columns = {
        role: problems.run(find_column, splits, role, choice) for role, choice in asked.items()
    }
    problems.raise_if_any()
    return {role: column for role, column in columns.items() if column}


def values_of(table: Any, column: str) -> Iterator[Any]:
    """A column's values one by one, without reading the whole of it into memory."""
    for batch in table.select_columns([column]).iter(batch_size=1000):
        yield from batch[column]


def rows_where(values: Iterable[Any], wrong: Any) -> str:
    """Describe the rows whose value is ``wrong``: how many, and the first few (0-based); '' if none."""
    rows, total = [], 0
    for row, value in enumerate(values):
        total = row + 1
        if wrong(value):
            rows.append(row)
    if not rows:
        return ""
    return f"{len(rows)} of {total} (row{'s' if len(rows) > 1 else ''} {listed(rows, 5)})"


def check_texts(splits: Mapping[str, Any], column: str) -> None:
    """Make sure that every text is a string with something in it.

    Raises:
        DataError: With how many are not, and which rows.
    """
    problems = Problems()
    for split, table in splits.items():
        odd = rows_where(values_of(table, column), lambda v: not isinstance(v, str))
        if odd:
            values = values_of(table, column)
            kinds = sorted({type(v).__name__ for v in values if not isinstance(v, str)})
            problems.add(
                f"The {split} split's column '{column}' holds values that are no text: {odd}, of type "
                f"{listed(kinds)}. Expected strings; mend the file or choose another --text-column."
            )
        empty = rows_where(values_of(table, column), lambda v: isinstance(v, str) and not v.strip())
        if empty:
            problems.add(
                f"The {split} split's column '{column}' holds empty texts: {empty}. Remove these rows."
            )
    problems.raise_if_any()


def check_labels(splits: Mapping[str, Any], column: str) -> tuple[list[str], list[str]]:
    """List the classes, and the splits whose labels are hidden.

    Strings are sorted, integers (and whole floats, and booleans) are sorted as numbers, and a hub
    set's ClassLabel keeps its names and order. A split whose labels are all -1 or all missing, as
    the test sets of GLUE, counts as hidden.

    Returns:
        The classes' names, and the hidden splits' names.

    Raises:
        DataError: For missing or fractional labels, a single class, or a label that training lacks.
    """
    hidden = [
        s for s, t in splits.items() if s != "train" and set(t[column][:]) <= {-1, None, "-1"}
    ]
    names = getattr(splits["train"].features[column], "names", None)
    problems = Problems()
    seen: dict[str, set[str]] = {}
    for split, table in splits.items():
        if split in hidden:
            continue
        values = table[column][:]
        odd = rows_where(values, lambda v: label_name(v, names) is None)
        if odd:
            problems.add(
                f"The {split} split's column '{column}' holds missing labels, or numbers that are not "
                f"whole: {odd}. Expected a string or an integer a row."
            )
        seen[split] = {name for v in values if (name := label_name(v, names)) is not None}
    problems.raise_if_any()
    classes = names or sorted(seen["train"], key=_sort_key)
    for split, labels in seen.items():
        if unknown := sorted(labels - seen["train"]):
            problems.add(
                f"The {split} split has labels that the training set never has: {listed(unknown)}. "
                f"Training has: {listed(sorted(seen['train'], key=_sort_key))}."
            )
    if len(seen["train"]) < 2:
        problems.add(
            f"The training set has one class only, '{next(iter(seen['train']))}', in the column "
            f"'{column}'. Classification needs two or more."
        )
    if len(classes) > 1000:
        problems.add(
            f"The column '{column}' has {len(classes)} different values, too many for classes. "
            "Is it the right --label-column?"
        )
    problems.raise_if_any()
    return list(classes), hidden


def label_name(value: Any, names: Any = None) -> str | None:
    """Name of a label's class; None for what cannot be a label."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        value = int(value)
        if names is not None:
            return names[value] if 0 <= value < len(names) else None
        return str(value)
    return None


def _sort_key(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
