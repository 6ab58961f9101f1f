"""Exact match and F1 against torchmetrics, against the scripts' rules by hand, and on odd strings."""

import numpy as np
import pytest
from torchmetrics.text import SQuAD as Torchmetrics

from nlptl.metrics.squad import Squad, exact_match, f1, normalize_answer

WORDS = [
    "the",
    "a",
    "An",
    "cat",
    "Cat's",
    "cat",
    "U.S.",
    "1,000",
    "naïve",
    "😀",
    "—",
    "...",
    "",
    "x-y",
    "Élan",
]


def draw(seed, n=60):
    """Guesses, and gold answers that are more than articles and punctuation."""
    rng = np.random.default_rng(seed)

    def text(*more):
        return " ".join([*rng.choice(WORDS, rng.integers(1, 5)), *more])

    guesses = [text() for _ in range(n)]
    golds = [[text("cat") for _ in range(rng.integers(1, 4))] for _ in range(n)]
    guesses[::5] = [gold[-1].upper() + "!" for gold in golds[::5]]
    return guesses, golds


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_equal_to_torchmetrics(seed, v2):
    """torchmetrics follows v1.1, but for empty guesses, where it does as v2.0 does."""
    guesses, golds = draw(seed)
    guesses = [guess if v2 or normalize_answer(guess) else "cat" for guess in guesses]
    metric = Torchmetrics()
    metric.update(
        [{"prediction_text": g, "id": str(i)} for i, g in enumerate(guesses)],
        [
            {"answers": {"text": gold, "answer_start": [0] * len(gold)}, "id": str(i)}
            for i, gold in enumerate(golds)
        ],
    )
    expected = metric.compute()
    references = [{"answers": g, "passage": str(i // 5)} for i, g in enumerate(golds)]
    found = Squad(v2).compute(predictions=guesses, references=references)
    assert found["exact_match"] == pytest.approx(expected["exact_match"].item(), rel=1e-6)
    assert found["f1"] == pytest.approx(expected["f1"].item(), rel=1e-6)
    assert found["f1"] > found["exact_match"] > 0


def test_normalization_by_hand():
    assert normalize_answer("The  U.S. — a Cat's\tnaïve-an") == "us — cats naïvean"
    assert normalize_answer("an; the... A!") == ""


def test_f1_by_hand():
    """Guess "black cat sat", gold "the cat": one common token, P = 1/3, R = 1, F = 1/2."""
    assert f1("black cat sat", ["the cat", "dog"]) == pytest.approx(0.5)
    assert f1("cat cat", ["cat"]) == pytest.approx(2 / 3)  # a multiset: one of the two counts
    assert exact_match("The cat!", ["cat"]) == 1.0


def test_where_the_two_scripts_differ():
    """An answer of articles only: v1.1 finds no common token, v2.0 takes it for no answer."""
    assert (exact_match("the", ["The"]), f1("the", ["The"])) == (1.0, 0.0)
    assert (exact_match("the", ["The"], v2=True), f1("the", ["The"], v2=True)) == (1.0, 1.0)
    assert f1("", ["The", "cat"], v2=True) == 0.0
    assert f1("", [], v2=True) == 1.0 and f1("cat", [], v2=True) == 0.0


def test_parts_of_v2_by_hand():
    found = Squad(v2=True).compute(
        predictions=["cat", "black dog", "", "x"],
        references=[
            {"answers": ["a cat"], "passage": "p"},
            {"answers": ["dog"], "passage": "p"},
            {"answers": [], "passage": "q"},
            {"answers": [], "passage": "q"},
        ],
    )
    expected = {
        "exact_match": 50.0,
        "f1": 100 * (1 + 2 / 3 + 1) / 4,
        "HasAns_exact_match": 50.0,
        "HasAns_f1": 100 * (1 + 2 / 3) / 2,
        "NoAns_exact_match": 50.0,
        "NoAns_f1": 50.0,
    }
    assert {k: v for k, v in found.items() if not k.endswith("_se")} == pytest.approx(expected)
    assert found["exact_match_se"] == 0.0  # both passages have half of theirs right


def test_by_default_it_scores_as_the_first_script_and_each_question_has_a_guess():
    """Of answers that are articles only the second script makes nothing; only it has parts."""
    gold = [{"answers": ["the"], "passage": "p"}]
    found = Squad().compute(predictions=["a"], references=gold)
    assert "NoAns_exact" not in found and set(found) < set(
        Squad(v2=True).compute(predictions=["a"], references=gold)
    )
    with pytest.raises(ValueError, match="zip"):
        Squad()._compute(["a", "b"], gold)
