"""Checked splits with one column per role: what a task's ``prepare`` does by default."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from nlptl.data.columns import (
    asked_columns,
    check_texts,
    check_words,
    column_flag,
    find_column,
    find_columns,
    named_columns,
)
from nlptl.data.label_lists import check_label_lists
from nlptl.data.labels import (
    check_labels,
    check_numbers,
    unlabelled_splits,
    with_numbers,
    with_single_labels,
)
from nlptl.data.rows import with_file_columns, with_ids
from nlptl.data.sampling import draw_splits
from nlptl.data.sources import DataRequest, load_asked
from nlptl.data.text_columns import (
    blank_notes,
    check_text_columns,
    find_text_columns,
    in_words,
    with_blanks,
)
from nlptl.errors import DataError, Problems, listed, many
from nlptl.tasks.base import Task
from nlptl.tasks.kinds import CLASSES, check_no_numbers, check_options, table_kind
from nlptl.tasks.notes import data_notes


def read_splits(kind: type[Task], request: DataRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the tables that a configuration asks for.

    Returns:
        The splits with the columns that their files have, and a record of where they came from.

    Raises:
        UserError: If files cannot be read, or there is no training set.
    """
    return load_asked(request, readers=kind.readers)


def prepare_splits(
    kind: type[Task], raw: Mapping[str, Any], origin: Mapping[str, Any], request: DataRequest
) -> tuple[Task, dict[str, Any], dict[str, Any]]:
    """Check, rename, carve and limit; see :meth:`nlptl.tasks.base.Task.prepare_tables`.

    Raises:
        UserError: With everything that is wrong with the data.
    """
    raw = with_ids(raw, getattr(request, "id_column", None), named_columns(request))
    problems = Problems()
    if asked_kind := getattr(request, "kind", None):
        problems.run(check_options, kind.name, request)
    columns, texts, raw, unlabelled = _found_columns(kind, raw, request, problems)
    label = columns.get(kind.label)
    checked = problems.run(_check_gold, kind, raw, columns, request) if label else None
    problems.raise_if_any()
    assert checked  # raised above otherwise
    labels, hidden, raw = checked
    splits = {name: renamed(table, columns) for name, table in raw.items() if name not in hidden}
    own = {f.name for f in fields(kind)}
    given = own & {f.name for f in fields(kind.options)}
    values = {name: getattr(request, name) for name in sorted(given) if hasattr(request, name)}
    values |= {"inputs": tuple(role for role in columns if role != kind.label)} if texts[1:] else {}
    task = kind(tuple(labels), **values)
    splits = with_blanks(splits, task.inputs)
    splits, carved = draw_splits(
        splits,
        task.strata,
        seed=request.seed,
        most=request.max_train_examples,
        most_eval=request.max_eval_examples,
    )
    classes = task.classes(splits["train"])
    check_left(len(splits["train"]), classes, carved, request)
    record = {
        **origin,
        **(
            {"kind": kind_record(kind.name, asked_kind, raw["train"], request)}
            if asked_kind
            else {}
        ),
        "notes": [
            *origin.get("notes", ()),
            *(
                _told(name, carved, f"the file has no column for the {kind.label}")
                for name in unlabelled
            ),
            *(
                _told(name, carved, f"its {kind.label} column holds only -1 or nothing")
                for name in hidden
            ),
            *blank_notes(splits, task.inputs),
            *data_notes(task, splits),
        ],
        "columns": columns,
        **({"texts": in_words(texts, task.separator)} if texts else {}),
        **({"train_counts": {name: classes.count(name) for name in labels}} if classes else {}),
        "carved_from_train": carved,
        "hidden_labels": [*hidden, *unlabelled],
    }
    return task, splits, record


def _found_columns(
    kind: type[Task], raw: Mapping[str, Any], request: DataRequest, problems: Problems
) -> tuple[dict[str, str], tuple[str, ...], dict[str, Any], list[str]]:
    """Find the column of each role, check those of the inputs, and note whatever is wrong.

    Returns:
        Mapping from roles to columns, as far as they are there; the columns of the texts, if the task takes
        any number of them; the splits with a column of labels; and the names of the others.
    """
    several = takes_texts(kind, request)
    roles = [kind.label] if several else [*kind.fields, kind.label]
    asked = problems.run(asked_columns, request, roles) or {}
    raw, unlabelled = _with_labels(raw, kind, asked, request)
    found: dict[str, str | None] = {}
    texts: tuple[str, ...] = ()
    flag = column_flag(kind.label, request)
    label = problems.run(find_column, raw, kind.label, asked.get(kind.label), flag)
    if several:
        asked_texts = getattr(request, "text_column", ())
        texts = problems.run(find_text_columns, raw, asked_texts, but=label) or ()
        if texts:
            problems.run(check_text_columns, raw, texts)
        found = {role: column for role, column in zip(roles_of(texts, kind), texts, strict=True)}
    else:
        check = check_words if kind.split_into_words else check_texts
        for role in kind.fields:
            flag = column_flag(role, request)
            found[role] = problems.run(find_column, raw, role, asked.get(role), flag)
            if found[role]:
                problems.run(check, raw, found[role], flag)
        if all(found.values()) and label:
            problems.run(find_columns, raw, asked, request)
    found[kind.label] = label
    return {role: c for role, c in found.items() if c}, texts, raw, unlabelled


