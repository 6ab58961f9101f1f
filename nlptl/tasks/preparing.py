"""Checked splits with one column per role: what a task's ``prepare`` does by default."""

from collections.abc import Callable, Mapping
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
)
from nlptl.data.labels import (
    check_label_lists,
    check_labels,
    check_numbers,
    unlabelled_splits,
    with_numbers,
    with_single_labels,
)
from nlptl.data.rows import with_file_columns, with_ids
from nlptl.data.sampling import draw_splits
from nlptl.data.sources import DataRequest, load_asked
from nlptl.errors import DataError, Problems, listed
from nlptl.tasks.base import Task
from nlptl.tasks.notes import data_notes


def prepare_splits(
    kind: type[Task], request: DataRequest
) -> tuple[Task, dict[str, Any], dict[str, Any]]:
    """Read, check, rename, carve and limit; see :meth:`nlptl.tasks.base.Task.prepare`.

    Raises:
        UserError: With everything that is wrong with the data.
    """
    raw, origin = load_asked(request)
    raw = with_ids(raw, getattr(request, "id_column", None))
    roles = [*kind.fields, kind.label]
    asked = asked_columns(request, roles)
    raw, unlabelled = _with_labels(raw, kind, asked, request)
    problems = Problems()
    found = {
        role: problems.run(find_column, raw, role, asked[role], column_flag(role, request))
        for role in roles
    }
    check = check_words if kind.split_into_words else check_texts
    for role in kind.fields:
        if found[role]:
            problems.run(check, raw, found[role], column_flag(role, request))
    columns = problems.run(find_columns, raw, asked, request) if all(found.values()) else None
    checked = problems.run(_check_gold, kind, raw, found, request) if found[kind.label] else None
    problems.raise_if_any()
    assert columns and checked  # raised above otherwise
    labels, hidden, raw = checked
    splits = {name: renamed(table, columns) for name, table in raw.items() if name not in hidden}
    given = {f.name for f in fields(kind)} & {f.name for f in fields(kind.options)}
    task = kind(tuple(labels), **{name: getattr(request, name) for name in sorted(given)})

    def strata(table: Any) -> list[str]:
        return task.classes(table) or [""] * len(table)

    splits, carved = draw_splits(
        splits,
        strata,
        seed=request.seed,
        most=request.max_train_examples,
        most_eval=request.max_eval_examples,
    )
    classes = task.classes(splits["train"])
    check_left(len(splits["train"]), classes, carved, request)
    record = {
        **origin,
        "notes": [
            *(_told(name, carved, kind.label) for name in unlabelled),
            *data_notes(task, splits),
        ],
        "columns": columns,
        **({"train_counts": {name: classes.count(name) for name in labels}} if classes else {}),
        "carved_from_train": carved,
        "hidden_labels": [*hidden, *unlabelled],
    }
    return task, splits, record


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
        column = find_column({"train": raw["train"]}, kind.label, asked[kind.label], flag)
    except DataError:  # told with everything else
        return dict(raw), []
    lost = unlabelled_splits(raw, column, kind.label)
    return {name: table for name, table in raw.items() if name not in lost}, lost


def _told(split: str, carved: Mapping[str, int], label: str) -> str:
    return (
        f"{split}: the file has no column for the {label}, so it is left out, and {carved.get(split, 0)} "
        f"examples of the training set were set aside as {split} set. Label the file afterwards with nlptl "
        "predict."
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
