"""What a checkpoint makes of the task's texts before it is fine-tuned, computed once a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlptl.data.sampling import stratified_order
from nlptl.models.loading import load_with_head
from nlptl.tasks.base import Task
from nlptl.train.features import body_states
from nlptl.train.setup import FinetuneArgs

#: Texts whose states are compared before and after, and training texts of a probe at most.
SHIFTED, PROBED = 2000, 5000


@dataclass(frozen=True)
class Untouched:
    """Mean states of texts under the checkpoint as it was.

    Attributes:
        model: The checkpoint's body, in eval mode.
        tokenizer: Its tokenizer.
        texts: Of each split: all test texts, a stratified sample of long training sets.
        classes: Theirs; empty where the task has none.
        states: See :func:`nlptl.train.features.pooled_states`, shape ``(texts, blocks + 1, width)``; empty
            where there are no classes to probe for.
    """

    model: Any
    tokenizer: Any
    texts: Mapping[str, Sequence[str]]
    classes: Mapping[str, Sequence[str]]
    states: Mapping[str, np.ndarray]

    def pairs(self, block: int, states: Mapping[str, np.ndarray] | None = None) -> list[Any]:
        """Return states after a block and classes of train, validation and test, as a probe takes them.

        Args:
            block: 0 for the embeddings.
            states: Of the same texts under another body.
        """
        given = states or self.states
        return [
            (given[name][:, block], self.classes[name]) for name in ("train", "validation", "test")
        ]

    def compared(self) -> list[str]:
        """List the first distinct texts, of the test split first: those whose states a run may have moved."""
        return list(dict.fromkeys([*self.texts["test"], *self.texts["train"]]))[:SHIFTED]


def untouched_states(
    task: Task, splits: Mapping[str, Any], args: FinetuneArgs, accelerator: Any
) -> Untouched:
    """Run a checkpoint's body once over the texts that probes and comparisons need.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        args: The checkpoint and the longest text.
        accelerator: The device.
    """
    from transformers import AutoModel

    loaded = load_with_head(args.model, auto_class=AutoModel, head={})
    if task.classes(splits["test"]) is None:  # nothing to probe
        given = {name: task.texts(splits[name]) for name in ("train", "test")}
        return Untouched(loaded.model, loaded.tokenizer, given, {}, {})
    texts: dict[str, Sequence[str]] = {}
    classes: dict[str, Sequence[str]] = {}
    for name in ("train", "validation", "test"):
        most = len(splits[name]) if name == "test" else PROBED
        texts[name], classes[name] = text_classes(task, splits[name], most)
    states = {
        name: body_states(
            loaded.model,
            loaded.tokenizer,
            own,
            accelerator=accelerator,
            max_length=args.max_length,
        )
        for name, own in texts.items()
    }
    return Untouched(loaded.model, loaded.tokenizer, texts, classes, states)


def text_classes(task: Task, table: Any, most: int) -> tuple[list[str], list[str]]:
    """Return texts and classes of a table; of more than ``most`` examples a stratified sample."""
    classes = task.classes(table) or []
    if len(table) > most:
        rows = stratified_order(classes, 0)[:most]
        table, classes = table.select(rows), [classes[i] for i in rows]
    return task.texts(table), classes
