"""Columns by their roles, and checks of their values."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nlptl.errors import DataError, Problems, listed, suggest

#: Usual names of the columns of each role, in the order in which they are looked for.
USUAL = {
    "text": (
        *("sentence", "text", "review", "review_text", "content", "tweet", "comment", "document"),
        *("message", "body", "description", "utterance", "post", "abstract", "question", "query"),
        *("title", "subject", "headline"),
    ),
    "first": ("first", "sentence1", "premise", "question1", "text1", "sentence_a"),
    "second": ("second", "sentence2", "hypothesis", "question2", "text2", "sentence_b"),
    "tokens": ("tokens", "words", "token"),
    "tags": ("tags", "ner_tags", "ner", "labels", "pos_tags", "tag", "label"),
    "score": ("score", "similarity", "similarity_score", "relatedness", "label"),
    "question": ("question", "query"),
    "context": ("context", "passage", "paragraph"),
    "answers": ("answers", "answer", "answer_text", "answer_texts"),
    "label": (
        *("label", "labels", "sentiment", "class", "category", "target", "polarity", "queue"),
        *("intent", "topic", "topics", "tag", "tags", "ner_tags", "team", "department"),
        *("emotion", "relatedness", "similarity", "similarity_score", "score"),
    ),
}
#: Role to the role whose flag names its column: a tagger's words and tags come by the flags of a classifier.
ASKED_AS = {"tokens": "text", "tags": "label"}


#: Names of the types of strings in a dataset's features.
STRINGS = ("string", "large_string")
#: Number as it is written in a table.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def column_flag(role: str, request: Any = None) -> str:
    """Return the beginning of the flag for a role's column: ``--text-column `` or ``--column first=``.

    Args:
        role: The role.
        request: Request that may have a field ``{role}_column``; None stands for one that has it.
    """
    name = _flag_of(role, request)
    return f"--{name.replace('_', '-')} " if name else f"--column {role}="


def _flag_of(role: str, request: Any) -> str | None:
    """Return the field of a request that names a role's column, if there is one."""
    if request is None or hasattr(request, f"{role}_column"):
        return f"{role}_column"
    shared = f"{ASKED_AS.get(role, role)}_column"
    return shared if hasattr(request, shared) else None


def asked_columns(request: Any, roles: Sequence[str]) -> dict[str, str | None]:
    """Map each role to the column that a configuration names, by ``{role}_column`` or ``column``, or to None.

    Raises:
        ConfigError: If an entry of ``column`` is not ``role=name``, there is no such role, or a flag names
            several columns for a role that has one.
    """
    asked, problems = {}, Problems()
    for role in roles:
        name = _flag_of(role, request)
        given = getattr(request, name, None) if name else None
        if isinstance(given, tuple | list):
            if len(given) > 1:
                problems.add(
                    f"{column_flag(role, request)}{' '.join(given)}: expected one column, found {len(given)}."
                )
            given = given[0] if given else None
        asked[role] = given
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


def named_columns(request: Any) -> set[str]:
    """Return all columns that a request names, by whatever flag."""
    given = [value for name, value in vars(request).items() if name.endswith("_column") and value]
    each = [name for value in given for name in ([value] if isinstance(value, str) else value)]
    return {*each, *(entry.partition("=")[2] for entry in getattr(request, "column", ()))}


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
        asked = next((lower[usual] for usual in usual_names(role) if usual in lower), None)
        if asked is None:
            raise DataError(
                f"No column of the training set has a usual name for a {role} "
                f"({', '.join(usual_names(role))}). It has: {listed(names)}. Say which with {flag}NAME."
            )
    for split, table in splits.items():
        if asked not in table.column_names:
            raise DataError(
                f"{flag}{asked}: the {split} split has no such column."
                f"{suggest(asked, table.column_names)} It has: {listed(table.column_names)}."
            )
    return asked


def written_as(names: Iterable[str], *usual: str) -> str | None:
    """Find the name that is one of the usual ones, whatever its capitals, underscores and hyphens.

    Example:
        >>> written_as(["Text", "Answer_Start"], "answer_start"), written_as(["isImpossible"], "id")
        ('Answer_Start', None)
    """
    names = list(names)
    if exact := [name for name in usual if name in names]:
        return exact[0]
    bare = {re.sub(r"[\s_-]", "", name).lower(): name for name in reversed(names)}
    return next(filter(None, (bare.get(name.replace("_", "")) for name in usual)), None)


def check_once(names: Sequence[str], where: str) -> None:
    """Make sure that each column of a file has a name of its own; else one of them would be lost.

    Args:
        names: Names of the columns.
        where: The flag and the path, for messages.

    Raises:
        DataError: If a name stands twice.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            f"{where}: the table has the column {listed(twice)} more than once. Give each column a name of "
            "its own."
        )


def usual_names(role: str) -> tuple[str, ...]:
    """Return the usual names of a role's column, in small letters."""
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
    """Make sure that every text is a string with something in it, and that not all of them are numbers.

    Args:
        splits: Mapping from split names to datasets.
        column: Name of the column of the texts.
        flag: Beginning of the flag that names it.

    Raises:
        DataError: If some are not; the message says how many, and which rows.
    """
    problems = Problems()
    for split, table in splits.items():
        where = f"The {split} split's column '{column}'"
        choose = f"correct the file or choose another column with {flag}NAME."
        if not _all_filled(table, column):
            if odd := rows_where(values_of(table, column), lambda v: not isinstance(v, str)):
                values = values_of(table, column)
                kinds = sorted({type(v).__name__ for v in values if not isinstance(v, str)})
                problems.add(
                    f"{where} holds values that are not text: {odd}, of type {listed(kinds)}. Expected "
                    f"strings; {choose}"
                )
            if empty := rows_where(
                values_of(table, column), lambda v: isinstance(v, str) and not v.strip()
            ):
                problems.add(f"{where} holds empty texts: {empty}. Remove these rows.")
        elif only_numbers(table, column):
            problems.add(f"{where} holds numbers and no text. Expected texts; {choose}")
    problems.raise_if_any()


def _all_filled(table: Any, column: str) -> bool:
    """Whether a column holds nothing but strings with something in them."""
    import pyarrow as pa
    from pyarrow import compute

    known: Any = compute
    if table._indices is not None or getattr(table.features[column], "dtype", "") not in STRINGS:
        return all(isinstance(v, str) and v.strip() for v in values_of(table, column))
    for chunk in table.data.column(column).chunks:
        bare = known.utf8_trim_whitespace(chunk)
        if chunk.null_count or known.any(known.equal(bare, pa.scalar(""))).as_py():
            return False
    return True


def only_numbers(table: Any, column: str) -> bool:
    """Whether each value is a number, maybe written as a string, as in a column that was mistaken."""
    return all(as_number(value) is not None for value in values_of(table, column))


def as_number(value: Any) -> float | None:
    """Return a value as a finite number, if it is one or a string that writes one; else None.

    Example:
        >>> as_number("0.5"), as_number(2), as_number("0,5"), as_number(True), as_number("nan")
        (0.5, 2.0, None, None, None)
    """
    if isinstance(value, str) and not NUMBER.fullmatch(value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


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
