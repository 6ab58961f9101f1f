"""Outcomes: statistics and scores of metrics that are means over examples, and of one that is not."""

import numpy as np
import pytest
from datasets import Dataset
from rare import RareWord
from scipy import stats
from sklearn.metrics import matthews_corrcoef

from nlptl.study import outcomes
from nlptl.study.arms import Arm
from nlptl.study.comparison import compare_all
from nlptl.study.outcomes import Outcome, combine_of, scored
from nlptl.study.upstream_curve import upstream_slope
from nlptl.tasks.classification import TextClassification

PLAIN, RARE = TextClassification(("no", "yes")), RareWord(("no", "yes"))


def answers(seed, count=60, right=0.8):
    rng = np.random.default_rng(seed)
    gold = rng.random(count) < 0.3
    said = np.where(rng.random(count) < right, gold, ~gold)
    names = np.asarray(PLAIN.labels)
    return [
        {"prediction": name, "gold": true}
        for name, true in zip(names[said.astype(int)], names[gold.astype(int)], strict=True)
    ]


def numbers(rows, name):
    return [record[name] == "yes" for record in rows]


def outcome(task, rows, **more):
    given = {"seed": 0, "learning_rate": 1e-3, "validation": (0.5,), "best": 0, "epochs": 1.0}
    given |= {"seconds": 1.0, "flops": 1.0, "peak_memory": 1.0, "trainable": 1, "total": 1, **more}
    return Outcome(**scored(task, task.statistics(rows)), **given)


def test_an_outcome_has_the_score_of_its_tasks_metric():
    rows = answers(0)
    plain, rare = outcome(PLAIN, rows), outcome(RARE, rows)
    right = [record["prediction"] == record["gold"] for record in rows]
    assert plain.score == np.mean(right) and len(plain.statistics) == 60
    expected = matthews_corrcoef(numbers(rows, "gold"), numbers(rows, "prediction"))
    assert rare.score == pytest.approx(expected) and rare.score != plain.score
    assert np.asarray(rare.statistics).shape == (60, 3)


def test_it_comes_back_from_disk_as_it_was():
    for task in (PLAIN, RARE):
        made = outcome(task, answers(1))
        outcomes.keep("key", made)
        assert outcomes.load("key") == made
    path = outcomes.folder() / "key.json"
    path.write_text(path.read_text().replace("statistics", "scores"))
    assert outcomes.load("key") is None


def test_always_one_answer_has_no_correlation_and_scores_0():
    table = Dataset.from_dict({"text": ["a"] * 5, "label": ["no", "no", "no", "yes", "yes"]})
    constant = outcomes.constant_statistics(RARE, table, table)
    assert scored(RARE, constant)["score"] == 0
    assert scored(PLAIN, outcomes.constant_statistics(PLAIN, table, table))["score"] == 0.6


def test_predicted_classes_are_scored_by_the_tasks_metric():
    table = Dataset.from_dict({"text": ["a"] * 5, "label": ["no", "no", "no", "yes", "yes"]})
    said = ["no", "no", "yes", "yes", "no"]
    splits = {"train": table, "test": table}
    assert scored(PLAIN, outcomes.class_statistics(PLAIN, splits, said))["score"] == 0.6
    found = scored(RARE, outcomes.class_statistics(RARE, splits, said))["score"]
    assert found == pytest.approx(matthews_corrcoef([0, 0, 0, 1, 1], [0, 0, 1, 1, 0]))


def arm(task, *rows):
    return Arm(tuple(outcome(task, one, seed=i) for i, one in enumerate(rows)), None)


def test_arms_are_compared_by_the_metric():
    """Means and order are those of the correlation, which here differs in sign from accuracy."""
    gold = ["yes"] * 12 + ["no"] * 48
    one = [{"prediction": "no", "gold": name} for name in gold]
    two = [
        {"prediction": "yes" if i < 11 or 12 <= i < 27 else "no", "gold": name}
        for i, name in enumerate(gold)
    ]
    for task, sign in ((PLAIN, 1), (RARE, -1)):
        arms = {"one": arm(task, *[one] * 7), "two": arm(task, *[two] * 7)}
        (pair,) = compare_all(arms, combine=combine_of(task))
        assert np.sign(pair.difference.mean) == sign
        assert pair.difference.mean == pytest.approx(
            arms["one"].scores.mean() - arms["two"].scores.mean()
        )
    assert arms["one"].statistics.shape == (7, 60, 3)


def test_a_slope_of_correlations_is_that_of_one_slope_a_seed():
    losses = [4.0, 3.5, 3.0, 2.5]
    rows = [[answers(3 + s, 300, 0.6 + 0.08 * i) for s in range(3)] for i in range(4)]
    statistics = np.asarray([[RARE.statistics(r) for r in one] for one in rows])
    found = upstream_slope(losses, statistics, combine=combine_of(RARE))
    each = [
        -100
        * stats.linregress(
            losses,
            [
                matthews_corrcoef(numbers(one[s], "gold"), numbers(one[s], "prediction"))
                for one in rows
            ],
        ).slope
        for s in range(3)
    ]
    assert found["slope_points_per_nat"] == pytest.approx(np.mean(each))
    assert found["slope_ci95"][0] < found["slope_points_per_nat"] < found["slope_ci95"][1]
    assert found["spearman"] == pytest.approx(1)
    linear = np.asarray([[PLAIN.statistics(r) for r in one] for one in rows])
    plain = upstream_slope(losses, linear)
    through = upstream_slope(losses, linear, combine=lambda means: means[..., 0])
    assert through["slope_ci95"] == pytest.approx(plain["slope_ci95"], abs=1e-7)
