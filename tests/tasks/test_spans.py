"""Decoding: right on small cases by brute force, and total on everything else."""

import numpy as np
import pytest

from nlptl.tasks.spans import Window, best_spans, best_threshold, null_score

TEXT = "one two three four"
STARTS, ENDS = np.array([0, 4, 8, 14]), np.array([3, 7, 13, 18])


def window(start, end, starts=STARTS, ends=ENDS, null=0.0):
    return Window(np.asarray(start, float), np.asarray(end, float), starts, ends, null)


def texts(spans):
    return [TEXT[s.start : s.end] for s in spans]


def test_the_best_pair_wins_not_the_two_best_ends():
    """Each by itself start = 3 and end = 0 are best, but the end may not come first."""
    spans = best_spans([window([0, 2, 0, 3], [5, 0, 4, 1])], TEXT)
    assert texts(spans)[0] == "two three" and spans[0].score == 6


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_brute_force(seed):
    rng = np.random.default_rng(seed)
    windows = [window(rng.normal(size=4), rng.normal(size=4)) for _ in range(3)]
    expected = {}
    for w in windows:
        for a in range(4):
            for b in range(a, min(4, a + 2)):
                key = (int(STARTS[a]), int(ENDS[b]))
                expected[key] = max(expected.get(key, -99.0), w.start[a] + w.end[b])
    found = best_spans(windows, TEXT, max_tokens=2)
    assert {(s.start, s.end): s.score for s in found} == pytest.approx(expected)
    assert [s.score for s in found] == sorted(expected.values(), reverse=True)


def test_windows_of_one_question_compete_and_none_must_say_none():
    weak, strong = (
        window([1, 0, 0, 0], [1, 0, 0, 0], null=9.0),
        window([0, 0, 7, 0], [0, 0, 7, 0], null=2.0),
    )
    assert texts(best_spans([weak, strong], TEXT))[0] == "three"
    assert null_score([weak, strong]) == 2.0


def test_it_is_total():
    """Fuzz: empty windows, one token, zero-width and white-space offsets, emoji, nan and inf."""
    rng = np.random.default_rng(0)
    contexts = ["", " ", "x", "😀 שלום عالم", " </s> [SEP] ", TEXT, "\n\n", "a" * 50]
    for trial in range(600):
        context = contexts[trial % len(contexts)]
        windows = []
        for _ in range(rng.integers(0, 4)):
            n = int(rng.integers(0, 6))
            edges = np.sort(rng.integers(0, len(context) + 1, (n, 2)), axis=1)
            logits = rng.normal(size=(2, n)) * 10.0 ** rng.integers(-3, 30)
            logits[rng.random((2, n)) < 0.3] = rng.choice([np.nan, np.inf, -np.inf, -3.4e38])
            windows.append(
                Window(*logits, edges[:, 0], edges[:, 1], float(rng.choice([np.nan, 1.0])))
            )
        spans = best_spans(windows, context, n_best=int(rng.integers(1, 9)))
        assert all(context[s.start : s.end].strip() for s in spans)
        assert np.isfinite(null_score(windows))


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(1)
    for _ in range(50):
        n = int(rng.integers(1, 12))
        difference = rng.integers(-4, 5, n).astype(float)
        answered, empty = rng.random(n), rng.integers(0, 2, n).astype(float)

        def total(t, difference=difference, answered=answered, empty=empty):
            return np.where(difference > t, empty, answered).sum()

        best = max(total(t) for t in np.arange(-6, 6, 0.25))
        assert total(best_threshold(difference, answered, empty)) == pytest.approx(best)


def test_a_threshold_that_need_not_move_is_zero():
    assert best_threshold([-3.0, 2.0], [1.0, 0.0], [0.0, 1.0]) == 0.0
