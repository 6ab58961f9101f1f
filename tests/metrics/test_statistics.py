"""Scores from statistics against scikit-learn, scipy and conlleval's rules; their errors by resampling."""

import re

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from nlptl.metrics.classification import classification_scores
from nlptl.metrics.statistics import (
    class_counts,
    correlation_moments,
    correlation_of,
    entities,
    entity_counts,
    example_f1,
    jackknife_error,
    label_counts,
    labels_by_name,
    macro_f1_of,
    marks_ends,
    matthews_of,
    micro_f1_of,
    ranks,
    scored,
    share_of,
    strict_entities,
    strict_entity_counts,
    within_range,
    word_counts,
)


def test_an_interval_of_a_score_ends_where_the_score_does():
    assert within_range("accuracy", [-0.1, 0.7]) == [0.0, 0.7]
    assert within_range("micro_f1", [0.2, 1.3]) == [0.2, 1.0]
    assert within_range("matthews", [-1.4, 1.2]) == [-1.0, 1.0]
    assert within_range("spearman", [-0.4, 0.2]) == [-0.4, 0.2]
    assert within_range("negative_error", [-7.0, 2.0]) == [-7.0, 1.0]  # a task's own


def mean(statistics, combine):
    return float(combine(statistics.mean(axis=0)))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_macro_f1_and_matthews_are_scikit_learns(rng):
    gold = rng.integers(0, 4, 200)
    predicted = np.where(rng.random(200) < 0.6, gold, rng.integers(0, 4, 200))
    counts = class_counts(gold, predicted, 5)  # the fifth class never occurs
    assert mean(counts, macro_f1_of) == pytest.approx(
        f1_score(gold, predicted, average="macro"), abs=1e-12
    )
    assert mean(counts, matthews_of) == pytest.approx(matthews_corrcoef(gold, predicted), abs=1e-12)
    constant = class_counts([0, 1, 1], [1, 1, 1], 2)
    assert mean(constant, matthews_of) == matthews_corrcoef([0, 1, 1], [1, 1, 1]) == 0


def test_their_errors_are_those_of_the_confusion_matrix(rng):
    gold, predicted = rng.integers(0, 3, 80), rng.integers(0, 3, 80)
    counts = class_counts(gold, predicted, 3)
    known = classification_scores(gold, predicted, 3)
    for name, combine in (("macro_f1", macro_f1_of), ("matthews", matthews_of)):
        found = scored(name, counts, combine)
        assert found == {key: pytest.approx(known[key], abs=1e-12) for key in found}
        assert set(found) == {name, f"{name}_se"}


def test_correlations_are_scipys(rng):
    gold = rng.integers(0, 6, 150).astype(float)  # with ties
    predicted = 1e6 + gold + rng.normal(size=150) ** 3
    assert mean(correlation_moments(gold, predicted), correlation_of) == pytest.approx(
        pearsonr(gold, predicted).statistic, abs=1e-9
    )
    ranked = correlation_moments(gold, predicted, ranked=True)
    assert mean(ranked, correlation_of) == pytest.approx(
        spearmanr(gold, predicted).statistic, abs=1e-12
    )
    assert (ranks(gold) + 1 == rankdata(gold)).all()
    constant = correlation_moments(gold, np.full(150, 2.0), ranked=True)
    assert mean(constant, correlation_of) == 0


def labels(rng, count):
    kinds = np.array(["film", "book", "phone"])
    return [set(kinds[rng.random(3) < 0.4].tolist()) for _ in range(count)]


def test_f1_of_several_labels_is_scikit_learns(rng):
    gold, predicted = labels(rng, 120), labels(rng, 120)
    rows = [
        [[name in each for name in ("film", "book", "phone")] for each in part]
        for part in (gold, predicted)
    ]
    assert mean(label_counts(gold, predicted), micro_f1_of) == pytest.approx(
        f1_score(*rows, average="micro"), abs=1e-12
    )
    assert example_f1(gold, predicted).mean() == pytest.approx(
        f1_score(*rows, average="samples", zero_division=1.0), abs=1e-12
    )
    assert any(not g and not p for g, p in zip(gold, predicted, strict=True))
    assert mean(label_counts([set()], [set()]), micro_f1_of) == 0


def chunks(tags):
    """Chunks after conlleval.pl: where one starts, where one ends, told from each pair of neighbours."""
    found, start, before = [], None, ("O", "")
    for place, tag in enumerate([*tags, "O"]):
        mark, kind = re.fullmatch(r"([BIO])-?(.*)", tag).groups()
        if start is not None and (mark in "BO" or kind != before[1]):
            found.append((before[1], start, place - 1))
            start = None
        if mark == "B" or (mark == "I" and (before[0] == "O" or kind != before[1])):
            start = place
        before = (mark, kind)
    return found


def test_entities_are_conllevals(rng):
    assert entities(["B-A", "I-A", "B-A", "I-B", "O", "I-A", "I-A"]) == {
        *(("A", 0, 1), ("A", 2, 2), ("B", 3, 3), ("A", 5, 6))
    }
    tags = ["O", "B-A", "I-A", "B-B", "I-B"]
    sentences = [[tags[i] for i in rng.integers(0, 5, rng.integers(1, 12))] for _ in range(300)]
    for sentence in sentences:
        assert entities(sentence) == set(chunks(sentence))
    gold, predicted = sentences[:150], [s[:] for s in sentences[:150]]
    for sentence in predicted[::2]:
        sentence[0] = "O"
    found = mean(entity_counts(gold, predicted), micro_f1_of)
    right = sum(len(set(chunks(g)) & set(chunks(p))) for g, p in zip(gold, predicted, strict=True))
    total = sum(len(chunks(s)) for s in (*gold, *predicted))
    assert found == pytest.approx(2 * right / total, abs=1e-12) and 0.4 < found < 1
    assert entity_counts([["B-A", "B-A"]], [["B-A"]]).tolist() == [[1, 2, 1]]  # one was cut off


