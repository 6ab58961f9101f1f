"""Recurring span selection: an upstream objective for question answering (Ram et al., 2021).

Ram, Kirstain, Berant, Globerson and Levy, "Few-Shot Question Answering by Pretraining Span Selection",
ACL 2021.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlptl.data.padding import pad, real_tokens
from nlptl.data.windows import frame_of
from nlptl.models.tokenizer import continuing
from nlptl.pretrain.objectives import draws_of
from nlptl.pretrain.pointing import PointingLM, SpanPointer
from nlptl.records import Collate
from nlptl.train.losses import Loss

#: Most tokens of a recurring span (Ram et al., 2021, section 3).
LONGEST = 10
#: Fewest and most words of a question on each side of its question token, where there are so many.
AROUND = 3, 12
#: English words that say too little to be asked for alone.
FUNCTION_WORDS = """
a about above after again against all also although am among an and any are as at away back be
because been before being below between both but by can cannot could d did do does doing don down
during each even every few first for from further get go had has have having he her here hers
herself him himself his how however i if in into is it its itself just last less ll like made make
many may me might more most much must my myself neither no nor not now of off often on once one only
or other others our ours out over own perhaps quite rather re s said same second she should since so
some still such t than that the their theirs them themselves then there these they this those though
three through thus to too toward towards two under until up upon us ve very was we well were what
when where whether which while who whom whose why will with within without would yet you your yours
"""
STOP_WORDS = frozenset(FUNCTION_WORDS.split())


@dataclass(frozen=True)
class Recurring:
    """A span of words that stands in a text more than once.

    Attributes:
        words: Number of its words.
        starts: First word of each occurrence, in the order of the text; no two overlap.
    """

    words: int
    starts: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A text with a question about it.

    Attributes:
        question: Token ids around one question token; empty where nothing recurs.
        passage: Token ids of the rest, with the other occurrences replaced too.
        start: First token of the occurrence that is left, in the passage; -1 where nothing recurs.
        end: Last token of it.
    """

    question: list[int]
    passage: list[int]
    start: int = -1
    end: int = -1


