"""The kind of a task, seen from its table: classes, several labels, numbers, or a tag for each word."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from nlptl.data.columns import USUAL, as_number, find_column, is_words, rows_where, values_of
from nlptl.data.label_lists import are_indicators, list_of
from nlptl.data.labels import label_names
from nlptl.data.sources import TAGGED_READERS, load_asked
from nlptl.data.text_columns import find_text_columns
from nlptl.errors import DataError, Problems, UserError, listed
from nlptl.tasks.options import BUILTIN_OPTIONS, KINDS, ClassifyOptions

CLASSES, LABELS, NUMBERS, TAGS = KINDS
#: Most different whole numbers that are names of classes however they are spread.
FEW = 20
#: Rows of a class that make whole numbers from 0 on, without a gap, names of classes.
ROWS_EACH = 8
#: A number with a comma before the decimals.
COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
#: Fewest labels, least share of numbers and most different fractions of labels that may be names of classes.
LEAST, NEARLY, HANDFUL = 10, 0.9, 5


@dataclass(frozen=True)
class SeenKind:
    """What a table's labels are.

    Attributes:
        name: Registered name of the task.
        why: Sentence that says what in the table shows it.
    """

    name: str
    why: str


def kind_of(table: Any, text_columns: Sequence[str], label_column: str | Sequence[str]) -> str:
    """Name the task that a table is for; see :func:`seen_kind`."""
    return seen_kind(table, text_columns, label_column).name


def seen_kind(
    table: Any, text_columns: Sequence[str], label_column: str | Sequence[str]
) -> SeenKind:
    """Say which task a table is for, and what shows it.

    Lists of names are several labels; a list beside each list of words is their tags; numbers with fractions,
    or more than :data:`FEW` different ones, are a regression, unless they count from 0 without a gap as the
    numbers of classes do; anything else is the name of a class.

    Args:
        table: A :class:`datasets.Dataset`, the training set.
        text_columns: Columns of the texts.
        label_column: Column of the labels, or several columns of zeros and ones.
    """
    names = [label_column] if isinstance(label_column, str) else list(label_column)
    if len(names) > 1:
        return SeenKind(LABELS, f"{len(names)} columns of labels, one for each label")
    (column,) = names
    where, values = f"the column '{column}' has", list(values_of(table, column))
    known = [value for value in values if value is not None and value != ""]
    lists = [found for value in known if (found := list_of(value)) is not None]
    if lists and len(lists) == len(known):
        return _of_lists(table, text_columns, column, lists)
    numbers = [as_number(value) for value in known]
    if known and None not in numbers and not label_names(table, column):
        return _of_numbers([float(number or 0) for number in numbers], where)
    count = len({str(value) for value in known})
    return SeenKind(CLASSES, f"{where} {count:,} different names")


def _of_lists(
    table: Any, text_columns: Sequence[str], column: str, lists: Sequence[Sequence[Any]]
) -> SeenKind:
    if len(text_columns) == 1:
        (text,) = text_columns
        words = (list_of(value) or [] for value in values_of(table, text))
        if all(is_words([word for word in row if word is not ...]) for row in words):
            return SeenKind(TAGS, f"'{column}' is a list beside each list of words of '{text}'")
    sizes = [len(each) for each in lists]
    if not label_names(table, column) and are_indicators(lists):
        return SeenKind(
            LABELS,
            f"the column '{column}' has lists of {max(sizes)} zeros and ones, one for each label",
        )
    if all(size == 1 for size in sizes):
        return SeenKind(CLASSES, f"the column '{column}' has lists of one name each")
    return SeenKind(
        LABELS, f"the column '{column}' has lists of {min(sizes)} to {max(sizes)} labels"
    )


def _of_numbers(numbers: Sequence[float], where: str) -> SeenKind:
    different = sorted(set(numbers))
    count, low, high = len(different), f"{different[0]:g}", f"{different[-1]:g}"
    if fractions := sum(not number.is_integer() for number in numbers):
        return SeenKind(
            NUMBERS,
            f"{where} numbers from {low} to {high}, {fractions:,} of {len(numbers):,} with a fraction",
        )
    without_gap = different == list(range(count)) and len(numbers) >= ROWS_EACH * count
    if count <= FEW or without_gap:
        return SeenKind(CLASSES, f"{where} {count:,} different whole numbers from {low} to {high}")
    return SeenKind(NUMBERS, f"{where} {count:,} different numbers from {low} to {high}")


def check_no_numbers(table: Any, column: str) -> None:
    """Make sure that labels which are read as names of classes are not numbers, but for a few.

    A single ``NA``, or commas before the decimals, would make a class of each number. Whole numbers may be
    names.

    Raises:
        DataError: If nearly all are numbers, and more than :data:`HANDFUL` different ones have a fraction.
    """
    if label_names(table, column):
        return
    values = [value for value in values_of(table, column) if not _is_blank(value)]
    commas = [isinstance(value, str) and bool(COMMA.fullmatch(value.strip())) for value in values]
    numbers = [as_number(value) for value in values]
    fractions = {number for number in numbers if number is not None and not number.is_integer()}
    fractions |= {value for value, comma in zip(values, commas, strict=True) if comma}
    good = sum(n is not None or comma for n, comma in zip(numbers, commas, strict=True))
    if len(values) < LEAST or good < NEARLY * len(values) or len(fractions) <= HANDFUL:
        return

    def is_odd(value: Any) -> bool:
        return not _is_blank(value) and as_number(value) is None

    if odd := rows_where(values_of(table, column), is_odd):
        shown = listed([*dict.fromkeys(repr(v) for v in values if is_odd(v))][:3])
        texts = all(isinstance(value, str) for value in values)
        instead = f", or make a class of each number with --kind {CLASSES}" * texts
        raise DataError(
            f"The train split's column '{column}' holds numbers with fractions, and not each is written as "
            f"one: {odd}, such as {shown}. Expected one number per row, with a point before the decimals. "
            f"Mend these rows{instead}."
        )


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def chosen_kind(request: Any) -> str:
    """Name the task that ``--kind`` asks for; with ``auto``, the one that the training set is for.

    Where the tables cannot be read or have no such columns, it is a classification of texts, whose preparation
    reports that with everything else.

    Args:
        request: Request for the data (:class:`nlptl.cli.config.ClassifyConfig`).
    """
    if request.kind != "auto":
        return request.kind
    try:
        splits, _ = load_asked(request, readers=TAGGED_READERS)
        return table_kind(splits["train"], request).name
    except UserError:
        return CLASSES


def table_kind(table: Any, request: Any) -> SeenKind:
    """Say which task a table is for, given the columns that a request names.

    Raises:
        UserError: If there are no such columns.
    """
    train, labels, texts = {"train": table}, tuple(request.label_column), tuple(request.text_column)
    words = [name for name in table.column_names if name.lower() in USUAL["tokens"]]
    if words and not texts:
        texts = (find_column(train, "tokens", None),)
    if getattr(request, "label_separator", None) is not None and len(labels) < 2:
        return SeenKind(LABELS, "--label-separator stands between the labels of a row")
    if len(labels) < 2:
        role = "tags" if texts[:1] == tuple(words[:1]) and words else "label"
        labels = (find_column(train, role, labels[0] if labels else None),)
    return seen_kind(table, texts or find_text_columns(train, but=labels[0]), labels)


def check_options(kind: str, request: Any) -> None:
    """Make sure that no flag is given that belongs to other kinds of task only.

    Args:
        kind: Name of the task.
        request: Request that has the flags of all kinds (:class:`nlptl.tasks.options.ClassifyOptions`).

    Raises:
        ConfigError: With all flags that have nothing to act on.
    """
    own, problems = {field.name for field in fields(BUILTIN_OPTIONS[kind])}, Problems()
    for field in fields(ClassifyOptions):
        if field.name in own or field.name == "kind":
            continue
        if getattr(request, field.name) != field.default:
            others = [name for name in KINDS if hasattr(BUILTIN_OPTIONS[name], field.name)]
            problems.add(
                f"--{field.name.replace('_', '-')} is for {' and '.join(others)}; these data are for {kind}. "
                "Leave it out, or say otherwise with --kind."
            )
    problems.raise_if_any()
