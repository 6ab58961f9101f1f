"""The flags that belong to a task; light, because ``--help`` reads them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What every task takes."""

    dataset: str | None = None
    """Data set: a local file or folder, or a hub name (name or name:config)."""
    column: tuple[str, ...] = ()
    """Columns that have no usual name, as role=name: the roles are the task's fields and its label."""


@dataclass(frozen=True, kw_only=True)
class TextClassificationOptions(TaskOptions):
    """What classification of texts takes."""

    dataset: str | None = "bundled/reviews"
    """Data set: bundled/reviews, a local file or folder, or a hub name (name or name:config)."""
    text_column: str | None = None
    """Column of the texts; found by name where it is called sentence, text, review, …"""
    label_column: str | None = None
    """Column of the labels; found by name where it is called label, sentiment, class, …"""
    class_weights: Literal["none", "balanced"] = "none"
    """Weight the loss so that all classes count alike."""


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions(TaskOptions):
    """What extractive question answering takes."""

    dataset: str | None = "bundled/passages"
    """Data set: bundled/passages, a local file or folder, or a hub name (name or name:config)."""
    max_length: int | None = None
    """Tokens a window: the question (at most half of it) and a part of the passage. By default 384, or
    what the model takes."""
    stride: int | None = None
    """Tokens that neighbouring windows of a passage share; by default a third of a window."""
    question_column: str | None = None
    """Column of the questions; found by name where it is called question or query."""
    context_column: str | None = None
    """Column of the passages; found by name where it is called context, passage or paragraph."""
    answers_column: str | None = None
    """Column of the answers, {text: [...], answer_start: [...]}; found where it is called answers."""
    squad_version: Literal["auto", "1.1", "2.0"] = "auto"
    """Whether questions may have no answer (2.0); auto looks whether some have none."""
    n_best: int = 20
    """Starts and ends that are combined to answers, and answers that are kept."""
    max_answer_tokens: int = 30
    """Longest answer, in tokens."""


#: Flags of nlptl's own tasks, by name.
BUILTIN_OPTIONS: dict[str, type] = {
    "text-classification": TextClassificationOptions,
    "question-answering": QuestionAnsweringOptions,
}
