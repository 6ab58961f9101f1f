"""The base class of tasks, with defaults: a task states what differs and inherits the rest."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.code_hash import code_hash
from nlptl.data.encoding import (
    EncodedSplit,
    encode_pairs,
    encode_texts,
    encode_words,
    map_tokenized,
    numbers_of,
    of_windows,
    word_outputs,
)
from nlptl.data.labels import label_names, label_values, read_label
from nlptl.data.padding import labels_at_places, pad, real_tokens
from nlptl.data.sources import READERS, DataRequest
from nlptl.data.text_columns import SEPARATOR, joined_texts
from nlptl.errors import DataError, listed
from nlptl.metrics.by_class import Form, form_of_tags
from nlptl.metrics.statistics import most_frequent, scored
from nlptl.records import Collate
from nlptl.tasks import TASKS, get_task, register_task, source_of
from nlptl.tasks.options import TaskOptions

__all__ = ["TASKS", "EncodedSplit", "Task", "get_task", "register_task"]


@dataclass(frozen=True)
class Task:
    """A supervised task; by default, classification of texts or of pairs of texts with one label each.

    Your own task is a subclass that states what differs. It needs no decorator unless it adds a field.
    Tables have one column per field and one for the label, under these names: the command line renames them.

    Attributes:
        labels: Names of the classes, in the order of the model's outputs; empty where there are none. A
            subclass may state them; otherwise they come from the data.
        inputs: Columns of an example's inputs where they are others than the class's ``fields``: two make a
            pair, the texts of more are joined by ``separator``.
        separator: Text between the texts of three columns and more.
        name: Name in records, on the command line and in the registry.
        version: Number that goes up when the name comes to mean something else; part of every key on disk.
        fields: Columns of an example's inputs: one text, two texts, or (``split_into_words``) a list of words.
        label: Column of the gold value.
        selection: Name of the metric that the epoch is chosen by; higher is better.
        scale: Value of the metric if everything is right: 1, or 100 for a metric in percent.
        peft_type: Peft's name of the task, for its auto classes.
        label_dtype: Type of the labels' tensor; a floating one for numbers and for several labels at once.
        usual_length: Tokens per input if the user sets no number and the model takes as many.
        truncation_notice: Beginning of a sentence on what is cut, with ``{limit}`` for the number of tokens.
        calibrates: Whether :meth:`calibrate` chooses anything.
        pooled: Whether the head reads only the one token that its family pools; then nothing else of the
            last block is computed (:mod:`nlptl.models.one_token`) or cached.
        split_into_words: Whether the field holds a list of words, each with its own output.
        stride: Tokens that neighbouring windows of a long list of words share; None for a quarter of a window.
        readers: Kinds of files that are read, by their endings.
        augmented: Fields that ``--augment`` may change; none if labels are places in the texts, None for all.
        not_encoded: Names of the task's own dataclass fields that its tokens do not depend on.
        options: Dataclass of the task's own flags. A dataclass field of the same name gets the flag's value.
        architecture: Suffix of the names of transformers' classes that open as this task without a record.
    """

    labels: tuple[str, ...] = ()
    inputs: tuple[str, ...] = field(default=(), kw_only=True)
    separator: str = field(default=SEPARATOR, kw_only=True)

    name: ClassVar[str] = "task"
    version: ClassVar[int] = 1
    fields: ClassVar[tuple[str, ...]] = ("text",)
    label: ClassVar[str] = "label"
    selection: ClassVar[str] = "accuracy"
    scale: ClassVar[float] = 1.0
    peft_type: ClassVar[str | None] = "SEQ_CLS"
    label_dtype: ClassVar[torch.dtype] = torch.long
    usual_length: ClassVar[int] = 512
    truncation_notice: ClassVar[str] = "Texts longer than {limit} tokens"
    calibrates: ClassVar[bool] = False
    pooled: ClassVar[bool] = True
    split_into_words: ClassVar[bool] = False
    stride: ClassVar[int | None] = None
    readers: ClassVar[Mapping[str, str]] = READERS
    augmented: ClassVar[tuple[str, ...] | None] = None
    not_encoded: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[type] = TaskOptions
    architecture: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        if not self.labels and type(self).labels:  # stated by a subclass
            object.__setattr__(self, "labels", tuple(type(self).labels))
        if self.inputs:
            object.__setattr__(self, "fields", self.inputs)

    def __reduce__(self) -> Any:
        """Pickle a task whose class comes from a file by its path, because another process must import it."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        source = source_of(type(self)) or ""
        from_file = source.rpartition(":")[0].endswith(".py")
        return _made_again, (source if from_file else type(self), values)

    # ---- the model
    @property
    def auto_class(self) -> Any:
        """The transformers auto class that has the head."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    @property
    def head(self) -> Mapping[str, Any]:
        """Configuration of the head: as many outputs as labels, under their names; one for a number."""
        if not self.labels:
            return {"num_labels": 1, "problem_type": "regression"}
        several = self.label_dtype.is_floating_point
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {name: i for i, name in enumerate(self.labels)},
            "problem_type": ("multi" if several else "single") + "_label_classification",
        }

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the model; return ``logits``, ``(batch, …, outputs)``, float32. The inputs may lack labels."""
        given = {key: value for key, value in inputs.items() if key not in ("labels", "size")}
        return {"logits": model(**given).logits.float()}

    def loss(
        self, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, float]:
        """Return the mean cross-entropy over all labels that are not -100, and their number."""
        logits, labels = outputs["logits"], inputs["labels"]
        loss = nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
        return loss, float(inputs["size"])

    # ---- examples to tensors
    def gold(self, table: Any) -> list[Any]:
        """List the gold value of each row, as predictions hold it: a class by its name, a number as it is."""
        values = label_values(table, self.label)
        if not self.labels:
            return values
        names = label_names(table, self.label)
        return [read_label(value, names) for value in values]

    def gold_of(self, value: Any) -> Any:
        """Return a gold value as the loss takes it: the class's number, or -100 for an unknown class.

        Of a task without classes whose ``label_dtype`` is a floating type it is the number itself.

        Args:
            value: A value of :meth:`gold`.

        Returns:
            A number or a list of numbers; a list of whole numbers has one for each word.
        """
        if isinstance(value, list):
            return [self.gold_of(one) for one in value]
        if not self.labels and self.label_dtype.is_floating_point:
            return float("nan") if value is None else float(value)
        return self.labels.index(value) if value in self.labels else -100

    def tokenize(
        self, batch: Mapping[str, list[Any]], tokenizer: Any, max_length: int
    ) -> dict[str, list[Any]]:
        """Turn some rows into token ids; nothing in a text is mistaken for a special token.

        Args:
            batch: Columns of the fields.
            tokenizer: A fast tokenizer.
            max_length: Most tokens per row.

        Returns:
            ``input_ids`` and ``truncated``; ``token_type_ids`` if pairs have them; for words the windows of
            :func:`nlptl.data.encoding.encode_words`, one or more for each example.
        """
        columns = [batch[name] for name in self.fields]
        if self.split_into_words:
            given = {"tokenizer": tokenizer, "max_length": max_length, "stride": self.stride}
            return encode_words(*columns, **given)
        if len(columns) > 2:
            columns = [joined_texts(columns, self.separator)]
        if len(columns) == 2:
            return encode_pairs(*columns, tokenizer=tokenizer, max_length=max_length)
        ids, truncated = encode_texts(*columns, tokenizer=tokenizer, max_length=max_length)
        return {"input_ids": ids, "truncated": truncated}

    def encode(self, table: Any, tokenizer: Any, max_length: int) -> EncodedSplit:
        """Tokenize a dataset's rows, and keep the result by content (:func:`nlptl.data.encoding.map_kept`).

        Raises:
            DataError: If a field has no column.
        """
        if lost := [name for name in self.fields if name not in table.column_names]:
            raise DataError(
                f"{self.name} reads the column{'s' if len(lost) > 1 else ''} {listed(lost)}; the table has "
                f"{listed(table.column_names)}. Rename the columns, or state other fields in the task."
            )
        labelled = self.label in table.column_names
        names = label_names(table, self.label) if labelled else None

        def encoded(batch: Mapping[str, list[Any]], order: Sequence[int] = ()) -> dict[str, Any]:
            made = dict(self.tokenize(batch, tokenizer, max_length))
            made["length"] = [len(row) for row in made["input_ids"]]
            made.setdefault("truncated", [False] * len(made["length"]))
            if labelled:
                values = batch[self.label]
                golds = [read_label(v, names) for v in values] if self.labels else values
                made["gold"] = [self.gold_of(value) for value in golds]
            if "example" in made:
                return of_windows(made, order)
            return made

        used = table.select_columns([*self.fields, *[self.label] * labelled])
        key = (max_length, names, self.encoding_identity())
        rows = map_tokenized(used, encoded, tokenizer, *key, with_indices=self.split_into_words)
        truncated = int(np.sum(numbers_of(rows, "truncated")))
        return EncodedSplit(rows, numbers_of(rows, "length"), truncated)

    def collator(self, tokenizer: Any) -> Collate:
        """Return a function that pads rows to tensors.

        ``input_ids``, ``attention_mask`` (and ``token_type_ids``) have shape ``(batch, length)``; ``labels``
        has ``(batch,)`` for a class or a number, ``(batch, labels)`` for several, ``(batch, length)`` for
        words, with -100 where no output is read. ``size``, a single number, counts the labels that are not
        -100, or the examples if labels are numbers or there are several.
        """
        dtype, fill = self.label_dtype, tokenizer.pad_token_id

        def collate(
            rows: Sequence[Mapping[str, Any]], rng: np.random.Generator
        ) -> Mapping[str, Tensor]:
            ids = pad(rows, "input_ids", fill)
            batch = {
                "input_ids": torch.from_numpy(ids),
                "attention_mask": torch.from_numpy(real_tokens(rows).astype(np.int64)),
            }
            if "token_type_ids" in rows[0]:  # the ids of cached texts hold one token only
                types = pad(rows, "token_type_ids", 0)[:, : ids.shape[1]]
                batch["token_type_ids"] = torch.from_numpy(types)
            if "gold" in rows[0]:
                golds = [row["gold"] for row in rows]
                if "places" in rows[0]:
                    golds = labels_at_places(rows, ids.shape)
                labels = batch["labels"] = torch.as_tensor(np.asarray(golds)).to(dtype)
                several = dtype.is_floating_point
                batch["size"] = torch.tensor(len(rows) if several else int((labels != -100).sum()))
            return batch

        return collate

    # ---- outputs to predictions
    def decode(self, logits: np.ndarray) -> dict[str, Any]:
        """Decode one example's outputs: the most probable class, and the probability of each class.

        Args:
            logits: Outputs, shape ``(outputs,)``; for words ``(words, outputs)``, which give a tag for each.

        Returns:
            ``prediction`` in the form of :meth:`gold`, and ``scores`` in [0, 1] if there are any.
        """
        if logits.ndim > 1:
            return {"prediction": [self.labels[int(i)] for i in logits.argmax(-1)]}
        shares = torch.from_numpy(logits).double().softmax(-1).tolist()
        best = self.labels[int(np.argmax(logits))]
        return {"prediction": best, "scores": dict(zip(self.labels, shares, strict=True))}

    def predictions(
        self, table: Any, split: EncodedSplit, outputs: Mapping[str, Sequence[np.ndarray]]
    ) -> list[dict[str, Any]]:
        """Make a record per example: ``id``, the result of :meth:`decode`, and ``gold`` (None if unknown).

        An id of another type than a text or a whole number, such as a time, is in the record as a text.
        """
        ids = _ids(table) if "id" in table.column_names else range(len(table))
        gold = self.gold(table) if self.label in table.column_names else [None] * len(table)
        each = outputs["logits"]
        if self.split_into_words:
            each = word_outputs(split.rows, each, len(table))
        return [
            {"id": i, **self.decode(logits), "gold": true}
            for i, logits, true in zip(ids, each, gold, strict=True)
        ]

    def notes(self, encoded: Mapping[str, EncodedSplit], tokenizer: Any) -> list[str]:
        """Say what the model cannot learn from tokenized splits; here, what share of the tokens is unknown.

        Args:
            encoded: The splits by name.
            tokenizer: Their tokenizer.
        """
        from nlptl.tasks.notes import unknown_notes

        return unknown_notes(encoded, tokenizer)

    def to_public(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record as a user gets it: ``prediction``, a class's ``score`` in [0, 1], and ``scores``."""
        known = {key: value for key, value in prediction.items() if key not in ("id", "gold")}
        scores, best = known.get("scores"), known["prediction"]
        if isinstance(best, str) and scores and best in scores:
            known = {"prediction": best, "score": scores[best], **known}
        return known

    def calibrate(self, predictions: Sequence[Mapping[str, Any]]) -> "Task":
        """Return the task with what validation predictions choose, such as a threshold; here nothing."""
        return self

    # ---- predictions to scores
    def statistics(self, predictions: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Compute each example's contribution to :attr:`selection`, shape ``(examples, k)``, float64.

        By default k is 1: 1.0 for an example that is right, 0.0 for one that is wrong.
        """
        right = [[float(record["prediction"] == record["gold"])] for record in predictions]
        return np.asarray(right).reshape(-1, 1)

    def combine(self, sums: np.ndarray) -> Any:
        """Compute the metric from (weighted) means of :meth:`statistics` over examples, in units of ``scale``.

        Args:
            sums: Means, shape ``(…, k)``; the result has shape ``(…)``.
        """
        return sums[..., 0]

    @property
    def head_fit(self) -> Literal["classes", "labels", "numbers"] | None:
        """Kind of the convex fit that a new linear head starts from (:func:`nlptl.train.head.start_head`).

        ``classes`` is a logistic regression, ``labels`` one for each label, ``numbers`` a ridge regression.
        None is for tasks whose head reads no pooled state, or with a loss of their own that is none of these;
        such a task may still state a kind.
        """
        usual = type(self).loss.__module__.startswith("nlptl.")
        return "classes" if usual and self.labels and self.pooled else None

    @property
    def linear(self) -> bool:
        """Whether the metric is the mean over examples of one statistic."""
        return type(self).combine is Task.combine

    def score(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Compute the metrics, each with its standard error ``<name>_se``; :attr:`selection` is among them."""
        statistics = self.statistics(predictions)
        return scored(self.selection, statistics, self.combine, scale=self.scale)

    def constant_predictions(self, train: Any, test: Any) -> list[dict[str, Any]]:
        """Predict always one answer: the training set's most frequent one, or its mean.

        Of equally frequent classes the first by name is taken; every word gets the most frequent tag.
        """
        gold, test_gold = self.gold(train), self.gold(test)
        if self.split_into_words:
            most = most_frequent([tag for tags in gold for tag in tags])
            answers: list[Any] = [[most] * len(tags) for tags in test_gold]
        elif self.labels:
            answers = [most_frequent(gold)] * len(test_gold)
        else:
            answers = [float(np.mean(gold))] * len(test_gold)
        return [
            {"id": i, "prediction": answer, "gold": true}
            for i, (answer, true) in enumerate(zip(answers, test_gold, strict=True))
        ]

    # ---- for reports
    @property
    def gold_columns(self) -> tuple[str, ...]:
        """Columns that hold the gold value, in whatever form."""
        return (self.label,)

    @property
    def gold_form(self) -> Form | None:
        """What a gold value is, for scores by class; None where there are no classes."""
        if not self.labels:
            return None
        other: Form = "labels" if self.label_dtype.is_floating_point else "class"
        return form_of_tags(self.labels) if self.split_into_words else other

    def texts(self, table: Any) -> list[str]:
        """List the text of each example, both of a pair, for measures of the backbone that need no labels."""
        columns = [table[name][:] for name in self.fields]
        if self.split_into_words:
            return [" ".join(words) for words in columns[0]]
        return joined_texts(columns, self.separator if len(columns) > 2 else " ")

    def classes(self, table: Any) -> list[str] | None:
        """List the class of each example; None if they have no single class, so no probe can be fitted."""
        gold = self.gold(table)
        return gold if self.labels and all(isinstance(value, str) for value in gold) else None

    def strata(self, table: Any) -> list[Any]:
        """List what each example is drawn by, so that all splits hold equal shares; by default its class."""
        return self.classes(table) or [""] * len(table)

    def groups(self, table: Any) -> list[str] | None:
        """List the group of each example, such as its passage; None if all examples are independent."""
        return None

    # ---- who it is, and where it comes from
    def identity(self) -> str:
        """Describe the task for the keys of kept runs: name, version, fields' values, code outside nlptl."""
        values = json.dumps(dataclasses.asdict(self), sort_keys=True, default=str)
        own = _outside(type(self))
        return " ".join([self.name, str(self.version), values, *[code_hash(*own)] * bool(own)])

    def encoding_identity(self) -> str:
        """Describe what the tokens depend on besides rows, tokenizer and length: code, columns and fields.

        For a class outside nlptl the whole code counts, so that nothing that it calls is missed.
        """
        values = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in self.not_encoded
        }
        kind = type(self)
        code = code_hash(*_outside(kind), kind.encode, kind.tokenize, kind.gold_of)
        read = [self.fields, self.label, self.split_into_words, self.version]
        return json.dumps([code, read, values], sort_keys=True, default=str)

    @classmethod
    def from_run(cls, config: Any, settings: Mapping[str, Any]) -> "Task":
        """Make the task of a finished run.

        Args:
            config: Configuration of its model, which names the classes if the settings do not.
            settings: Values of the dataclass fields, ``task_settings`` of its record.
        """
        values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return cls(**values)

    @classmethod
    def prepare(cls, request: DataRequest) -> "tuple[Task, dict[str, Any], dict[str, Any]]":
        """Read the data that a configuration asks for and check all of it.

        Args:
            request: Request for the data; it has the attributes of :attr:`options` too.

        Returns:
            The task, the splits (``train``, ``validation``, ``test``) with their columns renamed to
            :attr:`fields` and :attr:`label`, and a record of where they came from: columns, classes with
            their counts, splits that were carved out.

        Raises:
            UserError: With everything that is wrong with the data.
        """
        from nlptl.tasks.preparing import read_splits

        return cls.prepare_tables(*read_splits(cls, request), request)

    @classmethod
    def prepare_tables(
        cls, raw: Mapping[str, Any], origin: Mapping[str, Any], request: DataRequest
    ) -> "tuple[Task, dict[str, Any], dict[str, Any]]":
        """Check tables that are read already; see :meth:`prepare`.

        Args:
            raw: Mapping from ``train`` and other splits to datasets with the columns of the user.
            origin: Record of where they came from.
            request: Request, for the flags.
        """
        from nlptl.tasks.preparing import prepare_splits

        return prepare_splits(cls, raw, origin, request)


def _ids(table: Any) -> list[str | int]:
    """List a table's ids as json can hold them; a row without one has its number."""
    plain = (
        i if isinstance(i, str | int) else None if i is None else str(i) for i in table["id"][:]
    )
    return [row if i is None else i for row, i in enumerate(plain)]


def _made_again(source: Any, values: Mapping[str, Any]) -> Task:
    kind = get_task(source) if isinstance(source, str) else source
    return kind(**values)


def _outside(kind: type) -> list[type]:
    """List the class and its bases that are not nlptl's."""
    return [k for k in kind.__mro__ if k.__module__.split(".")[0] not in ("nlptl", "builtins")]
