"""Token classification: a tag for each word of a sentence, such as names of people and places."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nlptl.data.columns import asked_columns, find_column
from nlptl.data.encoding import numbers_of
from nlptl.data.label_lists import with_lists
from nlptl.data.sources import TAGGED_READERS, DataRequest
from nlptl.data.tags import begun_inside, in_iob2, is_iob1
from nlptl.errors import ConfigError, UserError, many
from nlptl.metrics.statistics import (
    marks_ends,
    micro_f1_of,
    scored,
    share_of,
    strict_entities,
    strict_entity_counts,
    word_counts,
)
from nlptl.models.loading import load_config, load_tokenizer
from nlptl.models.tokenizer import longest_input
from nlptl.tasks.base import EncodedSplit, Task
from nlptl.tasks.options import TokenClassificationOptions


@dataclass(frozen=True)
class TokenClassification(Task):
    """A tag for each word: entities in BIO, BIOES or BILOU, or any other tags, such as parts of speech.

    A word is read at its first token. A sentence that is longer than the model takes is cut into windows that
    overlap, and each of its words is read in one of them; no word is left out.

    Attributes:
        stride: Tokens that neighbouring windows share; None for a quarter of a window.
    """

    stride: int | None = None  # type: ignore[misc]

    name: ClassVar[str] = "token-classification"
    fields: ClassVar[tuple[str, ...]] = ("tokens",)
    label: ClassVar[str] = "tags"
    selection: ClassVar[str] = "entity_f1"
    split_into_words: ClassVar[bool] = True
    pooled: ClassVar[bool] = False
    peft_type: ClassVar[str | None] = "TOKEN_CLS"
    readers: ClassVar[Mapping[str, str]] = TAGGED_READERS
    options: ClassVar[type] = TokenClassificationOptions
    architecture: ClassVar[str | None] = "ForTokenClassification"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels and not self.has_entities:
            object.__setattr__(self, "selection", "accuracy")

    @property
    def auto_class(self) -> Any:
        """``AutoModelForTokenClassification``."""
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification

    @property
    def has_entities(self) -> bool:
        """Whether the tags mark entities: one begins with ``B-`` or ``S-``."""
        return any(tag.startswith(("B-", "S-", "U-")) for tag in self.labels)

    @classmethod
    def from_run(cls, config: Any, settings: Mapping[str, Any]) -> "Task":
        """Make the task of a finished run, or of a checkpoint alone, whose configuration names the tags."""
        names = tuple(config.id2label[i] for i in range(config.num_labels))
        return super().from_run(config, {"labels": names, **settings})

    def notes(self, encoded: Mapping[str, EncodedSplit], tokenizer: Any) -> list[str]:
        """Say what share of the tokens is unknown, and how many sentences are read in several windows."""
        found = super().notes(encoded, tokenizer)
        for name, part in encoded.items():
            examples = numbers_of(part.rows, "example")
            long = int((np.bincount(examples) > 1).sum()) if len(examples) else 0
            if long:
                found.append(
                    f"{many(long, 'sentence')} of {name} {'is' if long == 1 else 'are'} longer than the model "
                    "takes; each is read in windows, "
                    f"{len(examples):,} in all, and no word is left out."
                )
        return found

    def to_public(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``prediction``, a tag for each word, and ``entities``: kind, first and last word of each."""
        known = super().to_public(prediction)
        if self.has_entities:
            found = strict_entities(known["prediction"], closed=marks_ends(self.labels))
            known["entities"] = [
                {"entity": kind, "first": first, "last": last}
                for kind, first, last in sorted(found, key=lambda entity: entity[1])
            ]
        return known

    def statistics(self, predictions: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Count each sentence's entities that are right, gold and predicted; or its words that are right."""
        gold, predicted = _sides(predictions)
        if self.has_entities:
            return strict_entity_counts(gold, predicted, closed=marks_ends(self.labels))
        return word_counts(gold, predicted)

    def combine(self, sums: np.ndarray) -> Any:
        """Compute F1 of whole entities, or the accuracy over words where tags mark none."""
        return micro_f1_of(sums) if self.has_entities else share_of(sums)

    def score(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Compute entity F1, as strict as seqeval's, and accuracy over words; errors over sentences."""
        words = scored("accuracy", word_counts(*_sides(predictions)), share_of)
        return {**super().score(predictions), **words} if self.has_entities else words

    @classmethod
    def prepare_tables(
        cls, raw: Mapping[str, Any], origin: Mapping[str, Any], request: DataRequest
    ) -> tuple["TokenClassification", dict[str, Any], dict[str, Any]]:
        """Check the tables as every task does; tags in IOB1 become IOB2 first.

        Raises:
            UserError: With everything that is wrong with the data.
        """
        check_stride(request)
        raw, told = _with_tags(raw, cls, request)
        task, splits, record = super().prepare_tables(raw, origin, request)
        assert isinstance(task, TokenClassification)
        gold = task.gold(splits["train"])
        counts = Counter(tag for tags in gold for tag in tags)
        record = {**record, "train_counts": {name: counts[name] for name in task.labels}}
        odd = sum(begun_inside(tags) for tags in gold)
        if odd and task.has_entities and not marks_ends(task.labels):
            told.append(
                f"{odd:,} tags of the training set continue an entity (I-) that does not begin with B-; they "
                "count as no entity."
            )
        return task, splits, {**record, "notes": [*told, *record["notes"]]}


def check_stride(request: Any) -> None:
    """Make sure that windows of a long sentence move on.

    Raises:
        ConfigError: If ``stride`` is not less than the room of a window.
    """
    stride = getattr(request, "stride", None)
    if stride is None:
        return
    try:
        config, tokenizer = load_config(request.model), load_tokenizer(request.model)
        length = longest_input(config, tokenizer, request.max_length, usual=Task.usual_length)
        room = length - len(tokenizer("")["input_ids"])
    except UserError:  # reported by the check of the model
        return
    if not 0 <= stride < room:
        raise ConfigError(
            f"--stride {stride}: windows must share fewer tokens than one has room for, which is {room}. "
            f"Choose 0 to {room - 1}."
        )


def _with_tags(
    raw: Mapping[str, Any], kind: type[Task], request: Any
) -> tuple[dict[str, Any], list[str]]:
    """Make lists of what a file writes as texts, and IOB2 of tags in IOB1; say so where it was done."""
    found = dict(raw)
    try:
        asked = asked_columns(request, [*kind.fields, kind.label])
        train = {"train": raw["train"]}
        columns = [find_column(train, role, asked[role]) for role in (*kind.fields, kind.label)]
    except UserError:  # reported with everything else
        return found, []
    for split, table in raw.items():
        for column in {*columns} & {*table.column_names}:
            found[split] = with_lists(found[split], column)
    label = columns[1]
    if not is_iob1(found["train"], label):
        return found, []
    found = {
        split: in_iob2(table, label) if label in table.column_names else table
        for split, table in found.items()
    }
    return found, [
        "The tags are written in IOB1, where B- only separates neighbours; read as IOB2."
    ]


def _sides(predictions: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[Any]]:
    """List gold and predicted tags."""
    return [p["gold"] for p in predictions], [p["prediction"] for p in predictions]
