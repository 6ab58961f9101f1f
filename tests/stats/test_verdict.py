"""Verdicts: each word from numbers chosen for it, and what is said and advised."""

import pytest
from scipy import stats

from nlptl.stats.bootstrap import Difference
from nlptl.stats.spread import has_failed
from nlptl.stats.verdict import advice, first_learn, sentence, verdict

ABOUT = {
    "upstream": "bundled/bert",
    "dataset": "bundled/reviews",
    "metric": "accuracy",
    "seeds": [0, 1, 2, 3, 4, 5],
    "n_test": 320,
    "mode": "full",
    "trains": "all",
}


def gain(mean, se):
    half = stats.t.ppf(0.975, 20) * se
    return Difference(mean, mean - half, mean + half, 0.01, se, 20.0)


@pytest.mark.parametrize(
    ("mean", "se", "word"),
    [
        (0.05, 0.01, "positive"),
        (-0.05, 0.01, "negative (material)"),
        (-0.008, 0.002, "negative"),  # upper end -0.0038
        (0.001, 0.001, "neutral"),
        (0.0025, 0.0005, "positive"),  # 0.0015 to 0.0035: within the margin, but certain
        (-0.0025, 0.0005, "negative"),
        (0.02, 0.02, "inconclusive"),
        (
            0.025,
            0.01,
            "inconclusive",
        ),  # lies above 0, but below the 2.9 standard errors that are detectable
    ],
)
def test_each_word(mean, se, word):
    assert verdict(gain(mean, se), seeds=6) == word
    assert verdict(gain(mean, se), seeds=2) == "inconclusive"


def test_swapped_arms_flip_it():
    assert verdict(gain(0.05, 0.01), seeds=6) == "positive"
    assert verdict(gain(-0.05, 0.01), seeds=6).startswith("negative")


def test_the_sentences_name_model_data_and_size():
    found = sentence("positive", gain(0.072, 0.01), ABOUT)
    assert found.startswith(
        "Pretraining helped: on bundled/reviews, bundled/bert scores 7.2 points"
    )
    assert "5.1 to 9.3" in found
    assert "Pretraining hurt" in sentence("negative (material)", gain(-0.05, 0.01), ABOUT)
    assert "made no difference" in sentence("neutral", gain(0.001, 0.001), ABOUT)
    assert "Cannot tell" in sentence("inconclusive", gain(0.02, 0.02), ABOUT)


def record(**changes):
    base = {
        "id": dict(ABOUT),
        "gain": {"mde": 0.055, "vs_bow": None, "probe_share": 0.3},
        "upstream": {"forgetting": 0.1},
    }
    for key, values in changes.items():
        base[key] = {**base[key], **values}
    return base


def test_advice_follows_the_evidence():
    words = {"abs": -0.05, "ci95": [-0.07, -0.03], "p_two_sided": 0.001}
    assert "a bag of words beats it" in advice("positive", record(gain={"vs_bow": words}))
    frozen = {"mode": "freeze-lower-8", "trains": "blocks"}
    assert "freezing fewer" in advice("positive", record(id=frozen))
    assert "head-only may be enough" in advice(
        "positive", record(id=frozen, gain={"probe_share": 0.9})
    )
    assert "forgot much" in advice("positive", record(upstream={"forgetting": 0.9}))
    assert "--report full" in advice("inconclusive", record())
    assert "--report standard" in advice("inconclusive", record(id={"seeds": [0, 1, 2]}))
    assert "--report full" in advice("inconclusive", record(id={"seeds": [*range(9)]}))
    assert "More seeds would help" in advice("inconclusive", record(id={"seeds": [*range(10)]}))
    assert "nlptl run pretrain --model bundled/bert" in advice("negative", record())


def test_where_nothing_was_learned_the_probe_says_whether_it_could_be():
    assert "reads 91.7 points off the untouched checkpoint" in first_learn(0.917, 0.5)
    assert first_learn(0.52, 0.5).startswith("Look whether the labels fit")
    assert first_learn(None, 0.5).startswith("Look whether the labels fit")


def test_the_margins_own_ends_belong_to_it():
    """An interval from -0.005 to 0.005 is neutral; a bag of words that is level at the least is not beaten."""
    assert verdict(Difference(0.0, -0.005, 0.005, 1.0, 0.0025, 50.0), seeds=6) == "neutral"
    level = {"abs": 0.01, "ci95": [0.0, 0.02], "p_two_sided": 0.05}
    assert "does about as well" in advice("positive", record(gain={"vs_bow": level}))


def test_a_run_has_failed_within_a_point_of_one_answer():
    assert has_failed(0.505, 0.5) and not has_failed(0.52, 0.5)
