"""A finished run as an object that takes texts and gives labels, or questions and gives answers."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from nlptl.data.batching import LengthBatches
from nlptl.data.encoding import quiet_datasets
from nlptl.train.losses import Outputs
from nlptl.train.predict import predict
from nlptl.train.setup import new_accelerator
from nlptl.errors import DataError, ModelError
from nlptl.models.loading import load_config, load_tokenizer, load_trained, longest_input
from nlptl.models.one_token import last_block_for_one_token
from nlptl.tasks.base import Task
from nlptl.tasks.question_answering import QuestionAnswering
from nlptl.tasks.classification import TextClassification

#: Examples that are read, sorted by length and predicted together.
CHUNK = 1024
#: Task of a checkpoint, by the ending of its class's name.
KINDS = {"ForQuestionAnswering": QuestionAnswering, "ForSequenceClassification": TextClassification}


@dataclass(frozen=True)
class Predictor:
    """Runs a model on new examples, in batches of similar length.

    Attributes:
        task: What the examples mean.
        model: In eval mode.
        tokenizer: Its tokenizer.
        max_length: Tokens a text or window.
        batch_size: Features a batch.
        accelerator: The device.
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
            given: A text; a question (with ``context``); a pair ``(question, context)``; a mapping with
                the fields ``text``, or ``question`` and ``context``; or a list or
                :class:`datasets.Dataset` of these.
            context: The passage, if ``given`` is a single question.

        Returns:
            For one example one record, for several a list: ``prediction``, ``score`` in [0, 1], and for
            labels ``scores``; for answers ``start`` and ``end`` (characters of the context; -1 for no
            answer) and ``alternatives``.

        Raises:
            DataError: If an example is not of that form.
        """
        if context is not None:
            return next(self.stream([(given, context)]))
        if isinstance(given, str | tuple | Mapping):
            return next(self.stream([given]))
        return list(self.stream(given))

    def stream(self, examples: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield a record an example, in their order, reading :data:`CHUNK` at a time."""
        source, done = iter(examples), 0
        while chunk := list(islice(source, CHUNK)):
            rows = [self._row(example, done + i) for i, example in enumerate(chunk)]
            yield from self._predict(rows)
            done += len(chunk)

    def _row(self, example: Any, number: int) -> dict[str, str]:
        names = self.task.fields
        if isinstance(example, Mapping):
            values = [example.get(name) for name in names]
        else:
            values = [example] if isinstance(example, str) else list(example)
        if len(values) != len(names) or not all(isinstance(v, str) and v.strip() for v in values):
            raise DataError(
                f"Example {number} is {str(example)[:80]!r}; expected {' and '.join(names)}, as "
                "strings with something in them."
            )
        return dict(zip(names, values, strict=True))

    def _predict(self, rows: Sequence[Mapping[str, str]]) -> Iterator[dict[str, Any]]:
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
            yield self.task.shown(record)


def load_predictor(directory: str | Path, *, batch_size: int = 32) -> Predictor:
    """Open a run, its ``model/``, or any classification or question answering checkpoint.

    A run's own settings (window, stride, no-answer threshold) come from its ``result.json``; without
    one the task's defaults hold.

    Args:
        directory: A run's directory, a model's directory, a bundled name or a hub name.
        batch_size: Texts or windows a batch.

    Raises:
        ModelError: If there is no such model, or it has no head of the two kinds.
    """
    path = Path(directory)
    name = str(path / "model") if (path / "model" / "config.json").is_file() else str(directory)
    home = path if (path / "result.json").is_file() else path.parent
    record = {}
    if Path(name).is_dir() and (home / "result.json").is_file():
        record = json.loads((home / "result.json").read_text("utf-8"))
    config = load_config(name)
    task = _task_of(config, record.get("task_settings", {}), name)
    accelerator = new_accelerator()
    tokenizer = load_tokenizer(name)
    asked = record.get("settings", {}).get("max_length")
    return Predictor(
        task=task,
        model=load_trained(name, task.auto_class).eval().to(accelerator.device),
        tokenizer=tokenizer,
        max_length=longest_input(config, tokenizer, asked, usual=task.usual_length),
        batch_size=batch_size,
        accelerator=accelerator,
    )


def _task_of(config: Any, settings: Mapping[str, Any], name: str) -> Task:
    kind = (config.architectures or [""])[0]
    for ending, task in KINDS.items():
        if kind.endswith(ending):
            return task.of_checkpoint(config, settings)
    raise ModelError(
        f"{name} is a {kind or 'bare model'}, which has no head for classification or question "
        "answering. Expected a run of recipes/sentiment.py or recipes/qa.py, or a model of that kind."
    )
