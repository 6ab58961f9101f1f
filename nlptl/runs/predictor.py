"""A finished run as an object that labels texts or answers questions."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from nlptl.data.batching import LengthBatches
from nlptl.data.columns import is_words
from nlptl.data.encoding import quiet_datasets
from nlptl.errors import DataError, ModelError
from nlptl.models.adapters import open_adapter
from nlptl.models.loading import (
    load_config,
    load_tokenizer,
    load_trained,
    longest_input,
    resolve,
)
from nlptl.models.one_token import last_block_for_one_token
from nlptl.models.sentence_encoder import declared
from nlptl.tasks import TASKS, get_task, recorded_task
from nlptl.tasks.base import Task
from nlptl.train.loop import predict
from nlptl.train.losses import Outputs
from nlptl.train.setup import new_accelerator

#: Number of examples that are read, sorted by length and predicted together.
CHUNK = 1024


@dataclass(frozen=True)
class Predictor:
    """A model that predicts new examples, in batches of similar length.

    Attributes:
        task: Task of the examples.
        model: Model in eval mode.
        tokenizer: Its tokenizer.
        max_length: Tokens per text or window.
        batch_size: Features per batch.
        accelerator: Accelerator, which knows the device.
    """

    task: Task
    model: Any
    tokenizer: Any
    max_length: int
    batch_size: int
    accelerator: Any

    def __call__(self, given: Any, context: str | None = None) -> Any:
        """Predict one example, a list, or a dataset.

        Args:
            given: Mapping with the task's fields (``text``; ``question`` and ``context``; ``first`` and
                ``second``; …); or a tuple of their values, or the text itself if there is a single field; or a
                list or :class:`datasets.Dataset` of these.
            context: Passage, if ``given`` is a single question.

        Returns:
            A record for one example, a list of records for several. Each has ``prediction``; for classes
            ``score`` in [0, 1] and ``scores``; for answers ``score``, ``start`` and ``end`` (characters of the
            context; -1 for no answer) and ``alternatives``.

        Raises:
            DataError: If an example is not of that form.
        """
        if context is not None:
            return next(self.stream([(given, context)]))
        if isinstance(given, str | tuple | Mapping):
            return next(self.stream([given]))
        return list(self.stream(given))

    def stream(self, examples: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield a record for each example, in their order; :data:`CHUNK` examples are read at a time."""
        source, done = iter(examples), 0
        while chunk := list(islice(source, CHUNK)):
            rows = [self._row(example, done + i) for i, example in enumerate(chunk)]
            yield from self._predict(rows)
            done += len(chunk)

    def _row(self, example: Any, number: int) -> dict[str, Any]:
        names, words = self.task.fields, self.task.split_into_words
        if isinstance(example, Mapping):
            values = [example.get(name) for name in names]
        else:
            values = [example] if isinstance(example, str) else list(example)
        if words:
            values = [value.split() if isinstance(value, str) else value for value in values]
        good = is_words if words else _is_text
        if len(values) != len(names) or not all(map(good, values)):
            raise DataError(
                f"Example {number} is {str(example)[:80]!r}; expected {' and '.join(names)}, as "
                + ("a list of words." if words else "strings with something in them.")
            )
        return dict(zip(names, values, strict=True))

    def _predict(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        from datasets import Dataset

        table = Dataset.from_list([{"id": str(i), **row} for i, row in enumerate(rows)])
        with quiet_datasets():
            features = self.task.encode(table, self.tokenizer, self.max_length)
        batches = LengthBatches(
            features.rows,
            features.lengths,
            self.task.collator(self.tokenizer),
            batch_size=self.batch_size,
        )
        loss = Outputs(self.model, self.task).eval()
        with last_block_for_one_token(self.model) if self.task.pooled else nullcontext():
            outputs, _ = predict(loss, batches, accelerator=self.accelerator)
        for record in self.task.predictions(table, features, outputs):
            yield self.task.to_public(record)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def load_predictor(
    directory: str | Path, *, task: str | type[Task] | None = None, batch_size: int = 32
) -> Predictor:
    """Open a run, its ``model/``, or a checkpoint with a head for classification or question answering.

    A run's task and its settings (window, stride, no-answer threshold) come from its ``result.json``. A
    checkpoint that is not a run is opened by its architecture, under the task's defaults.

    Args:
        directory: Directory of a run or of a model, a bundled name or a hub name.
        task: Task, by name or as a class, instead of the one that the run names.
        batch_size: Texts or windows per batch.

    Raises:
        ModelError: If there is no such model, the run's task cannot be imported, or the checkpoint has no head
            that answers without a record.
    """
    path = Path(directory)
    name = str(path / "model") if (path / "model" / "config.json").is_file() else str(directory)
    home = path.resolve().parent if path.resolve().name == "model" else path
    file = home / "result.json"
    record = json.loads(file.read_text("utf-8")) if file.is_file() else None
    if task is None and record is not None:
        task = recorded_task(record, home)
    config = load_config(name)
    kind = get_task(task) if isinstance(task, str) else task or _kind_of(config, name)
    record = record or {}
    try:
        own = kind.from_run(config, record.get("task_settings", {}))
    except TypeError as error:
        raise ModelError(
            f"{file}: the run's settings do not fit the task {kind.name} ({error}). It was made by another "
            "version of the class."
        ) from error
    _check_outputs(own, config, name)
    accelerator = new_accelerator()
    tokenizer = load_tokenizer(name)
    asked = record.get("settings", {}).get("max_length")
    model = load_trained(name, own.auto_class)
    if not record.get("adapter", {}).get("merged", True):  # prompts
        model = open_adapter(model, home / "adapter")
    return Predictor(
        task=own,
        model=model.eval().to(accelerator.device),
        tokenizer=tokenizer,
        max_length=longest_input(config, tokenizer, asked, usual=own.usual_length),
        batch_size=batch_size,
        accelerator=accelerator,
    )


def _check_outputs(task: Task, config: Any, name: str) -> None:
    """Refuse a checkpoint whose outputs are not what a task reads: one class for each text.

    Raises:
        ModelError: If the configuration says regression, or several labels for a text.
    """
    one = "single_label_classification"
    if task.head.get("problem_type") != one:
        return
    if config.num_labels > 1 and config.problem_type in (None, one):
        return
    count = config.num_labels
    what = "a number for a text" if count == 1 else f"{count} numbers for a text"
    if config.problem_type == "multi_label_classification":
        what = f"any number of its {count} labels for a text"
    raise ModelError(
        f"{name}: the model gives {what} ({config.problem_type or 'regression'}), not one class, and no "
        f"result.json says what they mean; the task {task.name} is for one class a text. Give the directory "
        "of its run, or the --task that reads this output."
    )


def _kind_of(config: Any, name: str) -> type[Task]:
    """Return the task of a checkpoint that is not a run, by its architecture.

    Raises:
        ModelError: If it has no head that answers without a record.
    """
    made = (config.architectures or [""])[0]
    about = declared(resolve(name))
    if about and about.head and about.outputs == config.num_labels:
        made = "PooledForSequenceClassification"
    for known in TASKS.places:
        kind = get_task(known)
        if kind.architecture and made.endswith(kind.architecture):
            return kind
    raise ModelError(
        f"{name} is a {made or 'bare model'}, which has no head for classification or question "
        "answering. Expected a run of recipes/sentiment.py or recipes/qa.py, or a model of that kind."
    )
