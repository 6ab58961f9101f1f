"""A learner's training tables with changed copies of their texts, as ``--augment`` asks for them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from nlptl.data.augment.options import ALPHA, COPIES
from nlptl.errors import ConfigError, ModelError
from nlptl.models.loading import load_tokenizer
from nlptl.tasks.base import Task
from nlptl.train.terminal import say

if TYPE_CHECKING:
    from nlptl.train.augmenting import Enlarged
    from nlptl.train.setup import FinetuneArgs


def changed_fields(task: Task | type[Task]) -> tuple[str, ...]:
    """Name the columns that copies change."""
    return task.fields if task.augmented is None else task.augmented


class Copies:
    """Training tables with copies (:func:`nlptl.train.augmenting.enlarged`), each made once.

    Args:
        task: Task of the examples.
        args: Arguments; without ``augment`` every table stays as it is.
        accelerator: Accelerator of the run.
    """

    def __init__(self, task: Task, args: "FinetuneArgs", accelerator: Any) -> None:
        self.task, self.args, self.accelerator = task, args, accelerator
        self.last: tuple[Any, Enlarged] | None = None  # the table, and what was made of it

    def made(self, data: Any) -> Any:
        """Return a training table with its copies; None stays None.

        Raises:
            ConfigError: If the data are batches, whose texts are not known, and none with copies were made.
        """
        if self.args.augment is None or data is None:
            return data
        if hasattr(data, "epoch"):
            if self.last is None:
                raise ConfigError(
                    f"--augment {self.args.augment}: the training batches were made without copies. Make them "
                    "of learner.copies.made(table), or leave the flag out."
                )
            return data
        if self._known(data) is None:
            from nlptl.train.augmenting import enlarged

            found = enlarged(data, self.task, self.args, self.accelerator)
            self.last = data, found  # an outer loop meets many tables, one at a time
            say(found)
        return self.known(data)

    def known(self, table: Any) -> Any:
        """Return a table with its copies, if they are made; otherwise the table."""
        found = self._known(table)
        return table if found is None else found.table

    def sources(self, table: Any) -> np.ndarray | None:
        """Return the number of the row that each row is, or is a copy of; None of a table without copies."""
        found = self._known(table)
        return None if found is None else found.sources

    def record(self) -> dict[str, Any] | None:
        """Return the entry in ``result.json``; None if no copies were asked for."""
        return None if self.last is None else self.last[1].record

    def _known(self, table: Any) -> "Enlarged | None":
        if self.last and (table is self.last[0] or table is self.last[1].table):
            return self.last[1]
        return None


def check_augment(config: Any, kind: type[Task]) -> None:
    """Make sure that copies can be made as the flags say, of the texts of a task.

    Args:
        config: A configuration with :class:`nlptl.data.augment.options.AugmentOptions`.
        kind: The task.

    Raises:
        ConfigError: If not.
    """
    if config.augment is None:
        given = {"alpha": config.augment_alpha != ALPHA, "copies": config.augment_copies != COPIES}
        if flags := [f"--augment-{name}" for name, changed in given.items() if changed]:
            raise ConfigError(
                f"{' and '.join(flags)}: no copies are made without --augment. Give --augment eda, typos or "
                f"mlm, or leave {'them' if flags[1:] else 'it'} out."
            )
        return
    if not changed_fields(kind):
        raise ConfigError(
            f"--augment {config.augment}: the labels of the task {kind.name} are places in its texts, which "
            "a changed text would move. Leave the flag out."
        )
    if config.augment == "eda":
        from nlptl.models.near_words import check_words

        try:
            tokenizer = load_tokenizer(config.model)
        except ModelError:  # told with the checkpoint's other mistakes
            return
        check_words(config.model, tokenizer)
