"""The bundled passages are what their card says, and every answer stands at its offset."""

import json
import re
from collections import Counter

import pytest

from nlptl.data.sources import BUNDLED
from nlptl.metrics.squad import normalize_answer

SPLITS = {"train": (120, 600), "validation": (20, 100), "test": (40, 200)}
PASSAGES, QUESTIONS = (sum(sizes) for sizes in zip(*SPLITS.values(), strict=True))


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
    assert len({p["context"] for p in everything}) == PASSAGES  # none is in two splits
    assert len({qa["id"] for p in everything for qa in p["qas"]}) == QUESTIONS


def test_every_answer_stands_at_its_offset(paragraphs):
    checked = 0
    for part in paragraphs.values():
        for paragraph in part:
            for qa in paragraph["qas"]:
                assert bool(qa["answers"]) != qa["is_impossible"]
                for answer in qa["answers"]:
                    text, start = answer["text"], answer["answer_start"]
                    whole = re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")  # no part of a word
                    assert whole.match(paragraph["context"], start)
                    assert normalize_answer(text)
                    checked += 1
    assert checked >= QUESTIONS - PASSAGES


def test_questions_are_of_many_kinds(paragraphs):
    questions = [qa["question"] for part in paragraphs.values() for p in part for qa in p["qas"]]
    assert len(set(questions)) == QUESTIONS
    kinds = Counter(word for q in questions for word in set(q.lower().split()))
    for word in ("who", "what", "which", "where", "when", "why", "how"):
        assert kinds[word] >= 8, word


def test_the_card_says_how_much_the_questions_paraphrase(paragraphs):
    """Of an answerable question's words, some stand in the passage; the card says how many."""
    found = {False: Counter(), True: Counter()}
    for paragraph in (p for part in paragraphs.values() for p in part):
        words = set(long_words(paragraph["context"]))
        for qa in paragraph["qas"]:
            if qa["answers"]:
                own = long_words(qa["question"])
                one = found[qa["id"] > "passages-0540"]
                one.update(all=len(own), shared=sum(word in words for word in own))
    shares = [f"{one['shared'] / one['all']:.0%}".replace("%", " %") for one in found.values()]
    card = " ".join((BUNDLED / "passages/README.md").read_text("utf-8").split())
    assert f"{shares[0]} stand in its passage too for the first 540" in card
    assert f"and {shares[1]} for the other 360" in card


def long_words(text):
    return re.findall(r"[^\W\d_]{4,}", text.lower())
