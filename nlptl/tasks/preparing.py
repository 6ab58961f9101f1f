"""Checked splits with one column per role: what a task's ``prepare`` does by default."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from nlptl.data.columns import (
    asked_columns,
    check_label_lists,
    check_labels,
    check_numbers,
    check_texts,
    check_words,
    column_flag,
    find_column,
    find_columns,
)
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
    roles = [*kind.fields, kind.label]
    asked = asked_columns(request, roles)
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
    labels, hidden = checked
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
        "notes": data_notes(task, splits),
        "columns": columns,
        **({"train_counts": {name: classes.count(name) for name in labels}} if classes else {}),
        "carved_from_train": carved,
        "hidden_labels": hidden,
    }
    return task, splits, record


def renamed(table: Any, columns: Mapping[str, str]) -> Any:
    """Return a dataset with the columns of the roles under the roles' names, and ``id`` if there is one."""
    own = [name for name in ("id",) if name in table.column_names and name not in columns.values()]
    used = table.select_columns([*own, *columns.values()])
    return used.rename_columns({column: role for role, column in columns.items() if column != role})


def _check_gold(
    kind: type[Task], splits: Mapping[str, Any], columns: Mapping[str, str], request: DataRequest
) -> tuple[list[str], list[str]]:
    """Check the labels as far as their form is known; return names (none for numbers) and hidden splits."""
    column, flag = columns[kind.label], column_flag(kind.label, request)
    several = isinstance(splits["train"][column][0], list)
    check: Callable[..., tuple[list[str], list[str]]]
    if kind.split_into_words:
        check = partial(check_label_lists, words=columns.get(kind.fields[0]))
    elif several:
        check = check_label_lists
    elif kind.label_dtype.is_floating_point:
        return [], check_numbers(splits, column)
    else:
        check = partial(check_labels, flag=flag)
    labels, hidden = check(splits, column)
    if not kind.labels:
        return labels, hidden
    if unknown := [name for name in labels if name not in kind.labels]:
        raise DataError(
            f"The column '{column}' has the labels {listed(unknown)}, which the task {kind.name} does not "
            f"state; it states {listed(list(kind.labels))}."
        )
    return list(kind.labels), hidden


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
