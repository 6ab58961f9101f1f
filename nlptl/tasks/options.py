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
class TextClassificationOptions(TaskOptions):
    """Flags of text classification."""

    dataset: str | None = "bundled/remarks"
    """Data set: bundled/remarks, a local file or folder, or a hub name (name or name:config)."""
    text_column: str | None = None
    """Column of the texts; found by itself if it is called sentence, text, review, …"""
    label_column: str | None = None
    """Column of the labels; found by itself if it is called label, sentiment, class, …"""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the classes in the loss; balanced makes all classes count alike."""


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
    "question-answering": QuestionAnsweringOptions,
}
