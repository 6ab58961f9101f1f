"""The columns of a text: one, the two of a pair, or several that are joined."""

from collections.abc import Mapping, Sequence
from typing import Any

from nlptl.data.columns import (
    STRINGS,
    USUAL,
    check_texts,
    find_column,
    rows_where,
    values_of,
)
from nlptl.data.labels import with_values
from nlptl.errors import Problems, listed, many

#: Pairs of columns that belong together, such as a premise and its hypothesis.
PAIRS = (*zip(USUAL["first"], USUAL["second"], strict=True), ("question", "sentence"))
#: Columns of a short text above a longer one, and of the longer one: a ticket's subject and its body.
HEADINGS = ("subject", "title", "headline")
BODIES = ("body", "description", "message", "content", "text", "abstract")
#: Text between the texts of three columns and more.
SEPARATOR = " | "


def find_text_columns(
    splits: Mapping[str, Any], asked: Sequence[str] = (), *, but: str | None = None
) -> tuple[str, ...]:
    """Name the columns of the texts in all splits.

    Args:
        splits: Mapping from split names to datasets.
        asked: Columns that the user names, or none to look for usual names: first those of a pair of
            sentences, then a heading with its text, then a single text.
        but: Column of the labels, which is no text.

    Raises:
        DataError: With all columns that are missing or stand twice.
    """
    flag = "--text-column "
    if asked:
        problems = Problems()
        for name in asked:
            problems.run(find_column, splits, "text", name, flag)
        if twice := sorted({name for name in asked if list(asked).count(name) > 1}):
            problems.add(
                f"{flag}{' '.join(asked)}: {listed(twice)} stands there twice; expected different columns."
            )
        if but in asked:
            problems.add(f"The column '{but}' stands for a text and for the labels at once.")
        problems.raise_if_any()
        return tuple(asked)
    lower = {name.lower(): name for name in splits["train"].column_names[::-1] if name != but}
    headed = [(above, below) for above in HEADINGS for below in BODIES]
    for first, second in (*PAIRS, *headed):
        if first in lower and second in lower:
            return find_text_columns(splits, (lower[first], lower[second]))
    train = splits["train"]
    others = train.remove_columns(but) if but in train.column_names else train
    return find_text_columns(splits, (find_column({"train": others}, "text", None, flag),))


def in_words(columns: Sequence[str], separator: str = SEPARATOR) -> str:
    """Say how the texts of some columns become one input.

    Example:
        >>> in_words(("body",)), in_words(("subject", "body"))
        ("the column 'body'", "the columns 'subject' and 'body', as the tokenizer joins pairs")
    """
    quoted = [f"'{name}'" for name in columns]
    if len(columns) == 1:
        return f"the column {quoted[0]}"
    both = f"the columns {', '.join(quoted[:-1])} and {quoted[-1]}"
    how = "as the tokenizer joins pairs" if len(columns) == 2 else f"joined by {separator!r}"
    return f"{both}, {how}"


def check_text_columns(splits: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Make sure that every example has a text; of several columns some may be blank, and not all in one row.

    Raises:
        DataError: If not; the message says how many, and which rows.
    """
    if len(columns) == 1:
        check_texts(splits, columns[0])
        return
    problems = Problems()
    for split, table in splits.items():
        for column in columns:
            odd = rows_where(
                values_of(table, column), lambda v: v is not None and not isinstance(v, str)
            )
            if odd:
                problems.add(
                    f"The {split} split's column '{column}' holds values that are not text: {odd}. Expected "
                    "strings; correct the file or choose other columns with --text-column."
                )
        rows = zip(*(values_of(table, column) for column in columns), strict=True)
        if empty := rows_where(rows, lambda row: not any(str(v or "").strip() for v in row)):
            problems.add(
                f"The {split} split has rows without any text in {listed(columns)}: {empty}. Remove them."
            )
    problems.raise_if_any()


def with_blanks(splits: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Replace missing values in columns of texts by empty texts."""
    from datasets import Value

    made = dict(splits)
    for split, table in splits.items():
        for column in columns if len(columns) > 1 else ():
            feature = table.features[column]
            values = list(values_of(table, column))
            if getattr(feature, "dtype", "") not in STRINGS or None in values:
                texts = ["" if value is None else value for value in values]
                made[split] = with_values(made[split], column, texts, Value("string"))
    return made


def blank_notes(splits: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Say how many rows of the training set have nothing in one of several columns."""
    found, table = [], splits["train"]
    for column in columns if len(columns) > 1 else ():
        blank = sum(not value.strip() for value in values_of(table, column))
        if blank:
            found.append(
                f"{blank:,} of the {many(len(table), 'training example')} {'has' if blank == 1 else 'have'} "
                f"nothing in the column '{column}'."
            )
    return found


def joined_texts(columns: Sequence[Sequence[str]], separator: str) -> list[str]:
    """Join the texts of each row; blank ones are left out.

    Args:
        columns: Texts of each column, equally many.
        separator: Text between two of them.

    Example:
        >>> joined_texts([["a", ""], ["b", "c"], ["d", "e"]], " | ")
        ['a | b | d', 'c | e']
    """
    rows = zip(*columns, strict=True)
    return [separator.join(text for text in row if text.strip()) for row in rows]