@dataclass(frozen=True)
class RecurringSpans:
    """The objective of pointing at the occurrence of a span that is left where all others are hidden.

    Of the spans that a piece of text holds more than once (:func:`recurring_spans`), one is drawn; all its
    occurrences but one are replaced by a question token, and the model points at the one that is left:
    the loss is the mean of ``-log P(start)`` and ``-log P(end)``, each a softmax over the passage's tokens
    and the token that stands for no answer.

    Departures from Ram et al. (2021), because the head is Hugging Face's own for question answering
    (``start, end = W x``), which reads no question and asks one at a time, where theirs asks several at once
    by the state of each question token: one span is asked for in a piece; the words around one of its
    question tokens are moved to where the question stands in fine-tuning (as the queries of Glass et al.,
    2020, are); and the question token is the mask token, so that the vocabulary stays as it is.
    """

    name = "recurring-spans"
    version = 1

    @property
    def auto_class(self) -> Any:
        """A masked language model with a head that points (:class:`nlptl.pretrain.pointing.PointingLM`)."""
        return PointingLM

    def room(self, max_length: int, tokenizer: Any) -> int:
        """Return the length without the special tokens around question and passage."""
        return max_length - tokenizer.num_special_tokens_to_add(pair=True)

    def lengths(self, tokens: int, tokenizer: Any) -> tuple[int, int]:
        """Return the most that it can be, with the special tokens, and 0, because there is no decoder."""
        return tokens + tokenizer.num_special_tokens_to_add(pair=True), 0

    def collator(self, tokenizer: Any) -> Collate:
        """Return a function that asks: ids, mask, token types and ``allowed``, ``(batch, length)``.

        ``rows``, ``(questions,)``, are the texts with a question; ``targets``, ``(questions, 2)``, the first
        and the last token of its answer. A text in which nothing recurs has none.
        """
        frame, vocabulary = frame_of(tokenizer), Vocabulary.of(tokenizer)
        mask_id, pad_id = tokenizer.mask_token_id, tokenizer.pad_token_id

        def collate(
            features: Sequence[Mapping[str, Any]], rng: np.random.Generator
        ) -> Mapping[str, Tensor]:
            asked = [
                ask(vocabulary.words(f["input_ids"]), mask_id, vocabulary, draws_of(f, rng))
                for f in features
            ]
            whole = [
                {"ids": [*frame.before, *q.question, *frame.between, *q.passage, *frame.after]}
                for q in asked
            ]
            ids, real = pad(whole, "ids", pad_id), real_tokens(whole, "ids")
            place = np.arange(ids.shape[1])[None]
            first = np.asarray(
                [len(frame.before) + len(q.question) + len(frame.between) for q in asked]
            )[:, None]
            inside = place < first + np.asarray([len(q.passage) for q in asked])[:, None]
            null = 0 if frame.null_first else np.asarray([[len(each["ids"]) - 1] for each in whole])
            rows = np.asarray([i for i, q in enumerate(asked) if q.start >= 0], np.int64)
            ends = np.asarray([(q.start, q.end) for q in asked], np.int64)
            batch = {
                "input_ids": ids,
                "attention_mask": real.astype(np.int64),
                "allowed": (place >= first) & inside | (place == null),
                "rows": rows,
                "targets": (ends + first)[rows],
            }
            if frame.segments:
                batch["token_type_ids"] = ((place >= first) & real).astype(np.int64)
            return {name: torch.from_numpy(array) for name, array in batch.items()}

        return collate

    def loss(self, model: Any) -> Loss:
        """Return a :class:`~nlptl.pretrain.pointing.SpanPointer` around the model."""
        return SpanPointer(model)

    def rows(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the row of each start and end."""
        return inputs["rows"].repeat_interleave(2)


@dataclass(frozen=True)
class Vocabulary:
    """What the tokens of a vocabulary are: parts of words, and whether these say something.

    Attributes:
        texts: Text of each token, without marks, in small letters.
        continues: Whether it continues a word.
    """

    texts: Sequence[str]
    continues: np.ndarray

    @classmethod
    def of(cls, tokenizer: Any) -> "Vocabulary":
        """Read a tokenizer's."""
        tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        special = set(tokenizer.all_special_tokens)
        texts = ["" if t in special else t.removeprefix("##").lstrip("Ġ▁Ċ").lower() for t in tokens]
        spelt = np.asarray([any(map(str.isalnum, text)) for text in texts])
        return cls(texts, continuing(tokenizer) & spelt)

    def words(self, ids: Sequence[int]) -> list[tuple[int, ...]]:
        """Join token ids to words; punctuation and special tokens are words of their own."""
        found: list[list[int]] = []
        for token in ids:
            if found and self.continues[token] and self.is_spelt(found[-1]):
                found[-1].append(token)
            else:
                found.append([token])
        return [tuple(word) for word in found]

    def is_spelt(self, word: Sequence[int]) -> bool:
        """Whether a word has a letter or a digit."""
        return any(map(str.isalnum, self.texts[word[-1]]))

    def says_something(self, word: Sequence[int]) -> bool:
        """Whether a word has a letter or a digit and is no stop word."""
        return (
            self.is_spelt(word) and "".join(self.texts[token] for token in word) not in STOP_WORDS
        )


def recurring_spans(
    words: Sequence[tuple[int, ...]],
    spelt: Sequence[bool],
    telling: Sequence[bool],
    longest: int = LONGEST,
) -> list[Recurring]:
    """List the spans that occur more than once in a text (Ram et al., 2021, section 3).

    They consist of whole words, begin and end with one that has a letter or a digit, have at least one word
    that says something, and at most ``longest`` tokens; and they are maximal: not every occurrence has the
    same word before it, nor the same word after it, or the longer span would be the one that recurs.

    Args:
        words: Words, as token ids.
        spelt: Whether each has a letter or a digit.
        telling: Whether each says something (no stop word, no punctuation).
        longest: Most tokens of a span.

    Example:
        >>> recurring_spans([(1,), (2,), (3,), (1,), (2,)], [True] * 5, [True] * 5)
        [Recurring(words=2, starts=(0, 3))]
    """
    alive, found = set(range(len(words))), []
    for size in range(1, longest + 1):
        groups = defaultdict(list)
        for i in sorted(alive):
            if i + size <= len(words) and (size == 1 or i + 1 in alive):
                groups[tuple(words[i : i + size])].append(i)
        again = {span: starts for span, starts in groups.items() if len(starts) > 1}
        alive = {i for starts in again.values() for i in starts}
        for span, starts in again.items():
            at, ended = starts[0], starts[0] + size - 1
            if (
                sum(map(len, span)) <= longest
                and spelt[at]
                and spelt[ended]
                and any(telling[at : ended + 1])
                and _is_maximal(words, starts, size)
            ):
                apart = tuple(_apart(starts, size))
                found += [Recurring(size, apart)] if len(apart) > 1 else []
        if not alive:
            break
    return found


def _is_maximal(words: Sequence[tuple[int, ...]], starts: Sequence[int], size: int) -> bool:
    """Whether the occurrences differ in the word before them, and in the word after; an edge is no word."""
    before = {words[i - 1] if i else None for i in starts}
    after = {words[i + size] if i + size < len(words) else None for i in starts}
    return len(before) > 1 and len(after) > 1


def _apart(starts: Sequence[int], size: int) -> Iterator[int]:
    """Leave out occurrences that overlap the one before."""
    free = 0
    for start in starts:
        if start >= free:
            yield start
            free = start + size


def ask(
    words: Sequence[tuple[int, ...]],
    question_token: int,
    vocabulary: Vocabulary,
    rng: np.random.Generator,
) -> Question:
    """Draw a recurring span, hide all its occurrences but one, and make one of these the question.

    Args:
        words: Words of a text, as token ids.
        question_token: Id that an occurrence is replaced by, whatever its length.
        vocabulary: Vocabulary of the ids.
        rng: Source of the draws: the span, the occurrence that is left, the one that asks, and how many
            words around it (:data:`AROUND`) go with it; never any of the one that is left.
    """
    spelt = [vocabulary.is_spelt(word) for word in words]
    telling = [vocabulary.says_something(word) for word in words]
    spans = recurring_spans(words, spelt, telling)
    if not spans:
        return Question([], _joined(words))
    span = spans[rng.integers(len(spans))]
    kept, asking = rng.permutation(len(span.starts))[:2]
    left, right = rng.integers(AROUND[0], AROUND[1] + 1, 2)
    return hide(words, span, int(kept), int(asking), question_token, int(left), int(right))


def hide(
    words: Sequence[tuple[int, ...]],
    span: Recurring,
    kept: int,
    asking: int,
    question_token: int,
    left: int,
    right: int,
) -> Question:
    """Hide a span's occurrences but one, and move the words around one of them to the front.

    Args:
        words: Words of a text, as token ids.
        span: Recurring span.
        kept: Number of the occurrence that is left.
        asking: Number of the occurrence that asks, another one.
        question_token: Id that an occurrence is replaced by.
        left: Most words (or question tokens) before the one that asks to take along.
        right: Most words after it.
    """
    units: list[tuple[int, ...]] = []
    places, done = [], 0
    for number, start in enumerate(span.starts):
        units += words[done:start]
        places.append(len(units))
        done = start + span.words
        units += words[start:done] if number == kept else [(question_token,)]
    units += words[done:]
    first, place = places[kept], places[asking]
    low, high = (first + span.words, len(units)) if place > first else (0, first)
    begin, end = max(low, place - left), min(high, place + right + 1)
    question = _joined(units[begin:end])
    start = len(_joined(units[:first])) - (len(question) if place < first else 0)
    length = len(_joined(units[first : first + span.words]))
    passage = _joined([*units[:begin], *units[end:]])
    return Question(question, passage, start, start + length - 1)


def _joined(words: Sequence[tuple[int, ...]]) -> list[int]:
    return [token for word in words for token in word]
