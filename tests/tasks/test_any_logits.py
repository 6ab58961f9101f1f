"""Decoding of answers: any logits give spans of the passage, ranked; the best is that of brute force."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nlptl.metrics.squad import exact_match, f1, normalize_answer
from nlptl.tasks.spans import Window, best_spans, best_threshold, null_score

LOGITS = st.one_of(st.floats(-50, 50), st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e38, 0.0]))


@st.composite
def asked(draw):
    context = draw(st.text(st.one_of(st.characters(), st.sampled_from(" \n\t")), max_size=20))
    windows = []
    for _ in range(draw(st.integers(0, 3))):
        n = draw(st.integers(0, 6))
        edges = sorted(draw(st.lists(st.integers(0, len(context)), min_size=2 * n, max_size=2 * n)))
        start, end = draw(arrays(float, (2, n), elements=LOGITS))
        starts, ends = np.asarray(edges, int).reshape(-1, 2).T if n else np.zeros((2, 0), int)
        windows.append(Window(start, end, starts, ends, draw(LOGITS)))
    return context, windows


@given(asked(), st.integers(1, 20), st.integers(1, 7))
def test_spans_lie_in_the_passage_and_the_best_is_brute_force_s(question, n_best, max_tokens):
    context, windows = question
    found = best_spans(windows, context, n_best=n_best, max_tokens=max_tokens)
    assert len(found) <= n_best and len({(s.start, s.end) for s in found}) == len(found)
    assert all(0 <= s.start < s.end <= len(context) for s in found)
    assert all(context[s.start : s.end].strip() and np.isfinite(s.score) for s in found)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    assert np.isfinite(null_score(windows))
    if n_best < 6:
        return
    tame = [
        Window(
            *(np.nan_to_num(x, nan=-1e30, posinf=1e30, neginf=-1e30) for x in (w.start, w.end)),
            w.starts,
            w.ends,
            w.null,
        )
        for w in windows
    ]
    every = [
        w.start[a] + w.end[b]
        for w in tame
        for a in range(len(w.start))
        for b in range(a, min(len(w.start), a + max_tokens))
        if context[w.starts[a] : w.ends[b]].strip()
    ]
    assert (max(every) if every else None) == (found[0].score if found else None)


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8)
)
def test_no_other_threshold_scores_better(questions):
    differences, answered, empty = (np.asarray(x) for x in zip(*questions, strict=True))
    chosen = best_threshold(differences, answered, empty)

    def score(threshold):
        return np.where(differences > threshold, empty, answered).sum()

    others = [score(t) for t in (-np.inf, np.inf, *differences)]
    assert score(chosen) >= max(others) - 1e-9


@given(st.text(max_size=30), st.lists(st.text(max_size=30), min_size=1, max_size=3), st.booleans())
def test_scores_of_an_answer_are_shares_and_its_own_gold_is_right(guess, gold, v2):
    for score in (exact_match, f1):
        assert 0 <= score(guess, gold, v2=v2) <= 1
        if normalize_answer(guess):
            assert score(guess, [*gold, guess], v2=v2) == 1
    assert exact_match(guess, gold, v2=v2) <= f1(guess, gold, v2=v2) or not normalize_answer(guess)
