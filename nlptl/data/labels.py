"""Labels of whatever type: read as they are written, checked, and brought into one form in all splits."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nlptl.data.columns import as_number, rows_where, usual_names, values_of
from nlptl.errors import DataError, Problems, listed, suggest

#: Largest number that a model may have to give; a 32-bit float ends at 3.4e38, its square far below.
LARGEST = 1e30


def hidden_splits(splits: Mapping[str, Any], column: str) -> list[str]:
    """List the splits, except ``train``, whose labels are all -1 or all missing, as in GLUE's test sets.

    Where the training set has the label -1, or empty lists of labels, these are labels like any other.
    """
    others = {split: distinct(splits[split], column) for split in splits if split != "train"}
    found = {split: values for split, values in others.items() if all(map(_is_hidden, values))}
    if not found:
        return []
    train = [value for value in distinct(splits["train"], column) if _is_hidden(value)]
    known = {_mark(value) for value in train} - {None}
    return [split for split, values in found.items() if not known & {*map(_mark, values)}]


def _is_hidden(value: Any) -> bool:
    return _is_missing(value) or _mark(value) is not None


def _mark(value: Any) -> str | None:
    """Name what stands for a hidden label, and may be one; None for any other value."""
    return "-1" if as_number(value) == -1 else "[]" if value == [] else None


def _is_missing(value: Any) -> bool:
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, float) and math.isnan(value))


def unlabelled_splits(splits: Mapping[str, Any], column: str, role: str) -> list[str]:
    """List the splits, except ``train``, that have no column of labels, as Kaggle's test sets.

    A split with another usual name for the role, or a name like the column's, is not listed: that is a
    mistake.
    """
    return [
        split
        for split, table in splits.items()
        if split != "train"
        and column not in table.column_names
        and not suggest(column, table.column_names)
        and not {*usual_names(role)} & {name.lower() for name in table.column_names}
    ]


def distinct(table: Any, column: str) -> list[Any]:
    """List a column's different values, in the order in which they occur; lists and dicts all."""
    plain = type(table.features[column]).__name__ in ("Value", "ClassLabel")
    if plain and table._indices is None:
        return table.data.column(column).unique().to_pylist()
    values = values_of(table, column)
    return list(dict.fromkeys(values)) if plain else list(values)


def label_values(table: Any, column: str) -> list[Any]:
    """List a column's values; of many selected rows at once, which the library would fetch one by one."""
    plain = type(table.features[column]).__name__ in ("Value", "ClassLabel")
    if not plain or table._indices is None or len(table) < 1000:
        return table[column][:]
    return table.data.column(column).combine_chunks().take(table._indices.column(0)).to_pylist()


def check_numbers(splits: Mapping[str, Any], column: str) -> list[str]:
    """Make sure that the labels are finite numbers, which a model of 32 bits can give.

    Returns:
        The splits whose labels are hidden.

    Raises:
        DataError: If some are not; the message says how many, and which rows.
    """
    problems, hidden = Problems(), hidden_splits(splits, column)
    for split, table in splits.items():
        odd = rows_where(values_of(table, column), lambda v: as_number(v) is None)
        if odd and split not in hidden:
            problems.add(
                f"The {split} split's column '{column}' holds values that are not finite numbers: {odd}. "
                "Expected one number per row, with a point before the decimals."
            )
        if big := rows_where(values_of(table, column), lambda v: abs(as_number(v) or 0) > LARGEST):
            problems.add(
                f"The {split} split's column '{column}' holds numbers beyond {LARGEST:.0e}: {big}. A model "
                "computes in 32 bits and cannot give them. Divide the column by a power of ten, or take "
                "logarithms."
            )
    problems.raise_if_any()
    return hidden


def with_numbers(table: Any, column: str) -> Any:
    """Return a dataset whose column of numbers, some written as strings, has the type float64.

    Args:
        table: A dataset that :func:`check_numbers` found right.
        column: Name of the column.
    """
    from datasets import Value

    if str(getattr(table.features[column], "dtype", "")).startswith(("int", "float", "uint")):
        return table
    numbers = [as_number(value) for value in values_of(table, column)]
    return with_values(table, column, numbers, Value("float64"))


def with_values(table: Any, column: str, values: Sequence[Any], feature: Any) -> Any:
    """Return a dataset with other values in a column, which stays where it is."""
    from datasets import Dataset, Features

    order = table.column_names
    if order == [column]:  # without it, no row is left to add it to
        return Dataset.from_dict({column: list(values)}, features=Features({column: feature}))
    made = table.remove_columns(column).add_column(column, list(values), feature=feature)
    return made.select_columns(order)


