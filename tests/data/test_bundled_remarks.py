"""The bundled remarks are what their card says: one sentence each, balanced, disjoint, varied."""

import re
from collections import Counter

import pytest
from likeness import closest, read_bundled, runs, words

from nlptl.data.sources import BUNDLED

DOMAINS = ("books", "electronics", "films", "kitchen")
LABELS = ("negative", "positive")
SPLITS = {"train": 400, "validation": 200, "test": 1000}
#: Words that deny, and words that set one thing against another.
TURNS = (
    r"\b(?:not|never|no|nothing|nobody|none|neither|nor|without|hardly|cannot|but|though|although|yet"
    r"|however|despite|still|while|except)\b|n't\b|\bin spite\b|\brather than\b|\bno one\b"
)


@pytest.fixture(scope="module")
def remarks():
    return read_bundled("remarks", SPLITS)


@pytest.fixture(scope="module")
def rows(remarks):
    return [row for split in remarks.values() for row in split]


def test_sizes_and_balance(remarks, rows):
    assert {split: len(rows) for split, rows in remarks.items()} == SPLITS
    for split, size in SPLITS.items():
        counts = Counter((row["domain"], row["label"]) for row in remarks[split])
        assert counts == {(domain, label): size // 8 for domain in DOMAINS for label in LABELS}
        assert [set(row) for row in remarks[split]] == [{"id", "text", "label", "domain"}] * size
    assert len({row["id"] for row in rows}) == len({row["text"].lower() for row in rows}) == 1600
    assert sum((BUNDLED / f"remarks/{split}.jsonl").stat().st_size for split in SPLITS) < 250_000


def test_each_is_one_sentence_of_5_to_25_words(rows):
    lengths = sorted(len(row["text"].split()) for row in rows)
    assert lengths[0] >= 5 and lengths[-1] <= 25
    assert lengths[160] <= 7 and lengths[1440] >= 14  # short ones and long ones
    for row in rows:
        text = row["text"]
        assert re.fullmatch(r"[^.!?]+(?:[.!?][^\s][^.!?]*)*[.!?]", text), text
        assert text == " ".join(text.split()) and text[0].upper() == text[0]


def test_no_two_texts_are_near_duplicates(rows):
    """Jaccard similarity of word trigrams, over all pairs, the reviews' included, is at most a quarter."""
    reviews = read_bundled("reviews", ("train", "validation", "test", "unlabelled"))
    others = [row["text"] for split in reviews.values() for row in split]
    pairs, worst = closest([row["text"] for row in rows], others)
    assert pairs > 500  # trigrams such as "one of the" are common: the search finds them
    assert worst <= 0.25


def test_no_templates(rows):
    """No opening and no run of five words returns often; words are many."""
    texts = [row["text"] for row in rows]
    assert Counter(tuple(words(text)[:3]) for text in texts).most_common(1)[0][1] <= 4
    assert Counter(tuple(words(text)[:2]) for text in texts).most_common(1)[0][1] <= 20
    fives = Counter(run for text in texts if len(words(text)) > 4 for run in runs(text, 5))
    assert fives.most_common(1)[0][1] <= 2
    assert len({word for text in texts for word in words(text)}) > 3200


def test_a_fifth_has_negation_or_contrast(rows):
    turned = {
        label: [
            bool(re.search(TURNS, row["text"].lower())) for row in rows if row["label"] == label
        ]
        for label in LABELS
    }
    assert 0.18 < sum(map(sum, turned.values())) / len(rows) < 0.27
    for own in turned.values():  # so a negation alone does not give the label away
        assert 0.18 < sum(own) / len(own) < 0.3


def test_bag_of_words_is_weak(remarks):
    """No word gives the label away: the best of 1- and 2-grams is far below what a reader reaches."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train, test = remarks["train"], remarks["test"]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2))
    seen = vectorizer.fit_transform([row["text"] for row in train])
    model = LogisticRegression(max_iter=1000).fit(seen, [row["label"] for row in train])
    score = model.score(
        vectorizer.transform([row["text"] for row in test]), [row["label"] for row in test]
    )
    assert 0.59 < score < 0.66
