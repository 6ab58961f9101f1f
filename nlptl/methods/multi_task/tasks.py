"""Tasks by name and data: each read as its own recipe would read it, of whatever kind its table is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

from nlptl.data.columns import USUAL
from nlptl.data.progress import quiet_datasets
from nlptl.data.sampling import labels_of, subset
from nlptl.data.sources import load_asked
from nlptl.data.squad import read_questions
from nlptl.errors import ConfigError, DataError, Mistakes, Problems, UserError, listed, suggest
from nlptl.tasks.base import Task, get_task
from nlptl.tasks.kinds import chosen_kind
from nlptl.tasks.options import (
    BUILTIN_OPTIONS,
    ClassifyOptions,
    QuestionAnsweringOptions,
    TextClassificationOptions,
)

#: Tasks that are taken without flags, with the columns that have no usual name.
USUAL_COLUMNS = {
    data: {"domain": (("label", "domain"),)} for data in ("bundled/remarks", "bundled/reviews")
}
CLASSES, QUESTIONS = "text-classification", "question-answering"
#: Roles that a column may have, with whether several columns may have it.
ROLES = {"text": True, "label": True, "question": False, "context": False, "answers": False}


@dataclass(frozen=True)
class Member:
    """A task of the study.

    Attributes:
        name: Its name.
        task: Task of its examples.
        splits: ``train``, ``validation`` and ``test``.
        record: Record of where they came from.
    """

    name: str
    task: Task
    splits: Mapping[str, Any]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Drawn:
    """A view of a task's splits: a seed's own draw of its labels.

    Attributes:
        most: Most labels to train on and to choose by, together.
    """

    most: int

    def __call__(self, task: Task, splits: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Return the splits with fewer examples to train on and to choose by, drawn by class."""
        found = dict(splits)
        for name in ("train", "validation"):
            strata = task.strata(splits[name])
            found[name] = subset(splits[name], strata, labels_of(name, self.most), seed)
        return found


def named(words: Sequence[str], problems: Problems) -> dict[str, str]:
    """Map the names of the tasks to their data.

    Args:
        words: As the flag gives them.
        problems: Notes words without a name or data, names that occur twice, and a lack of tasks.

    Example:
        >>> named(["topic:news.csv", "mood:reviews:small"], Problems())
        {'topic': 'news.csv', 'mood': 'reviews:small'}
    """
    found: dict[str, str] = {}
    for word in words:
        name, _, data = word.partition(":")
        if not (name and data) or set(name) & set("./\\= "):
            problems.add(
                f"--tasks {word}: expected name:data, such as topic:news.csv; no . / = or space in a name."
            )
        elif name in found:
            problems.add(
                f"--tasks {word}: another task has the name {name}; expected one of its own."
            )
        else:
            found[name] = data
    if len(found) == len(words) < 2:  # else one of the words is wrong already
        problems.add(
            f"--tasks {' '.join(words)}: expected two tasks or more, as name:data. A single one is what nlptl "
            "run classify is for."
        )
    return found


