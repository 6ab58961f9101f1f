"""The bundled passages are what their card says, and every answer stands at its offset."""

import json
from collections import Counter

import pytest

from nlptl.data.sources import BUNDLED
from nlptl.metrics.squad import normalize_answer

SPLITS = {"train": (72, 360), "validation": (12, 60), "test": (24, 120)}


@pytest.fixture(scope="module")
def paragraphs():
    made = {}
    for split in SPLITS:
        whole = json.loads((BUNDLED / f"passages/{split}.json").read_text("utf-8"))
        assert whole["version"] == "v2.0"
        made[split] = [p for article in whole["data"] for p in article["paragraphs"]]
    return made


def test_sizes(paragraphs):
    for split, (passages, questions) in SPLITS.items():
        assert len(paragraphs[split]) == passages
        qas = [qa for p in paragraphs[split] for qa in p["qas"]]
        assert len(qas) == questions
        assert sum(qa["is_impossible"] for qa in qas) == passages
    everything = [p for part in paragraphs.values() for p in part]
    assert all(80 <= len(p["context"].split()) <= 200 for p in everything)
    assert len({p["context"] for p in everything}) == 108  # none is in two splits
    assert len({qa["id"] for p in everything for qa in p["qas"]}) == 540


def test_every_answer_stands_at_its_offset(paragraphs):
    checked = 0
    for part in paragraphs.values():
        for paragraph in part:
            for qa in paragraph["qas"]:
                assert bool(qa["answers"]) != qa["is_impossible"]
                for answer in qa["answers"]:
                    text, start = answer["text"], answer["answer_start"]
                    assert paragraph["context"][start : start + len(text)] == text
                    assert normalize_answer(text)
                    checked += 1
    assert checked >= 432


def test_questions_are_of_many_kinds(paragraphs):
    questions = [qa["question"] for part in paragraphs.values() for p in part for qa in p["qas"]]
    assert len(set(questions)) == 540
    kinds = Counter(word for q in questions for word in set(q.lower().split()))
    for word in ("who", "what", "which", "where", "when", "why", "how"):
        assert kinds[word] >= 8, word