def with_single_labels(splits: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Replace lists of one label by the label, and let whole numbers have the names that the training set has.

    Annotation tools export a list of labels for each text. Splits may come from different files, of which only
    one has the names (ClassLabel) of the numbers.

    Raises:
        DataError: If some rows have several labels.
    """
    problems, made = Problems(), {}
    for split, table in splits.items():
        with problems.collect():
            made[split] = _unwrapped(split, table, column)
    problems.raise_if_any()
    feature = made["train"].features[column]
    if label_names(made["train"], column):
        for split, table in made.items():
            if str(getattr(table.features[column], "dtype", "")).startswith(("int", "uint")):
                numbers = set(distinct(table, column)) - {None, -1}
                if label_names(table, column) is None and all(
                    0 <= number < len(feature.names) for number in numbers
                ):
                    made[split] = table.cast_column(column, feature)
    return made


def _unwrapped(split: str, table: Any, column: str) -> Any:
    from datasets import Value

    feature = table.features[column]
    if type(feature).__name__ in ("Value", "ClassLabel"):
        return table
    values = list(values_of(table, column))
    if not any(isinstance(value, list) for value in values):
        return table
    if odd := rows_where(values, lambda v: isinstance(v, list) and len(v) > 1):
        raise DataError(
            f"The {split} split's column '{column}' holds several labels: {odd}. Expected one label for each "
            "row; for several at once use the task multi-label-classification (--kind, --task)."
        )
    single = [(v[0] if v else None) if isinstance(v, list) else v for v in values]
    inner = getattr(feature, "feature", None)
    if type(inner).__name__ not in ("Value", "ClassLabel"):
        if not all(_is_missing(value) or label_name(value) for value in single):
            return table  # dicts or so: :func:`check_labels` says it
        single, inner = [label_name(value) for value in single], Value("string")
    return with_values(table, column, single, inner)


def unknown_labels(split: str, unknown: Sequence[str], known: Sequence[str]) -> str:
    """Describe labels of another split that the training set never has."""
    return (
        f"The {split} split has labels that the training set never has: {listed(unknown)}. "
        f"Training has: {listed(known)}."
    )


def check_labels(
    splits: Mapping[str, Any], column: str, flag: str = "--label-column "
) -> tuple[list[str], list[str]]:
    """List the classes, and the splits whose labels are hidden.

    A string is a class's name as it is written; a whole number and a boolean have Python's. Numbers are
    sorted as numbers, before the other names, and a hub set's ClassLabel keeps its names and order. A split
    whose labels are all -1 or all missing, as the test sets of GLUE, counts as hidden.

    Returns:
        The classes' names, and the hidden splits' names.

    Raises:
        DataError: For missing or fractional labels, a single class, or a label that training lacks.
    """
    hidden = hidden_splits(splits, column)
    problems = Problems()
    seen: dict[str, set[str]] = {}
    for split, table in splits.items():
        if split in hidden:
            continue
        names = label_names(table, column)
        found = [label_name(value, names) for value in distinct(table, column)]
        if None in found:
            problems.add(_no_labels(split, table, column, names))
        seen[split] = {name for name in found if name is not None}
    names = label_names(splits["train"], column)
    problems.raise_if_any()
    classes = names or sorted(seen["train"], key=label_order)
    for split, labels in seen.items():
        if unknown := sorted(labels - seen["train"]):
            problems.add(unknown_labels(split, unknown, sorted(seen["train"], key=label_order)))
    if len(seen["train"]) < 2:
        problems.add(
            f"The training set has one class only, '{next(iter(seen['train']))}', in the column "
            f"'{column}'. Classification needs two or more."
        )
    if len(classes) > 1000:
        problems.add(
            f"The column '{column}' has {len(classes)} different values, too many for classes. "
            f"Is it the right {flag.strip()}?"
        )
    problems.raise_if_any()
    return list(classes), hidden


def _no_labels(split: str, table: Any, column: str, names: Any) -> str:
    """Describe the values that are no labels: missing ones and fractions, or else their types."""
    values = list(values_of(table, column))
    odd = rows_where(values, lambda v: label_name(v, names) is None)
    plain = [v for v in values if label_name(v, names) is None and not _is_missing(v)]
    kinds = sorted({type(v).__name__ for v in plain if not isinstance(v, int | float)})
    where = f"The {split} split's column '{column}' holds "
    expected = "Expected a string or an integer in each row."
    if kinds:
        return f"{where}values that are no labels: {odd}, some of type {listed(kinds)}. {expected}"
    if names is not None and plain:
        return f"{where}missing labels, or numbers beyond the {len(names)} names of the classes: {odd}."
    return f"{where}missing labels, or numbers that are not whole: {odd}. {expected}"


def label_name(value: Any, names: Any = None) -> str | None:
    """Name a label's class; None if the value cannot be a label."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return str(value) if names is None else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        if names is not None:
            return names[value] if 0 <= value < len(names) else None
        return str(value)
    return None


def label_names(table: Any, column: str) -> list[str] | None:
    """Return the names of a column's integer labels, if the dataset has them (ClassLabel, also in lists)."""
    feature = table.features[column]
    return getattr(getattr(feature, "feature", feature), "names", None)


def read_label(value: Any, names: Any = None) -> Any:
    """Return a row's label by name (:func:`label_name`), or a list of labels by their names."""
    if isinstance(value, list):
        return [label_name(one, names) for one in value]
    return label_name(value, names)


def label_order(name: str) -> tuple[int, float, str]:
    """Return the key by which labels are sorted: numbers by their size, before all other names."""
    number = as_number(name)  # nan and inf are words, or their place would depend on the others
    return (1, 0.0, name) if number is None else (0, number, name)
