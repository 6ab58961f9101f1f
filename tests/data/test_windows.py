"""Windows over passages, against the tokenizers' own stride and against the text itself."""

from itertools import pairwise

import numpy as np
import pytest
from tiny import sentences
from transformers import AutoTokenizer

from nlptl.data.windows import answer_tokens, frame_of, question_room, tokenize, window_starts

AWKWARD = "  \tThe film  was\u00a0good 😀 שלום </s> [SEP] <pad>,  plot:\n\n 1,234.5 naïve  "


@pytest.fixture
def tokenizer(checkpoints, family):
    return AutoTokenizer.from_pretrained(checkpoints[family])


@pytest.mark.parametrize(("length", "stride"), [(40, 7), (24, 0), (62, 20)])
def test_equal_to_the_tokenizers_own_stride(tokenizer, length, stride):
    """`truncation="only_second"` with a stride is what everybody uses; ids, sides, offsets agree."""
    frame = frame_of(tokenizer)
    question = "was it a good film"
    for seed in range(4):
        passage = " ".join(sentences(2 + 4 * seed, seed))
        theirs = tokenizer(
            question,
            passage,
            truncation="only_second",
            max_length=length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        asked, told = tokenize([question, passage], tokenizer, frame)
        first = len(frame.before) + len(asked.ids) + len(frame.between)
        room = length - first - len(frame.after)
        begins = window_starts(len(told.ids), room, stride)
        assert len(begins) == len(theirs["input_ids"])
        for number, begin in enumerate(begins):
            part = slice(begin, begin + room)
            mine = [*frame.before, *asked.ids, *frame.between, *told.ids[part], *frame.after]
            assert mine == theirs["input_ids"][number]
            sides = theirs.sequence_ids(number)
            spans = [
                o for o, s in zip(theirs["offset_mapping"][number], sides, strict=True) if s == 1
            ]
            assert sides.index(1) == first
            for (a, b), c, d in zip(spans, told.starts[part], told.ends[part], strict=True):
                assert passage[a:b].strip() == passage[c:d]


def test_frames_of_the_families(tokenizer, family):
    frame = frame_of(tokenizer)
    special = {
        "bert": (1, 1, 1, True, True),
        "roberta": (1, 2, 1, False, True),
        "t5": (0, 1, 1, False, False),
    }[family]
    found = (
        len(frame.before),
        len(frame.between),
        len(frame.after),
        frame.segments,
        frame.null_first,
    )
    assert found == special
    assert question_room(50, frame) == (50 - sum(special[:3])) // 2


def test_offsets_hold_no_white_space_and_no_special_token_comes_from_a_text(tokenizer):
    frame = frame_of(tokenizer)
    (made,) = tokenize([AWKWARD], tokenizer, frame)
    assert not set(made.ids.tolist()) & frame.special
    for start, end in zip(made.starts, made.ends, strict=True):
        piece = AWKWARD[start:end]
        assert piece == piece.strip() and 0 <= start <= end <= len(AWKWARD)
    assert (np.diff(made.starts) >= 0).all() and (np.diff(made.ends) >= 0).all()


def test_answers_come_back_from_their_tokens(tokenizer):
    frame = frame_of(tokenizer)
    for seed in range(20):
        passage = " ".join(sentences(3, seed))
        (made,) = tokenize([passage], tokenizer, frame)
        words = passage.split(" ")
        begin = seed % (len(words) - 2)
        answer = " ".join(words[begin : begin + 2])
        start = len(" ".join(words[:begin])) + (begin > 0)
        first, last = answer_tokens(made, start, start + len(answer))
        assert passage[made.starts[first] : made.ends[last]] == answer


def test_empty_texts_and_places_without_tokens(tokenizer):
    frame = frame_of(tokenizer)
    (made,) = tokenize(["   "], tokenizer, frame)
    assert answer_tokens(made, 0, 2) is None or len(made.ids)
    (word,) = tokenize(["film"], tokenizer, frame)
    assert answer_tokens(word, 4, 9) is None


def test_windows_cover_everything_and_share_the_stride():
    for tokens in range(0, 60):
        for room, stride in ((10, 0), (10, 3), (10, 9)):
            begins = list(window_starts(tokens, room, stride))
            covered = {t for b in begins for t in range(b, min(b + room, tokens))}
            assert covered == set(range(tokens))
            assert all(b - a == room - stride for a, b in pairwise(begins))
            assert len(begins) == 1 or begins[-1] + stride < tokens  # none holds old tokens only