def asked_columns(
    words: Sequence[str], names: Sequence[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Map each task to the columns that the user names for its roles.

    Example:
        >>> asked_columns(["pairs.text=first,second"], ["pairs"])
        {'pairs': {'text': ('first', 'second')}}

    Raises:
        UserError: With all words that are not ``task.role=column``, or of a task or role that there is not.
    """
    problems: Problems = Problems()
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for word in words:
        place, _, columns = word.partition("=")
        name, _, role = place.rpartition(".")
        if not (name and role and columns):
            problems.add(f"--columns {word}: expected task.role=column, such as topic.label=queue.")
            continue
        if name not in names:
            problems.add(
                f"--columns {word}: there is no such task.{suggest(name, names)} There are: {listed(names)}."
            )
        if role not in ROLES:
            problems.add(
                f"--columns {word}: there is no such role.{suggest(role, list(ROLES))} There are: "
                f"{listed(list(ROLES))}."
            )
        each = tuple(columns.split(","))
        if not ROLES.get(role, True) and len(each) > 1:
            problems.add(
                f"--columns {word}: expected one column for the {role}, found {len(each)}."
            )
        found.setdefault(name, {})[role] = each
    problems.raise_if_any()
    return found


def asked_kinds(words: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Map tasks to the kinds that the user names, as ``task=kind``.

    Raises:
        UserError: With all that are wrong.
    """
    problems, found = Problems(), {}
    for word in words:
        name, _, kind = word.partition("=")
        if name not in names or not kind:
            problems.add(
                f"--kinds {word}: expected task=kind with one of the tasks {listed(names)}."
                f"{suggest(name, names)}"
            )
        elif kind not in BUILTIN_OPTIONS:
            known = list(BUILTIN_OPTIONS)
            problems.add(
                f"--kinds {word}: there is no such kind.{suggest(kind, known)} There are: {listed(known)}."
            )
        found[name] = kind
    problems.raise_if_any()
    return found


def read_tasks(config: Any) -> list[Member]:
    """Read the data of all tasks.

    Args:
        config: Flags of the study, and :class:`nlptl.methods.multi_task.options.MultiTaskOptions`.

    Raises:
        UserError: With everything that is wrong with them.
    """
    problems = Problems()
    names = named(config.tasks, problems)
    columns = problems.run(asked_columns, config.columns, list(names))
    kinds = problems.run(asked_kinds, config.kinds, list(names))
    if columns is None or kinds is None:  # what a task's columns are is not known
        problems.raise_if_any()
    assert columns is not None and kinds is not None  # raised above otherwise
    found = []
    for name, data in names.items():
        usual = dict(USUAL_COLUMNS.get(data, {}).get(name, ()))
        own = columns.get(name) or {role: (column,) for role, column in usual.items()}
        with problems.collect(), quiet_datasets():
            found.append(read_task(config, name, data, own, kinds.get(name, "auto")))
    for member in found:
        problems.run(check_member, config, member)
    problems.raise_if_any()
    return found


def check_member(config: Any, member: Member) -> None:
    """Make sure that the flags fit a task that was read.

    Raises:
        ConfigError: If its states are not pooled and are to be, or too few of its examples are left.
    """
    if config.pooling != "auto" and not member.task.pooled:
        raise ConfigError(
            f"--pooling {config.pooling}: the head of {member.name} reads the state of every token, so "
            "nothing is pooled. Leave the flag out."
        )
    if config.max_train_examples is None:
        return
    train = Drawn(config.max_train_examples)(member.task, member.splits, config.seed)["train"]
    classes = member.task.classes(train)
    if not len(train) or (classes and len(set(classes)) < 2):
        left = "training examples of one class only" if len(train) else "no training examples"
        raise ConfigError(
            f"--max-train-examples {config.max_train_examples} leaves {member.name} {left}, because a part "
            "of them is for validation; raise it."
        )


def read_task(
    config: Any, name: str, data: str, columns: Mapping[str, tuple[str, ...]], kind: str
) -> Member:
    """Read one task's splits as its own recipe would.

    Args:
        config: Flags of the study.
        name: Name of the task.
        data: Its data.
        columns: Columns of its roles, where they are named.
        kind: Kind of task, or ``auto``.

    Raises:
        UserError: With everything that is wrong with them, under the flags of this study.
    """
    request = request_of(config, data, columns, kind)
    try:
        if kind == "auto":
            kind = QUESTIONS if asks_questions(request) else chosen_kind(request)
        check_roles(columns, kind, name)
        if kind == QUESTIONS:
            del request.kind
        elif kind == CLASSES:
            request.class_weights = getattr(config, "class_weights", "none")
        task, splits, record = get_task(kind).prepare(request)
    except UserError as error:
        each = getattr(error, "each", [str(error)])
        told = [in_own_flags(one, name) for one in each]
        raise (Mistakes(told) if len(told) > 1 else DataError(told[0])) from error
    n = {split: len(table) for split, table in splits.items()}
    return Member(name, task, splits, {**record, "data": data, "n": n})


def check_roles(columns: Mapping[str, Any], kind: str, name: str) -> None:
    """Make sure that the columns that are named belong to a kind of task.

    Raises:
        ConfigError: If one does not.
    """
    known = [role for role in ROLES if (role in ("text", "label")) != (kind == QUESTIONS)]
    if odd := [role for role in columns if role not in known]:
        raise ConfigError(
            f"--columns {name}.{odd[0]}={','.join(columns[odd[0]])}: the task is a {kind}, which has the "
            f"roles {listed(known)}. Name one of these, or say otherwise with --kinds {name}=KIND."
        )


def request_of(config: Any, data: str, columns: Mapping[str, tuple[str, ...]], kind: str) -> Any:
    """Return the request for one task's data: the study's flags, with its own data and columns."""
    defaults = {
        field.name: field.default
        for options in (QuestionAnsweringOptions, ClassifyOptions)
        for field in fields(options)
    }
    alone = dict.fromkeys(("train_file", "validation_file", "test_file", "max_train_examples"))
    own = {f"{role}_column": names if ROLES[role] else names[0] for role, names in columns.items()}
    seed = config.seed if config.split_seed is None else config.split_seed
    given = {k: v for k, v in vars(config).items() if k not in defaults}
    known = {**defaults, **given, **alone, **own, "seed": seed, "dataset": data, "kind": kind}
    known["max_length"] = config.max_length
    return SimpleNamespace(**known)


def asks_questions(request: Any) -> bool:
    """Whether data are questions on passages: SQuAD's json, or a table with columns for both."""
    asked = (request.question_column, request.context_column, request.answers_column)
    if any(asked):
        return True
    try:
        splits, _ = load_asked(request, read=read_questions)
    except UserError:
        return False
    lower = {name.lower() for name in splits["train"].column_names}
    return all(lower & set(USUAL[role]) for role in ("question", "context", "answers"))


def in_own_flags(message: str, name: str) -> str:
    """Write a message about one task's data with the flags that this study has."""
    for role in ROLES:
        message = message.replace(f"--{role}-column ", f"--columns {name}.{role}=")
    message = message.replace("--dataset ", f"--tasks {name}:")
    message = re.sub(r"--kind\b", f"--kinds {name}=KIND", message)
    return f"{name}: {message}"


def check_tasks(config: Any) -> None:
    """Make sure that no flag is given that says something of one task only.

    Raises:
        UserError: With all that are.
    """
    problems = Problems()
    for name in ("train_file", "validation_file", "test_file"):
        if getattr(config, name, None) is not None:
            flag = f"--{name.replace('_', '-')}"
            problems.add(
                f"{flag} is for one task. Give --tasks name:folder, the folder with train and test."
            )
    if config.task != CLASSES:
        problems.add(
            f"--task {config.task} is for one task. Give --kinds task={config.task} instead."
        )
    if getattr(config, "dataset", None) not in (None, TextClassificationOptions.dataset):
        problems.add("--dataset is for one task. Give --tasks name:data instead.")
    for name in ("text_column", "label_column", "column"):
        if getattr(config, name, ()):
            flag = f"--{name.replace('_', '-')}"
            problems.add(f"{flag} is for one task. Give --columns task.role=column instead.")
    problems.raise_if_any()
