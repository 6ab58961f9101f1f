"""The flags that belong to a task; quick to import, because ``--help`` reads them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Flags that every task takes."""

    dataset: str | None = None
    """Data set: a local file or folder, or a hub name (name or name:config)."""
    column: tuple[str, ...] = ()
    """Columns that do not have a usual name, as role=name; the roles are the task's fields and its label."""
    id_column: str | None = None
    """Column that names the examples in predictions.jsonl; by default id, if there is one."""


@dataclass(frozen=True, kw_only=True)
class TextOptions(TaskOptions):
    """Flags of the tasks that read texts or pairs of texts."""

    text_column: tuple[str, ...] = ()
    """Columns of the texts: one, two for pairs, or more, which are joined; found by themselves if they are
    called sentence, text, review, subject and body, premise and hypothesis, …"""
    label_column: tuple[str, ...] = ()
    """Column of the labels; found by itself if it is called label, sentiment, class, queue, …"""
    separator: str = " | "
    """Text between the texts of three columns or more."""


@dataclass(frozen=True, kw_only=True)
class TextClassificationOptions(TextOptions):
    """Flags of text classification."""

    dataset: str | None = "bundled/remarks"
    """Data set: bundled/remarks, a local file or folder, or a hub name (name or name:config)."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the classes in the loss; balanced makes all classes count alike."""


@dataclass(frozen=True, kw_only=True)
class MultiLabelOptions(TextOptions):
    """Flags of a classification with any number of labels for each text."""

    label_column: tuple[str, ...] = ()
    """Column of the labels, a list in each row; or several columns, one for each label, that hold 0 and 1."""
    label_separator: str | None = None
    """Text between the labels of a row, such as ;, where they are written as one text."""
    threshold: float | None = None
    """Probability from which on a label is given; by default the one with the best F1 on validation."""


@dataclass(frozen=True, kw_only=True)
class RegressionOptions(TextOptions):
    """Flags of the regression of a number on a text or a pair of texts."""


@dataclass(frozen=True, kw_only=True)
class TokenClassificationOptions(TaskOptions):
    """Flags of a tag for each word."""

    text_column: tuple[str, ...] = ()
    """Column of the words, a list in each row; found by itself if it is called tokens or words."""
    label_column: tuple[str, ...] = ()
    """Column of the tags, one for each word; found by itself if it is called tags, ner_tags, labels, …"""
    stride: int | None = None
    """Tokens that neighbouring windows of a long sentence share; by default a quarter of a window."""


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions(TaskOptions):
    """Flags of extractive question answering."""

    dataset: str | None = "bundled/passages"
    """Data set: bundled/passages, a local file or folder, or a hub name (name or name:config)."""
    max_length: int | None = None
    """Tokens per window, which holds the question (at most half of it) and a part of the passage. By default
    384, or fewer if the model takes fewer."""
    stride: int | None = None
    """Tokens that neighbouring windows of a passage share; by default a third of a window."""
    question_column: str | None = None
    """Column of the questions; found by itself if it is called question or query."""
    context_column: str | None = None
    """Column of the passages; found by itself if it is called context, passage or paragraph."""
    answers_column: str | None = None
    """Column of the answers, {text: [...], answer_start: [...]} (also as text in a csv) or plain texts, with
    their offsets in a column answer_start if there is one; found by itself if it is called answers, answer or
    answer_text."""
    squad_version: Literal["auto", "1.1", "2.0"] = "auto"
    """Version of SQuAD: in 2.0 questions may have no answer; auto checks whether some have none."""
    n_best: int = 20
    """Number of starts and of ends that are combined to answers, and of answers that are kept."""
    max_answer_tokens: int = 30
    """Longest answer, in tokens."""


#: Flags of nlptl's own tasks, by name.
BUILTIN_OPTIONS: dict[str, type] = {
    "text-classification": TextClassificationOptions,
    "multi-label-classification": MultiLabelOptions,
    "regression": RegressionOptions,
    "token-classification": TokenClassificationOptions,
    "question-answering": QuestionAnsweringOptions,
}
#: Tasks that :mod:`nlptl.tasks.kinds` can see from a table.
KINDS = tuple(BUILTIN_OPTIONS)[:4]


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(
    TextClassificationOptions, MultiLabelOptions, RegressionOptions, TokenClassificationOptions
):
    """Flags of all tasks that can be seen from a table."""

    kind: Literal[
        "auto",
        "text-classification",
        "multi-label-classification",
        "regression",
        "token-classification",
    ] = "auto"
    """Kind of task; auto sees it from the labels: names are classes, lists are several labels or the tags of
    words, fractions and many different numbers are a regression."""
    text_column: tuple[str, ...] = ()
    """Columns of the texts: one, two for pairs, or more, which are joined, or the column of the words; found
    by themselves if they are called sentence, text, subject and body, premise and hypothesis, tokens, …"""
    label_column: tuple[str, ...] = ()
    """Column of the labels, or several columns, one for each label, that hold 0 and 1; found by itself if it
    is called label, class, queue, topic, tags, …"""