def test_macro_f1_of_several_labels_is_scikit_learns(rng):
    gold, predicted, names = labels(rng, 120), labels(rng, 120), ("film", "book", "phone")
    rows = [[[name in each for name in names] for each in part] for part in (gold, predicted)]
    found = mean(labels_by_name(gold, predicted, names), macro_f1_of)
    assert found == pytest.approx(f1_score(*rows, average="macro"), abs=1e-12)
    more = mean(labels_by_name(gold, predicted, (*names, "never")), macro_f1_of)
    assert more == pytest.approx(found, abs=1e-12)  # a label that nowhere occurs is left out


def by_definition(tags, closed):
    """Entities in the words of the definition: every span of words is tried."""
    found = set()
    for first in range(len(tags)):
        for last in range(first, len(tags)):
            kind = tags[first][2:]
            inner, after = tags[first + 1 : last + 1], [*tags, "O"][last + 1]
            if not closed:
                good = tags[first] == f"B-{kind}" and all(tag == f"I-{kind}" for tag in inner)
                good = good and after != f"I-{kind}"
            elif first == last:
                good = tags[first] in (f"S-{kind}", f"U-{kind}")
            else:
                good = tags[first] == f"B-{kind}" and all(tag == f"I-{kind}" for tag in inner[:-1])
                good = good and inner[-1] in (f"E-{kind}", f"L-{kind}")
            if good and tags[first] != "O":
                found.add((kind, first, last))
    return found


@pytest.mark.parametrize("marks", ["BI", "BIES", "BILU"])
def test_strict_entities_are_those_of_the_definition(rng, marks):
    """seqeval 1.2.2 in its strict mode gave the same on 2,000 sequences of each writing."""
    tags = ["O", *(f"{mark}-{kind}" for mark in marks for kind in ("PER", "LOC"))]
    closed = marks_ends(tags)
    assert closed is (marks != "BI")
    gold = [[tags[i] for i in rng.integers(0, len(tags), rng.integers(1, 12))] for _ in range(1000)]
    predicted = [[t if rng.random() < 0.7 else tags[0] for t in each] for each in gold]
    for each in (*gold, *predicted):
        assert strict_entities(each, closed=closed) == by_definition(each, closed)
    sides = [[by_definition(each, closed) for each in part] for part in (gold, predicted)]
    right = sum(len(g & p) for g, p in zip(*sides, strict=True))
    total = sum(len(each) for part in sides for each in part)
    found = mean(strict_entity_counts(gold, predicted, closed=closed), micro_f1_of)
    assert found == pytest.approx(2 * right / total, abs=1e-12) and 0.2 < found < 1


def test_the_share_of_right_words_counts_words_and_not_sentences():
    counts = word_counts([["A", "B", "C"], ["A"]], [["A", "B", "A"], ["B"]])
    assert counts.tolist() == [[2, 3], [0, 1]]
    assert mean(counts, share_of) == 0.5


def test_the_jackknife_leaves_out_one_example_after_the_other(rng):
    gold, predicted = labels(rng, 40), labels(rng, 40)
    counts = label_counts(gold, predicted)
    left = [mean(np.delete(counts, i, axis=0), micro_f1_of) for i in range(40)]
    expected = np.sqrt(39 / 40 * ((left - np.mean(left)) ** 2).sum())
    assert jackknife_error(counts, micro_f1_of) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(jackknife_error(counts[:1], micro_f1_of))
    right = rng.integers(0, 2, (50, 1)).astype(float)
    assert jackknife_error(right, lambda sums: sums[..., 0]) == pytest.approx(
        right.std(ddof=1) / np.sqrt(50)
    )


def test_the_error_of_a_rank_correlation_is_its_spread_over_samples(rng):
    def sample():
        x = rng.normal(size=100)
        return correlation_moments(x, x + rng.normal(size=100), ranked=True)

    samples = [sample() for _ in range(1000)]
    spread = np.std([mean(each, correlation_of) for each in samples])
    errors = np.mean([jackknife_error(each, correlation_of) for each in samples[:100]])
    assert errors == pytest.approx(spread, rel=0.1)


def test_combining_works_on_any_number_of_leading_axes(rng):
    pairs = [
        (class_counts(rng.integers(0, 2, 30), rng.integers(0, 2, 30), 2), macro_f1_of),
        (class_counts(rng.integers(0, 2, 30), rng.integers(0, 2, 30), 2), matthews_of),
        (correlation_moments(rng.normal(size=30), rng.normal(size=30)), correlation_of),
        (label_counts(labels(rng, 30), labels(rng, 30)), micro_f1_of),
    ]
    for statistics, combine in pairs:
        drawn = rng.integers(0, 30, (4, 3, 30))
        found = combine(statistics[drawn].mean(axis=-2))
        assert found.shape == (4, 3)
        assert found[2, 1] == pytest.approx(mean(statistics[drawn[2, 1]], combine))
