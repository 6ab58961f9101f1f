"""Answers from start and end logits, whatever the logits are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """The model's outputs for one window of a passage.

    Attributes:
        start: Start logits of the window's passage tokens, shape ``(tokens,)``.
        end: End logits, same shape.
        starts: First character of each token, same shape.
        ends: Character after the last one of each token, same shape.
        null: Start plus end logit of the no-answer token.
    """

    start: np.ndarray
    end: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    null: float


@dataclass(frozen=True)
class Span:
    """A candidate answer: characters ``[start, end)`` of the passage, and its summed logits."""

    start: int
    end: int
    score: float


def best_spans(
    windows: Sequence[Window], context: str, *, n_best: int = 20, max_tokens: int = 30
) -> list[Span]:
    """Rank answers over all windows of a question.

    Score = start logit + end logit over ``n_best`` x ``n_best`` of each window; the end is not
    before the start, the answer has at most ``max_tokens`` tokens, and it is not only white space. The same
    characters from two windows count once, with the better score.

    Returns:
        At most ``n_best`` spans, best first; empty if no window has a valid one.
    """
    found: dict[tuple[int, int], float] = {}
    for window in windows:
        if not len(window.start):
            continue
        starts = np.argsort(-_finite(window.start), kind="stable")[:n_best]
        ends = np.argsort(-_finite(window.end), kind="stable")[:n_best]
        first, last = (grid.ravel() for grid in np.meshgrid(starts, ends, indexing="ij"))
        fits = (last >= first) & (last - first < max_tokens)
        scores = _finite(window.start)[first] + _finite(window.end)[last]
        for a, b, score in zip(first[fits], last[fits], scores[fits], strict=True):
            span = (int(window.starts[a]), int(window.ends[b]))
            if context[slice(*span)].strip() and score > found.get(span, -np.inf):
                found[span] = float(score)
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:n_best]
    return [Span(start, end, score) for (start, end), score in ranked]


def _finite(logits: np.ndarray) -> np.ndarray:
    return np.nan_to_num(logits.astype(np.float64), nan=-1e30, posinf=1e30, neginf=-1e30)


def null_score(windows: Sequence[Window]) -> float:
    """Return the score of "no answer": the minimum over windows, since each must find none (SQuAD 2.0)."""
    return min((float(_finite(np.asarray(w.null))) for w in windows), default=0.0)


def best_threshold(
    differences: Sequence[float], answered: Sequence[float], empty: Sequence[float]
) -> float:
    """Choose the no-answer threshold that scores best; ties go to the one nearest to 0.

    Args:
        differences: Null score minus best span's score of each question.
        answered: Score of each question if its best span is given.
        empty: Score of each question if no answer is given.

    Returns:
        A threshold t: no answer is given if the difference is above t.
    """
    order = np.argsort(differences, kind="stable")
    sorted_ = np.asarray(differences, dtype=float)[order]
    gain = (np.asarray(answered) - np.asarray(empty))[order]
    totals = np.concatenate([[0.0], np.cumsum(gain)])  # the k smallest differences are answered
    edges = np.concatenate([[-np.inf], sorted_, [np.inf]])
    middles = np.concatenate(
        [[sorted_[0] - 1.0], (sorted_[:-1] + sorted_[1:]) / 2, [sorted_[-1] + 1.0]]
    )
    distinct = edges[1:] > edges[:-1]  # equal differences fall on one side together
    # 0 itself, if it separates the same questions, is a rounder threshold than the middle.
    nearest = np.clip(0.0, edges[:-1], np.nextafter(edges[1:], -np.inf))
    middles = np.where((edges[:-1] <= 0.0) & (edges[1:] > 0.0), nearest, middles)
    best = totals[distinct].max()
    candidates = middles[distinct & (totals >= best - 1e-12)]
    return float(candidates[np.argmin(np.abs(candidates))])
