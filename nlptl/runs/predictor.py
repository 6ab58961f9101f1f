"""A finished run as an object that labels texts or answers questions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from reprlib import Repr
from typing import Any

from nlptl.data.batching import LengthBatches
from nlptl.data.columns import is_words
from nlptl.data.files import read_result
from nlptl.data.progress import quiet_datasets
from nlptl.data.text import can_be_written, in_words, is_text
from nlptl.errors import DataError, ModelError, listed, shortened, suggest
from nlptl.models.adapters import open_adapter
from nlptl.models.loading import load_config, load_tokenizer, load_trained, resolve
from nlptl.models.one_token import last_block_for_one_token
from nlptl.models.sentence_encoder import declared
from nlptl.models.tokenizer import longest_input
from nlptl.tasks import TASKS, get_task, recorded_task
from nlptl.tasks.base import Task
from nlptl.train.loop import predict
from nlptl.train.losses import Outputs
from nlptl.train.setup import new_accelerator

#: What the directory of a run or of a checkpoint holds, any of them.
OWN = ("result.json", "model", "config.json", "modules.json", "adapter_config.json")
#: Number of examples that are read, sorted by length and predicted together.
CHUNK = 1024


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        labels = f", labels {listed(self.task.labels, 5)}" if self.task.labels else ""
        return f"<Predictor of {self.task.name}, {type(self.model).__name__}{labels}>"

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
        if isinstance(given, str | bytes | tuple | Mapping) or not isinstance(given, Iterable):
            return next(self.stream([given]))
        if hasattr(given, "columns") and hasattr(
            given, "to_dict"
        ):  # iterating gives its columns' names
            raise DataError(
                "Expected a list of examples, found a data frame. Give frame.to_dict('records')."
            )
        if isinstance(given, Sized):
            self.check(given)
        return list(self.stream(given))

    def check(self, examples: Iterable[Any]) -> None:
        """Make sure that every example can be predicted, before the first one is.

        Raises:
            DataError: If some cannot; the message says how many, and shows three.
        """
        odd, total = [], 0
        for number, example in enumerate(examples):
            total += 1
            try:
                self.row(example, number)
            except DataError as error:
                odd.append(str(error))
        if odd:
            many = f"{len(odd):,} of {total:,} examples cannot be predicted. " * (len(odd) > 1)
            raise DataError(many + " ".join(odd[:3]))

    def stream(self, examples: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield a record for each example, in their order; :data:`CHUNK` examples are read at a time."""
        if isinstance(examples, str | bytes | Mapping):
            raise DataError(f"Expected several examples, found {in_words(examples)}; give a list.")
        source, done = iter(examples), 0
        while chunk := list(islice(source, CHUNK)):
            rows = [self.row(example, done + i) for i, example in enumerate(chunk)]
            yield from self._predict(rows)
            done += len(chunk)

    def row(self, example: Any, number: int = 0) -> dict[str, Any]:
        """Return an example's fields by name.

        Args:
            example: Example in any form that :meth:`__call__` takes.
            number: Number of the example, for messages.

        Raises:
            DataError: If it is not of that form.
        """
        names, words = self.task.fields, self.task.split_into_words
        if isinstance(example, Mapping):
            values = [example.get(name, ...) for name in names]
        else:
            values = list(example) if isinstance(example, list | tuple) else [example]
            if words and len(names) == 1 and isinstance(example, list | tuple) and is_words(values):
                values = [values]
        if words:
            values = [value.split() if isinstance(value, str) else value for value in values]
        good = _are_words if words else is_text
        if len(self.task.inputs) > 1 and any(
            map(is_text, values)
        ):  # some may be blank, as in training
            values, good = ["" if value is None else value for value in values], _is_writable
        if len(values) != len(names) or not all(map(good, values)):
            broken = [v for v in values if isinstance(v, str) and not can_be_written(v)]
            raise DataError(
                f"Example {number} is {_shown(example)}; expected {' and '.join(names)}, as "
                + ("a list of words" if words else "strings with something in them")
                + ", which UTF-8 can write: it has half of a surrogate pair." * bool(broken)
                + "." * (not broken)
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


def _are_words(value: Any) -> bool:
    return is_words(value) and all(map(can_be_written, value))


def _is_writable(value: Any) -> bool:
    return isinstance(value, str) and can_be_written(value)


def _shown(example: Any) -> str:
    """Show an example of any type and size in at most about a line."""
    short = Repr()
    short.maxstring = short.maxother = 80
    return shortened(short.repr(example), 160)


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
    check_there(path)
    name = str(path / "model") if (path / "model" / "config.json").is_file() else str(directory)
    home = path.resolve().parent if path.resolve().name == "model" else path
    file = home / "result.json"
    record = read_result(file) if file.is_file() else None
    if task is None and record is not None:
        task = recorded_task(record, home)
    config = load_config(name)
    kind = get_task(task) if isinstance(task, str) else task or _kind_of(config, name)
    record = record or {}
    try:
        own = kind.from_run(config, record.get("task_settings", {}))
    except (TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{file}: the run's settings do not fit the task {kind.name} ({error}). It was made by another "
            "version of the class."
        ) from error
    _check_outputs(own, config, name)
    if own.labels and config.num_labels != len(own.labels):
        raise ModelError(
            f"{file}: the run has {len(own.labels)} labels ({listed(own.labels, 5)}), and the model beside it "
            f"gives {config.num_labels} numbers: they are not of the same run."
        )
    accelerator = new_accelerator()
    tokenizer = load_tokenizer(name)
    asked = record.get("settings", {}).get("max_length")
    model = load_trained(name, own.auto_class)
    vectors = 0
    if not record.get("adapter", {}).get("merged", True):  # prompts
        model = open_adapter(model, home / "adapter")
        vectors = model.active_peft_config.num_virtual_tokens
    return Predictor(
        task=own,
        model=model.eval().to(accelerator.device),
        tokenizer=tokenizer,
        max_length=longest_input(config, tokenizer, asked, usual=own.usual_length, taken=vectors),
        batch_size=batch_size,
        accelerator=accelerator,
    )


def check_there(path: Path) -> None:
    """Refuse a path whose folder is there and which is not, and a folder that only holds other runs.

    The first is a run's name with a slip, and no hub name; the second a study's.

    Raises:
        ModelError: If it is so; the message lists what there is.
    """
    home = path.parent
    if path.is_dir() and not any((path / name).exists() for name in OWN):
        files = [*path.glob("*/result.json"), *path.glob("*/*/result.json")]
        inside = sorted(file.parent for file in files)
        if inside:
            raise ModelError(
                f"{path}: is no run and no checkpoint, but holds the run{'s' * (len(inside) > 1)} "
                f"{listed(list(map(str, inside)), 6)}. Name {'one of them' if inside[1:] else 'it'}."
            )
    if path.exists() or home == Path() or home == Path("bundled") or not home.is_dir():
        return
    known = sorted(each.name for each in home.iterdir() if each.is_dir())
    raise ModelError(
        f"{path}: there is no such run or checkpoint.{suggest(path.name, known)} {home} holds: "
        f"{listed(known, 10) or 'nothing'}."
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
        "answering. Expected a run of nlptl run classify or nlptl run qa, or a model of that kind."
    )
