"""Columns by their roles, and checks of their values."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    "first": ("first", "sentence1", "premise", "question1", "text1", "sentence_a"),
    "second": ("second", "sentence2", "hypothesis", "question2", "text2", "sentence_b"),
    "tokens": ("tokens", "words"),
    "tags": ("tags", "ner_tags", "pos_tags"),
    "score": ("score", "similarity", "similarity_score", "label"),
    "question": ("question", "query"),
    "context": ("context", "passage", "paragraph"),
    "answers": ("answers", "answer", "answer_text", "answer_texts"),
    "label": ("label", "labels", "sentiment", "class", "category", "target", "polarity"),
}


def column_flag(role: str, request: Any = None) -> str:
    """Return the beginning of the flag for a role's column: ``--text-column `` or ``--column first=``.

    Args:
        role: The role.
        request: Request that may have a field ``{role}_column``; None stands for one that has it.
    """
    named = request is None or hasattr(request, f"{role}_column")
    return f"--{role.replace('_', '-')}-column " if named else f"--column {role}="


def asked_columns(request: Any, roles: Sequence[str]) -> dict[str, str | None]:
    """Map each role to the column that a configuration names, by ``{role}_column`` or ``column``, or to None.

    Raises:
        ConfigError: If an entry of ``column`` is not ``role=name``, or there is no such role.
    """
    asked = {role: getattr(request, f"{role}_column", None) for role in roles}
    problems = Problems()
    for entry in getattr(request, "column", ()):
        role, _, name = entry.partition("=")
        if role not in asked or not name:
            problems.add(
                f"--column {entry}: expected role=name, with one of the roles {listed(roles)}."
                f"{suggest(role, roles)}"
            )
        asked[role] = name
    problems.raise_if_any()
    return asked


def find_column(
    splits: Mapping[str, Any], role: str, asked: str | None, flag: str | None = None
) -> str:
    """Name the column of a role in all splits.

    Args:
        splits: Mapping from split names to datasets.
        role: A key of :data:`USUAL`, or the usual name itself.
        asked: The user's choice, or None to look for a usual name.
        flag: Beginning of the flag that names it (:func:`column_flag`).

    Raises:
        DataError: If there is no such column; the message lists the columns.
    """
    names, flag = splits["train"].column_names, flag or column_flag(role)
    if asked is None:
        lower = {name.lower(): name for name in reversed(names)}
        asked = next((lower[usual] for usual in _usual(role) if usual in lower), None)
        if asked is None:
            raise DataError(
                f"No column of the training set has a usual name for a {role} "
                f"({', '.join(_usual(role))}). It has: {listed(names)}. Say which with {flag}NAME."
            )
    for split, table in splits.items():
        if asked not in table.column_names:
            raise DataError(
                f"{flag}{asked}: the {split} split has no such column."
                f"{suggest(asked, table.column_names)} It has: {listed(table.column_names)}."
            )
    return asked


def _usual(role: str) -> tuple[str, ...]:
    return USUAL.get(role, (role.lower(),))


def find_columns(
    splits: Mapping[str, Any], asked: Mapping[str, str | None], request: Any = None
) -> dict[str, str]:
    """Name the columns of several roles.

    Args:
        splits: Mapping from split names to datasets.
        asked: Mapping from roles to choices, as for :func:`find_column`.
        request: Request, as for :func:`column_flag`.

    Raises:
        DataError: With all columns that are missing, and with those that two roles share.
    """
    problems = Problems()
    found = {
        role: problems.run(find_column, splits, role, choice, column_flag(role, request))
        for role, choice in asked.items()
    }
    columns = {role: column for role, column in found.items() if column}
    for column in sorted(set(columns.values())):
        roles = [role for role, own in columns.items() if own == column]
        if len(roles) > 1:
            problems.add(
                f"The column '{column}' stands for {listed(roles)} at once. Say which columns they are: "
                f"{', '.join(f'{column_flag(role, request)}NAME' for role in roles)}."
            )
    problems.raise_if_any()
    return columns


def values_of(table: Any, column: str) -> Iterator[Any]:
    """Yield a column's values one by one, without reading all of it into memory."""
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


