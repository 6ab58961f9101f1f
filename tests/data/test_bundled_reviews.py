"""The bundled reviews are what their card says: balanced, disjoint, varied, small."""

import re
from collections import Counter, defaultdict

import pytest
from likeness import closest, read_bundled, runs, words

from nlptl.data.sources import BUNDLED

DOMAINS = ("books", "electronics", "films", "kitchen")
SPLITS = {"train": 720, "validation": 160, "test": 320, "unlabelled": 800}


@pytest.fixture(scope="module")
def reviews():
    return read_bundled("reviews", SPLITS)


def everything(reviews):
    return [row for rows in reviews.values() for row in rows]


def test_sizes_and_balance(reviews):
    assert {split: len(rows) for split, rows in reviews.items()} == SPLITS
    for split in ("train", "validation", "test"):
        counts = Counter((row["domain"], row["label"]) for row in reviews[split])
        even = SPLITS[split] // 8
        assert counts == {(d, label): even for d in DOMAINS for label in ("positive", "negative")}
    unlabelled = reviews["unlabelled"]
    assert Counter(row["domain"] for row in unlabelled) == dict.fromkeys(DOMAINS, 200)
    assert not any("label" in row for row in unlabelled)
    ids = [row["id"] for row in everything(reviews)]
    assert len(set(ids)) == 2000
    for split in SPLITS:
        assert (BUNDLED / f"reviews/{split}.jsonl").stat().st_size < 300_000


def test_no_two_texts_are_near_duplicates(reviews):
    """Jaccard similarity of word trigrams, over all pairs of all splits, stays below 0.35."""
    pairs, worst = closest([row["text"] for row in everything(reviews)])
    assert pairs > 1000  # trigrams such as "one of the" are common: the search finds them
    assert worst < 0.35


def test_no_templates(reviews):
    """No opening and no run of five words returns often; words are many."""
    texts = [row["text"] for row in everything(reviews)]
    openings = Counter(tuple(words(text)[:3]) for text in texts)
    assert openings.most_common(1)[0][1] <= 5
    fives = Counter(run for text in texts for run in runs(text, 5))
    assert fives.most_common(1)[0][1] <= 4
    vocabulary = Counter(word for text in texts for word in words(text))
    assert len(vocabulary) > 7500


def test_lengths_and_manners_vary(reviews):
    texts = [row["text"] for row in everything(reviews)]
    lengths = sorted(len(text.split()) for text in texts)
    n = len(lengths)
    assert lengths[n // 10] <= 10 and lengths[9 * n // 10] >= 55 and lengths[-1] >= 90
    negated = sum(bool(re.search(r"\bnot\b|n't\b|\bnever\b|\bno\b|nt\b", t.lower())) for t in texts)
    assert 0.25 < negated / n < 0.75
    turned = sum(
        bool(re.search(r"\bbut\b|\bthough\b|\byet\b|\bhowever\b", t.lower())) for t in texts
    )
    assert turned / n > 0.12


def test_no_word_gives_the_label_away(reviews):
    """The most telling of the frequent words is right in fewer than nine of ten texts that hold it."""
    rows = reviews["train"] + reviews["validation"] + reviews["test"]
    counts = defaultdict(Counter)
    for row in rows:
        for word in set(words(row["text"])):
            counts[word][row["label"]] += 1
    frequent = {w: c for w, c in counts.items() if sum(c.values()) >= 40}
    assert len(frequent) > 50
    assert max(max(c.values()) / sum(c.values()) for c in frequent.values()) < 0.9
