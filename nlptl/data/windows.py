"""Long passages as windows of tokens: first the question, then a part of the passage, with offsets.

Question and passage are tokenized by themselves, each passage once however many questions it has,
and windows are cut from the arrays. The tokenizer's own stride would tokenize a passage again for
each question, and panics, past any ``except``, where the stride does not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Frame:
    """The way a tokenizer puts a pair together: ``before + question + between + passage + after``.

    Attributes:
        before: Special ids before the question.
        between: Special ids between question and passage.
        after: Special ids after the passage.
        segments: Whether the model takes token types: 0 up to the passage, 1 from there on.
        null_first: Whether the answer "none" is the first token (``[CLS]``, ``<s>``) or the last
            (T5's ``</s>``).
        special: All special ids.
        unknown: Id that replaces a special id inside a text.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    segments: bool
    null_first: bool
    special: frozenset[int]
    unknown: int

    @property
    def size(self) -> int:
        """Number of special tokens per window."""
        return len(self.before) + len(self.between) + len(self.after)


def frame_of(tokenizer: Any) -> Frame:
    """Find out how a fast tokenizer puts a pair together."""
    pair = tokenizer("a", "b", return_token_type_ids=True)
    sides = pair.sequence_ids(0)
    first, second = sides.index(0), sides.index(1)
    last_first = len(sides) - 1 - sides[::-1].index(0)
    last_second = len(sides) - 1 - sides[::-1].index(1)
    ids = pair["input_ids"]
    return Frame(
        before=tuple(ids[:first]),
        between=tuple(ids[last_first + 1 : second]),
        after=tuple(ids[last_second + 1 :]),
        segments="token_type_ids" in tokenizer.model_input_names and 1 in pair["token_type_ids"],
        null_first=first > 0,
        special=frozenset(tokenizer.all_special_ids) - {tokenizer.unk_token_id},
        unknown=tokenizer.unk_token_id,
    )


@dataclass(frozen=True)
class Tokens:
    """A text as ids with the characters each stands for; three arrays of shape ``(tokens,)``."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def tokenize(texts: Sequence[str], tokenizer: Any, frame: Frame) -> list[Tokens]:
    """Tokenize texts without special tokens; those that occur literally in a text become unknown.

    Offsets are trimmed of white space at both ends (byte-level BPE counts a leading space in).
    """
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        split_special_tokens=True,
        verbose=False,
    )
    made = []
    special = np.asarray(sorted(frame.special))
    for text, ids, offsets in zip(
        texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        row = np.asarray(ids, dtype=np.int64)
        row[np.isin(row, special)] = frame.unknown
        spans = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
        made.append(Tokens(row, *_trimmed(text, spans[:, 0].copy(), spans[:, 1].copy())))
    return made


def _trimmed(text: str, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    white = np.fromiter((c.isspace() for c in text), dtype=bool, count=len(text))
    if not white.any():
        return starts, ends
    # Where the run of white space that holds a character ends, and where it began.
    place = np.arange(len(text) + 1)
    after = np.append(~white, True)
    onward = np.minimum.accumulate(np.where(after, place, len(text))[::-1])[::-1]
    solid = np.append(True, ~white)
    back = np.maximum.accumulate(np.where(solid, place, 0))
    left = np.minimum(onward[starts], ends)
    right = np.maximum(back[ends], left)
    return left, right


def question_room(max_length: int, frame: Frame) -> int:
    """Return the tokens that a question may take: half of what the special tokens leave.

    A long question keeps its beginning, and the passage always has at least as much room as the
    question.
    """
    return (max_length - frame.size) // 2


def window_starts(tokens: int, room: int, stride: int) -> range:
    """List the first passage token of each window, so that neighbouring windows share ``stride`` tokens.

    Example:
        >>> list(window_starts(10, room=5, stride=2)), list(window_starts(5, room=5, stride=2))
        ([0, 3, 6], [0])
    """
    return range(0, max(1, tokens - stride), room - stride) if tokens > room else range(1)


def answer_tokens(passage: Tokens, start: int, end: int) -> tuple[int, int] | None:
    """Find the first and last token that overlap the characters ``[start, end)``; None if none does."""
    first = int(np.searchsorted(passage.ends, start, side="right"))
    last = int(np.searchsorted(passage.starts, end, side="left")) - 1
    return (first, last) if 0 <= first <= last < len(passage.ids) else None
