"""Exact match and F1 of SQuAD v1.1 and v2.0, offline, equal to the official scripts.

Rajpurkar et al. (2016, section 6.1; 2018, section 4): lower case, no punctuation, no articles, white
space collapsed; the best over a question's gold answers; F1 over the multiset of tokens.
"""

import re
import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from nlptl.metrics.ratio import ratio_with_error

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower-case a text, and drop punctuation, articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, gold: Sequence[str], *, v2: bool = False) -> float:
    """Return 1 if the normalized prediction equals a normalized gold answer, else 0."""
    guess = normalize_answer(prediction)
    return float(any(guess == normalize_answer(g) for g in _golds(gold, v2)))


def f1(prediction: str, gold: Sequence[str], *, v2: bool = False) -> float:
    """Return the best token F1 over the gold answers."""
    guess = normalize_answer(prediction).split()
    return max(_f1(guess, normalize_answer(g).split(), v2) for g in _golds(gold, v2))


def _golds(gold: Sequence[str], v2: bool) -> Sequence[str]:
    # The v2.0 script leaves out golds that normalize to nothing, and takes '' where none is left.
    return ([g for g in gold if normalize_answer(g)] or [""]) if v2 else gold


def _f1(guess: list[str], gold: list[str], v2: bool) -> float:
    if v2 and not (guess and gold):
        return float(guess == gold)  # v1.1 gives 0 here, even for "the" against "the"
    common = sum((Counter(guess) & Counter(gold)).values())
    if not common:
        return 0.0
    precision, recall = common / len(guess), common / len(gold)
    return 2 * precision * recall / (precision + recall)


class Squad(evaluate.Metric):
    """Exact match and F1 in percent, with standard errors over passages.

    Args:
        v2: Whether to score as the v2.0 script does: questions may have no gold answer, and the parts
            ``HasAns_…`` and ``NoAns_…`` are given too. The two scripts also differ on answers that are
            articles or punctuation only.
    """

    def __init__(self, v2: bool = False, **settings: Any) -> None:
        self.v2 = v2
        super().__init__(keep_in_memory=True, **settings)

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=(self.__class__.__doc__ or "").strip(),
            citation="",
            inputs_description="predictions: texts; references: gold texts and the passage's name",
            features=datasets.Features(
                {"predictions": text, "references": {"answers": [text], "passage": text}}
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        rows = [
            (
                ref["passage"],
                bool(ref["answers"]),
                exact_match(guess, ref["answers"], v2=self.v2),
                f1(guess, ref["answers"], v2=self.v2),
            )
            for guess, ref in zip(predictions, references, strict=True)
        ]
        parts = {"": rows}
        if self.v2:
            parts["HasAns_"] = [row for row in rows if row[1]]
            parts["NoAns_"] = [row for row in rows if not row[1]]
        figures: dict[str, float] = {}
        for prefix, part in parts.items():
            if part:
                figures |= _percent(f"{prefix}exact_match", [(row[0], row[2]) for row in part])
                figures |= _percent(f"{prefix}f1", [(row[0], row[3]) for row in part])
        return figures


def _percent(name: str, scored: Sequence[tuple[str, float]]) -> dict[str, float]:
    groups: dict[str, list[float]] = defaultdict(list)
    for passage, score in scored:
        groups[passage].append(score)
    percent = 100.0 * sum(score for _, score in scored) / len(scored)  # rounds as the scripts do
    error = ratio_with_error((sum(scores), len(scores)) for scores in groups.values())[1]
    return {name: percent, f"{name}_se": 100.0 * error}
