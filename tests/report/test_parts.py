"""Parts of a report, worked out by hand."""

import pytest

from nlptl.report.parts import compute_entry, gain_entry
from nlptl.stats.bootstrap import Difference
from nlptl.study.outcomes import Outcome


def outcome(validation, *, flops, seconds=0.0, **more):
    given = {
        "seed": 0,
        "learning_rate": 1e-3,
        "score": 1.0,
        "statistics": ((1.0,),),
        "best": len(validation) - 1,
    }
    given |= {"epochs": 2.0, "peak_memory": 7.0, "trainable": 3, "total": 4, **more}
    return Outcome(validation=validation, flops=flops, seconds=seconds, **given)


def test_the_cost_of_reaching_the_same_score():
    """Target 0.8: the mode gets there after all of 10 and half of 8, scratch after 3/4 of 40 and all of 60."""
    pre = [outcome((0.7, 0.8), flops=10, seconds=1), outcome((0.8, 0.8), flops=8, seconds=2)]
    scratch = [outcome((0.5, 0.6, 0.8, 0.9), flops=40), outcome((0.5, 0.8), flops=60)]
    found = compute_entry(pre, scratch, upstream=5e9)
    assert found["target_score"] == pytest.approx(0.8)
    assert found["flops_pre"] == 7 and found["flops_scratch_to_match"] == 45
    assert found["ratio"] == pytest.approx(45 / 7) and not found["censored"]
    assert found["wall_s"]["pre"] == 1 and found["trainable_params"] == 3
    assert found["upstream_flops"] == 5e9


def test_where_scratch_never_gets_there_its_whole_cost_is_a_lower_bound():
    pre = [outcome((0.9,), flops=10)] * 3
    scratch = [outcome((0.9,), flops=50), outcome((0.6,), flops=40), outcome((0.6,), flops=20)]
    found = compute_entry(pre, scratch, upstream=None)
    assert found["censored"] and found["flops_scratch_to_match"] is None
    assert found["ratio"] == 4  # the median of 50, 40 and 20 against 10


def test_a_run_that_diverged_costs_and_reaches_nothing():
    lost = outcome((0.0,), flops=0, diverged=True)
    found = compute_entry(
        [lost, outcome((0.9,), flops=10)], [outcome((0.9,), flops=30), lost], upstream=None
    )
    assert found["target_score"] == 0.9 and found["ratio"] == 3


@pytest.mark.parametrize(
    ("low", "scratch", "reduction", "share"),
    [
        (0.02, 0.6, 0.25, 0.4),  # of 40 % errors, 10 points are gone; the probe had 4 of the 10
        (-0.01, 0.6, 0.25, None),  # a gain that may be 0 has no share
        (0.02, 0.995, None, -3.55),  # next to no errors to reduce
    ],
)
def test_the_gain_in_other_units(low, scratch, reduction, share):
    gain = Difference(0.1, low, 0.2, 0.01, 0.03, 10.0)
    found = gain_entry(gain, scratch=scratch, probe=0.64, words=None)
    assert found["rel_error_reduction"] == (reduction and pytest.approx(reduction))
    assert found["probe_share"] == (share and pytest.approx(share))
    assert found["ci95"] == [low, 0.2] and found["mde"] == gain.detectable()
    assert found["threshold"] == gain.threshold()
