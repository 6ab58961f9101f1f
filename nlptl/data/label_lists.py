"""Lists of labels: any number for a text, or one for each word; written as lists, as texts, or as columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nlptl.data.columns import as_number, find_column, rows_where, values_of
from nlptl.data.labels import (
    hidden_splits,
    label_names,
    label_order,
    read_label,
    unknown_labels,
    with_values,
)
from nlptl.data.written import WHOLE, read_written
from nlptl.errors import DataError, Problems, listed

#: Words of a cell that say that a label is there, and that it is not.
YES = ("1", "1.0", "true", "yes", "y", "x")
NO = ("", "0", "0.0", "false", "no", "n")
#: Number that Hugging Face's trainers leave out of the loss.
IGNORED = "-100"


def list_of(value: Any) -> list[Any] | None:
    """Return a value as a list, if it is one or a text that writes one (:func:`read_written`); else None.

    Example:
        >>> list_of(["a"]), list_of("['a', 'b']"), list_of("a"), list_of("[CLS]")
        (['a'], ['a', 'b'], None, None)
    """
    if isinstance(value, list):
        return value
    if not (isinstance(value, str) and value.strip()[:1] == "[" and value.strip()[-1:] == "]"):
        return None
    try:
        found = read_written(value)
    except ValueError:
        return None
    plain = isinstance(found, list) and all(
        one is None or one is ... or isinstance(one, str | int | float) for one in found
    )
    return list(found) if plain else None


def with_lists(table: Any, column: str, separator: str | None = None) -> Any:
    """Return a dataset whose lists in a column are lists, where the file writes them as texts.

    Args:
        table: A dataset.
        column: Name of the column.
        separator: Text between the names of a list; a blank text has none.

    Raises:
        DataError: If numpy left out items of a long list.
    """
    from datasets import List, Value

    if str(getattr(table.features[column], "dtype", "")) not in ("string", "large_string"):
        return table
    values = list(values_of(table, column))
    if separator is None:
        found = [[] if not (value or "").strip() else list_of(value) for value in values]
    else:
        found = [
            [name.strip() for name in (value or "").split(separator) if name.strip()]
            for value in values
        ]
    if cut := rows_where(found, lambda row: row is not None and ... in row):
        raise DataError(f"The column '{column}' holds lists without their middle: {cut}; {WHOLE}.")
    if None in found or not any(found):
        return table  # :func:`check_label_lists` says which are none
    texts = [[_as_text(one) for one in row or []] for row in found]
    return with_values(table, column, texts, List(Value("string")))


def _as_text(item: Any) -> str | None:
    """Return an item of a list as a text; None, which checks report, for a missing one or a fraction."""
    if item is None or (isinstance(item, float) and not item.is_integer()):
        return None
    return str(item)


def with_label_columns(splits: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Make one list of labels for each row from columns of zeros and ones, in place of the first of them.

    Args:
        splits: Mapping from split names to datasets.
        columns: Names of the columns, which are those of the labels.

    Raises:
        DataError: With all columns that are missing, and all that hold something else.
    """
    from datasets import ClassLabel, List

    problems, made = Problems(), dict(splits)
    for column in columns:
        problems.run(find_column, {"train": splits["train"]}, "label", column)
    problems.raise_if_any()
    for split, table in splits.items():
        if split != "train" and not set(columns) & set(table.column_names):
            continue  # a test set without labels
        lost = [name for name in columns if name not in table.column_names]
        if lost:
            problems.add(f"The {split} split has no column {listed(lost)}; training has it.")
            continue
        rows: list[list[int]] = [[] for _ in range(len(table))]
        for number, column in enumerate(columns):
            odd = rows_where(values_of(table, column), lambda v: _said(v) is None)
            if odd:
                problems.add(
                    f"The {split} split's column '{column}' holds something else than 0 and 1: {odd}. With "
                    "several --label-column, each is a label that a row has or has not."
                )
            for row, value in zip(rows, values_of(table, column), strict=True):
                row.extend([number] * bool(_said(value)))
        own = table.remove_columns([c for c in columns[1:] if c in table.column_names])
        made[split] = with_values(own, columns[0], rows, List(ClassLabel(names=list(columns))))
    problems.raise_if_any()
    return made


