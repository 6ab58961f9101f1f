"""Tasks by name; a task has the encoding, the loss, the predictions and the scores of its examples.

Nothing heavy is imported here: ``--help`` needs a task's flags, and not torch.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nlptl.errors import ConfigError, ModelError
from nlptl.registry import Registry
from nlptl.tasks.options import BUILTIN_OPTIONS

if TYPE_CHECKING:
    from nlptl.tasks.base import Task

K = TypeVar("K", bound=type)

TASKS: "Registry[type[Task]]" = Registry(
    "task",
    "nlptl.tasks",
    {
        "text-classification": "nlptl.tasks.classification:TextClassification",
        "multi-label-classification": "nlptl.tasks.multi_label:MultiLabelClassification",
        "regression": "nlptl.tasks.regression:Regression",
        "token-classification": "nlptl.tasks.token_classification:TokenClassification",
        "question-answering": "nlptl.tasks.question_answering:QuestionAnswering",
    },
    aliases={"sentiment": "text-classification", "qa": "question-answering"},
)


def register_task(kind: K) -> K:
    """Register a class of tasks under its ``name``, as a decorator."""
    return TASKS.register(kind.name, kind)  # type: ignore[attr-defined,return-value]


def get_task(name: str, flag: str = "--task") -> "type[Task]":
    """Return the class of a task.

    Args:
        name: Registered name, alias, or ``path/to/file.py:Class``.
        flag: The flag that named it, for messages.

    Raises:
        ConfigError: If there is no such task, or its module cannot be imported.
    """
    return TASKS.get(name, flag)


def options_of(name: str) -> type:
    """Return the flags of a task as a dataclass; for nlptl's own tasks without importing their code.

    Args:
        name: Name as for :func:`get_task`.
    """
    own = TASKS.aliases.get(name, name)
    if own in BUILTIN_OPTIONS and own not in TASKS.things:
        return BUILTIN_OPTIONS[own]
    return get_task(name).options


def source_of(kind: type) -> str | None:
    """Say where a class outside nlptl comes from: ``/path/file.py:Class``, or ``module:Class``."""
    if kind.__module__.split(".")[0] == "nlptl":
        return None
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file and kind.__module__.startswith("nlptl_file_"):
        return f"{Path(file).resolve()}:{kind.__qualname__}"
    return f"{kind.__module__}:{kind.__qualname__}"


def recorded_task(record: Mapping[str, Any], home: Path) -> "type[Task]":
    """Return the class of a finished run's task.

    A class from a file is imported from the same path, unless that is inside the run: a run may come from
    somebody else, and its code is not trusted.

    Args:
        record: Content of the run's ``result.json``.
        home: Directory of the run.

    Raises:
        ModelError: If the class cannot be imported; the message names the import.
    """
    name, source = str(record.get("task")), record.get("task_source")
    known = TASKS.things.get(name)
    if known is not None and source_of(known) == source:
        return known
    path, _, attribute = str(source or "").rpartition(":")
    try:
        if not path.endswith(".py"):
            return get_task(name, "")
        if Path(path).resolve().is_relative_to(home.resolve()):
            raise ConfigError(
                f"{path} is inside the run, and code of a run is not imported without being asked for. Give "
                f"--task {path}:{attribute} if you trust it."
            )
        return get_task(str(source), "")
    except ConfigError as error:
        needs = (
            f" It was the class {source}: import that module first, which must register it "
            "(nlptl.register_task), or give --task path/to/file.py:Class."
            if source and not path.endswith(".py")
            else ""
        )
        raise ModelError(
            f"{home} is a run of the task '{name}', which cannot be imported here: {error}{needs}"
        ) from error