def check_texts(splits: Mapping[str, Any], column: str, flag: str = "--text-column ") -> None:
    """Make sure that every text is a string with something in it.

    Args:
        splits: Mapping from split names to datasets.
        column: Name of the column of the texts.
        flag: Beginning of the flag that names it.

    Raises:
        DataError: If some are not; the message says how many, and which rows.
    """
    problems = Problems()
    for split, table in splits.items():
        odd = rows_where(values_of(table, column), lambda v: not isinstance(v, str))
        if odd:
            values = values_of(table, column)
            kinds = sorted({type(v).__name__ for v in values if not isinstance(v, str)})
            problems.add(
                f"The {split} split's column '{column}' holds values that are not text: {odd}, of type "
                f"{listed(kinds)}. Expected strings; correct the file or choose another column with "
                f"{flag}NAME."
            )
        empty = rows_where(values_of(table, column), lambda v: isinstance(v, str) and not v.strip())
        if empty:
            problems.add(
                f"The {split} split's column '{column}' holds empty texts: {empty}. Remove these rows."
            )
    problems.raise_if_any()


def is_words(value: Any) -> bool:
    """Whether a value is a list of one or more words, none of them blank or with white space inside."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(word, str) and len(word.split()) == 1 for word in value)
    )


def check_words(splits: Mapping[str, Any], column: str, flag: str) -> None:
    """Make sure that every value is a list of words.

    Raises:
        DataError: If some are not; the message says how many, and which rows.
    """
    problems = Problems()
    for split, table in splits.items():
        if odd := rows_where(values_of(table, column), lambda v: not is_words(v)):
            problems.add(
                f"The {split} split's column '{column}' holds values that are not lists of words: {odd}. "
                f"Expected lists of strings without white space; correct the file or choose another column "
                f"with {flag}NAME."
            )
    problems.raise_if_any()


def hidden_splits(splits: Mapping[str, Any], column: str) -> list[str]:
    """List the splits, except ``train``, whose labels are all -1 or all missing, as in GLUE's test sets."""
    return [
        split
        for split, table in splits.items()
        if split != "train" and all(v in (-1, None, "-1") for v in values_of(table, column))
    ]


def check_numbers(splits: Mapping[str, Any], column: str) -> list[str]:
    """Make sure that the labels are finite numbers.

    Returns:
        The splits whose labels are hidden.

    Raises:
        DataError: If some are not; the message says how many, and which rows.
    """
    problems, hidden = Problems(), hidden_splits(splits, column)
    for split, table in splits.items():
        odd = rows_where(
            values_of(table, column),
            lambda v: isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v),
        )
        if odd and split not in hidden:
            problems.add(
                f"The {split} split's column '{column}' holds values that are not finite numbers: {odd}. "
                "Expected one number per row."
            )
    problems.raise_if_any()
    return hidden


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
    known = sorted(seen["train"], key=_sort_key)
    for split, labels in seen.items():
        if unknown := sorted(labels - seen["train"]):
            problems.add(_unknown(split, unknown, known))
    problems.raise_if_any()
    return list(names or known), hidden


def _unknown(split: str, unknown: Sequence[str], known: Sequence[str]) -> str:
    return (
        f"The {split} split has labels that the training set never has: {listed(unknown)}. "
        f"Training has: {listed(known)}."
    )


def check_labels(
    splits: Mapping[str, Any], column: str, flag: str = "--label-column "
) -> tuple[list[str], list[str]]:
    """List the classes, and the splits whose labels are hidden.

    Strings are sorted, integers (and whole floats, and booleans) are sorted as numbers, and a hub
    set's ClassLabel keeps its names and order. A split whose labels are all -1 or all missing, as
    the test sets of GLUE, counts as hidden.

    Returns:
        The classes' names, and the hidden splits' names.

    Raises:
        DataError: For missing or fractional labels, a single class, or a label that training lacks.
    """
    hidden = hidden_splits(splits, column)
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
                f"whole: {odd}. Expected a string or an integer in each row."
            )
        seen[split] = {name for v in values if (name := label_name(v, names)) is not None}
    problems.raise_if_any()
    classes = names or sorted(seen["train"], key=_sort_key)
    for split, labels in seen.items():
        if unknown := sorted(labels - seen["train"]):
            problems.add(_unknown(split, unknown, sorted(seen["train"], key=_sort_key)))
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


def label_name(value: Any, names: Any = None) -> str | None:
    """Name a label's class; None if the value cannot be a label."""
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


def label_names(table: Any, column: str) -> list[str] | None:
    """Return the names of a column's integer labels, if the dataset has them (ClassLabel, also in lists)."""
    feature = table.features[column]
    return getattr(getattr(feature, "feature", feature), "names", None)


def read_label(value: Any, names: Any = None) -> Any:
    """Return a row's label by name (:func:`label_name`), or a list of labels by their names."""
    if isinstance(value, list):
        return [label_name(one, names) for one in value]
    return label_name(value, names)


def _sort_key(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