def are_indicators(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether lists hold a 0 or a 1 for each label, and not the labels' names.

    A list of names has none of them twice, and its order says nothing.

    Example:
        >>> are_indicators([[1, 0, 1], [0, 0, 1]]), are_indicators([[0, 1], [1, 0]])
        (True, True)
        >>> are_indicators([[0, 1], [1], []]), are_indicators([["a", "a"]])
        (False, False)
    """
    bits = [[_bit(one) for one in row] for row in rows if row]
    if any(None in row for row in bits):
        return False
    return any(len({*row}) < len(row) for row in bits) or (
        all(len(row) > 1 for row in bits) and len({*map(tuple, bits)}) > 1
    )


def _bit(value: Any) -> int | None:
    word = str(value).lower()
    return 1 if word in ("1", "1.0", "true") else 0 if word in ("0", "0.0", "false") else None


def with_indicators(splits: Mapping[str, Any], column: str) -> tuple[dict[str, Any], list[str]]:
    """Make lists of labels of lists of zeros and ones, where the training set has these.

    Args:
        splits: Mapping from split names to datasets.
        column: Name of the column of the lists; a split may lack it.

    Returns:
        The splits, whose labels are called by their places, from 0 on; and what was done, in a sentence.

    Raises:
        DataError: With all rows that have another number of zeros and ones, or something else.
    """
    from datasets import ClassLabel, List

    rows = [row for row in values_of(splits["train"], column) if isinstance(row, list) and row]
    if label_names(splits["train"], column) or not are_indicators(rows):
        return dict(splits), []
    ((width, _),) = Counter(map(len, rows)).most_common(1)
    labels = List(ClassLabel(names=[str(place) for place in range(width)]))
    there = {name: table for name, table in splits.items() if column in table.column_names}
    problems, made, hidden = Problems(), dict(splits), hidden_splits(there, column)
    for split in there:
        if split in hidden:  # an empty list would say that a row has no label
            none = [None] * len(there[split])
            made[split] = with_values(there[split], column, none, labels)
            continue
        values = values_of(there[split], column)
        bits = [[*map(_bit, row)] if isinstance(row, list) else [] for row in values]
        if odd := rows_where(bits, lambda row: len(row) != width or None in row):
            problems.add(
                f"The {split} split's column '{column}' is read as zeros and ones, one for each of {width} "
                f"labels, and has something else: {odd}. Expected {width} of them in each row."
            )
        places = [[place for place, bit in enumerate(row) if bit] for row in bits]
        if not odd:
            made[split] = with_values(there[split], column, places, labels)
    problems.raise_if_any()
    return made, [
        f"The column '{column}' has {width} zeros and ones in each row, so each place is a label, called 0 to "
        f"{width - 1}. For other names give a column of zeros and ones for each label (--label-column)."
    ]


def _said(value: Any) -> bool | None:
    """Read whether a label is there; None if the value says neither."""
    word = "" if value is None else str(value).strip().lower()
    number = as_number(value)
    if word in YES or number == 1:
        return True
    return False if word in NO or number == 0 else None


def check_label_lists(
    splits: Mapping[str, Any], column: str, words: str | None = None
) -> tuple[list[str], list[str]]:
    """List the labels where each row has a list of them: any number, or one a word.

    Args:
        splits: Mapping from split names to datasets.
        column: Name of the column of the lists, of strings or of whole numbers.
        words: Name of the column of the words, which are as many as the labels.

    Returns:
        The labels' names in the order of :func:`check_labels`, and the hidden splits' names.

    Raises:
        DataError: With everything that is wrong with them.
    """
    problems, hidden = Problems(), hidden_splits(splits, column)
    names, seen = label_names(splits["train"], column), {}
    for split, table in splits.items():
        if split in hidden:
            continue
        rows = [(v, names) for v in values_of(table, column)]
        odd = rows_where(rows, lambda row: not isinstance(row[0], list) or None in read_label(*row))
        if odd:
            problems.add(
                f"The {split} split's column '{column}' holds values that are not lists of labels: {odd}. "
                "Expected a list of strings or of whole numbers in each row."
            )
            continue
        if words and (odd := rows_where(rows, lambda row: IGNORED in read_label(*row))):
            problems.add(
                f"The {split} split's column '{column}' holds {IGNORED}, which for Hugging Face's trainers "
                f"marks what has no tag: {odd}. Expected a tag for each word; give words and tags as they "
                "were before a tokenizer cut them into pieces."
            )
            continue
        seen[split] = {name for row in rows for name in read_label(*row)}
        lengths = [len(v) for v in values_of(table, words)] if words else []
        if words and (
            odd := rows_where(
                zip(lengths, rows, strict=True), lambda both: both[0] != len(both[1][0])
            )
        ):
            problems.add(
                f"The {split} split has another number of '{column}' than of '{words}': {odd}. Expected one "
                "label per word."
            )
    problems.raise_if_any()
    known = sorted(seen["train"], key=label_order)
    if not known:
        raise DataError(f"No row of the training set has a label in the column '{column}'.")
    if words and len(known) < 2:
        problems.add(
            f"The training set has one tag only, '{known[0]}', in the column '{column}'. Tagging needs two or "
            "more."
        )
    for split, labels in seen.items():
        if unknown := sorted(labels - seen["train"]):
            problems.add(unknown_labels(split, unknown, known))
    problems.raise_if_any()
    return list(names or known), hidden