def takes_texts(kind: type[Task], request: DataRequest) -> bool:
    """Whether a task takes one text, two, or more, as ``--text-column`` says."""
    given = isinstance(getattr(request, "text_column", None), tuple | list)
    return given and kind.fields == ("text",)


def roles_of(texts: Sequence[str], kind: type[Task]) -> list[str]:
    """Name the fields of texts: the class's own for a single one, else the columns' names.

    Example:
        >>> roles_of(("subject", "label"), Task)
        ['subject', 'label_text']
    """
    if len(texts) < 2:
        return list(kind.fields[: len(texts)])
    taken = (kind.label, "id", "row", "gold", "prediction", "scores")
    return [f"{name}_text" if name in taken else name for name in texts]


def kind_record(name: str, asked: str, table: Any, request: Any) -> dict[str, str]:
    """Record which kind of task the data are for, and what says so."""
    why = table_kind(table, request).why if asked == "auto" else "said by --kind"
    return {"name": name, "why": why}


def renamed(table: Any, columns: Mapping[str, str]) -> Any:
    """Return a dataset with the columns of the roles under the roles' names, and ``id`` if there is one.

    The file's other columns stay beside them (:func:`nlptl.data.rows.with_file_columns`).
    """
    own = [name for name in ("id",) if name in table.column_names and name not in columns.values()]
    used = [*own, *columns.values()]
    roles = {column: role for role, column in columns.items() if column != role}
    return with_file_columns(table.select_columns(used).rename_columns(roles), table, used)


def _with_labels(
    raw: Mapping[str, Any], kind: type[Task], asked: Mapping[str, Any], request: DataRequest
) -> tuple[dict[str, Any], list[str]]:
    """Leave out the splits without a column of labels, as Kaggle's test sets, and name them."""
    flag = column_flag(kind.label, request)
    try:
        column = find_column({"train": raw["train"]}, kind.label, asked.get(kind.label), flag)
    except DataError:  # told with everything else
        return dict(raw), []
    lost = unlabelled_splits(raw, column, kind.label)
    return {name: table for name, table in raw.items() if name not in lost}, lost


def _told(split: str, carved: Mapping[str, int], why: str) -> str:
    count = carved.get(split, 0)
    return (
        f"{split}: {why}, so it is left out, and {many(count, 'example')} of the training set "
        f"{'was' if count == 1 else 'were'} set aside as {split} set. Label the file afterwards "
        "with nlptl predict."
    )


def _check_gold(
    kind: type[Task], splits: Mapping[str, Any], columns: Mapping[str, str], request: DataRequest
) -> tuple[list[str], list[str], dict[str, Any]]:
    """Check the labels as far as their form is known.

    Returns:
        Their names (none for numbers), the hidden splits, and the splits with one form of label.
    """
    column, flag = columns[kind.label], column_flag(kind.label, request)
    number = kind.label_dtype.is_floating_point
    splits = dict(splits)
    if getattr(request, "kind", None) == "auto" and kind.name == CLASSES:
        check_no_numbers(splits["train"], column)
    if not number and kind.pooled and not kind.split_into_words:
        splits = with_single_labels(splits, column)
    several = isinstance(splits["train"][column][0], list)
    check: Callable[..., tuple[list[str], list[str]]]
    if kind.split_into_words:
        check = partial(check_label_lists, words=columns.get(kind.fields[0]))
    elif several:
        check = check_label_lists
    elif number:
        hidden = check_numbers(splits, column)
        tables = {k: t if k in hidden else with_numbers(t, column) for k, t in splits.items()}
        return [], hidden, tables
    else:
        check = partial(check_labels, flag=flag)
    labels, hidden = check(splits, column)
    if not kind.labels:
        return labels, hidden, splits
    if unknown := [name for name in labels if name not in kind.labels]:
        raise DataError(
            f"The column '{column}' has the labels {listed(unknown)}, which the task {kind.name} does not "
            f"state; it states {listed(list(kind.labels))}."
        )
    return list(kind.labels), hidden, splits


def check_left(
    count: int,
    classes: list[str] | None,
    carved: Mapping[str, int],
    request: DataRequest,
    *,
    unit: str = "examples",
) -> None:
    """Make sure that there is something left to learn after other splits were set aside.

    Args:
        count: Number of training examples.
        classes: Their classes, if they have any.
        carved: Splits that were taken out of them.
        request: Request with ``max_train_examples``.
        unit: Name of what is set aside as a whole.

    Raises:
        DataError: If no example is left, or examples of one class only.
    """
    if count and (classes is None or len(set(classes)) > 1):
        return
    left = "no training examples"
    if count and classes:
        left = f"training examples of one class only, '{classes[0]}'"
    if request.max_train_examples is not None:
        raise DataError(
            f"--max-train-examples {request.max_train_examples} leaves {left}, because a part of them is for "
            "validation; raise it."
        )
    raise DataError(
        f"Setting {' and '.join(carved)} aside leaves {left}. Give more {unit}, or files of their own: "
        f"--validation-file, --test-file."
    )
