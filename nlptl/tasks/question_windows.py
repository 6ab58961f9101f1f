"""Questions and passages as windows of tokens, with the labels of the answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlptl.data.windows import (
    Frame,
    Tokens,
    answer_tokens,
    question_room,
    tokenize,
    window_starts,
)


def windows_of(
    batch: Mapping[str, list[Any]],
    order: Sequence[int],
    tokenizer: Any,
    frame: Frame,
    max_length: int,
    stride: int,
) -> dict[str, list[Any]]:
    """Make the windows of some questions; passages that several of them share are tokenized once."""
    passages = {text: i for i, text in enumerate(dict.fromkeys(batch["context"]))}
    tokens = tokenize(list(passages), tokenizer, frame)
    questions = tokenize([q.strip() for q in batch["question"]], tokenizer, frame)
    most = question_room(max_length, frame)
    names = (
        "input_ids",
        "length",
        "first",
        "null",
        "starts",
        "ends",
        "start",
        "end",
        "example",
        "truncated",
        "answer_tokens",
        "unheld",
    )
    made: dict[str, list[Any]] = {name: [] for name in names}
    for row, (example, question) in enumerate(zip(order, questions, strict=True)):
        passage = tokens[passages[batch["context"][row]]]
        asked = question.ids[:most]
        first = len(frame.before) + len(asked) + len(frame.between)
        room = max_length - first - len(frame.after)
        label, shortest = _label(batch, row, passage), _shortest(batch, row, passage)
        begins = window_starts(len(passage.ids), room, stride)
        held = [_inside(label, slice(b, min(b + room, len(passage.ids))), first, 0) for b in begins]
        unheld = isinstance(label, tuple) and not any(start > 0 for start, _ in held)
        for begin in begins:
            part = slice(begin, min(begin + room, len(passage.ids)))
            ids = np.concatenate(
                [frame.before, asked, frame.between, passage.ids[part], frame.after]
            ).astype(np.int32)
            null = 0 if frame.null_first else len(ids) - 1
            start, end = _inside(label, part, first, null)
            values = (ids, len(ids), first, null, passage.starts[part], passage.ends[part])
            one = begin == begins[0]  # each question counts once
            truncated = len(question.ids) > most and one
            told = (truncated, shortest * one, unheld and one)
            made_of = (*values, start, end, example, *told)
            for name, value in zip(names, made_of, strict=True):
                made[name].append(value)
    return made


def _label(batch: Mapping[str, list[Any]], row: int, passage: Tokens) -> tuple[int, int] | str:
    if "answer_texts" not in batch:
        return "unknown"
    texts, starts = batch["answer_texts"][row], batch["answer_starts"][row]
    if not texts:
        return "none"
    if starts[0] < 0:
        return "unknown"
    return answer_tokens(passage, starts[0], starts[0] + len(texts[0])) or "unknown"


def _shortest(batch: Mapping[str, list[Any]], row: int, passage: Tokens) -> int:
    """Count the tokens of the shortest answer that stands in the passage; 0 if none does."""
    if "answer_texts" not in batch:
        return 0
    each = zip(batch["answer_texts"][row], batch["answer_starts"][row], strict=True)
    spans = [answer_tokens(passage, at, at + len(text)) for text, at in each if at >= 0]
    return min((span[1] - span[0] + 1 for span in spans if span), default=0)


def _inside(label: tuple[int, int] | str, part: slice, first: int, null: int) -> tuple[int, int]:
    if label == "unknown":
        return -100, -100
    if isinstance(label, tuple) and part.start <= label[0] and label[1] < part.stop:
        return label[0] - part.start + first, label[1] - part.start + first
    return null, null
