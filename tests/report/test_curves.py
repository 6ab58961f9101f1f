"""Learning curves: sizes, the labels that scratch needs, censoring; all by hand."""

import math

import numpy as np
import pytest

from nlptl.report.curves import (
    Match,
    curve_sizes,
    curve_summary,
    labels_to_match,
    sample_efficiency,
)


def test_sizes_grow_fourfold_from_16_a_class():
    assert curve_sizes(4000, 2) == [32, 128, 512, 2048, 4000]
    assert curve_sizes(30, 2) == [30]


def test_interpolation_is_linear_on_the_logarithm():
    """Half way between 10 and 1,000 on the logarithm is 100."""
    found = labels_to_match([10, 1000], np.asarray([0.5, 0.7]), 0.6)
    assert found.labels == pytest.approx(100) and not found.at_most
    assert labels_to_match([10, 1000], np.asarray([0.5, 0.7]), 0.5) == Match(10)
    assert labels_to_match([10, 1000], np.asarray([0.5, 0.7]), 0.7).labels == pytest.approx(1000)


def test_a_curve_that_falls_is_made_monotone_and_never_drawn_out():
    """0.6 and 0.5 are pooled to 0.55 by isotonic regression."""
    found = labels_to_match([10, 100, 1000], np.asarray([0.6, 0.5, 0.75]), 0.65)
    assert found.labels == pytest.approx(math.exp(math.log(100) + 0.5 * math.log(10)))
    assert labels_to_match([10, 100], np.asarray([0.5, 0.6]), 0.61) == Match(None)
    assert labels_to_match([10, 100], np.asarray([0.5, 0.6]), 0.4) == Match(10, at_most=True)


def test_the_summary_by_hand():
    """Areas over log n: pre 0.7, scratch 0.6, times the same width."""
    pre, scratch = np.asarray([[0.6, 0.6], [0.8, 0.8]]), np.asarray([[0.5, 0.5], [0.6, 0.8]])
    found = curve_summary([10, 100], pre, scratch)
    assert found["jumpstart"] == pytest.approx(0.1)
    assert found["asymptote_gap"] == pytest.approx(0.1)
    assert found["area_ratio"] == pytest.approx(0.1 / 0.6)
    assert curve_summary([10], pre[:1], scratch[:1])["area_ratio"] is None


def test_the_multiplier_is_a_lower_bound_where_all_labels_do_not_suffice():
    pre = table([[0.7, 0.7], [0.9, 0.9]])
    scratch = table([[0.5, 0.5], [0.7, 0.7]])
    found = sample_efficiency([10, 1000], pre, scratch)
    assert [p["censored"] for p in found["points"]] == [False, True]
    assert (found["n"], found["n_match"], found["label_multiplier"]) == pytest.approx(
        (10, 1000, 100)
    )
    assert found["points"][1]["n_match"] is None and found["points"][1]["label_multiplier"] == 1
    assert found["ci95"] == pytest.approx([100, 100])
    assert not any(p["at_most"] for p in found["points"])


def table(means):
    """Every one of four test examples has the mean's score: shape (sizes, seeds, examples, 1)."""
    return np.repeat(np.asarray(means)[..., None, None], 4, axis=2)


def test_the_multiplier_is_an_upper_bound_where_scratch_is_ahead_from_the_beginning():
    found = sample_efficiency(
        [10, 1000], table([[0.5, 0.5], [0.6, 0.6]]), table([[0.7, 0.7], [0.9, 0.9]])
    )
    assert [p["at_most"] for p in found["points"]] == [True, True]
    assert found["n_match"] == 10 and found["label_multiplier"] == 1


def test_the_interval_of_the_multiplier_draws_examples_too():
    """Seeds agree; of two examples scratch has at 1,000 labels what pre has at 10, but on one of them only.

    pre is right on the first example at 10 labels; scratch on neither at 10, on the second at 1,000. The first
    drawn twice leaves scratch behind forever (a bound of 100), the second twice puts it level at once (1).
    """
    pre = np.asarray([[[1.0, 0.0]] * 2, [[1.0, 0.0]] * 2])[..., None]
    scratch = np.asarray([[[0.0, 0.0]] * 2, [[0.0, 1.0]] * 2])[..., None]
    found = sample_efficiency([10, 1000], pre, scratch)
    assert found["points"][0]["ci95"] == pytest.approx([1, 100])
    grouped = sample_efficiency([10, 1000], pre, scratch, groups=["a", "a"])
    assert grouped["points"][0]["ci95"] == pytest.approx([100, 100])


@pytest.mark.slow
def test_a_metric_that_is_no_mean_is_combined_in_every_draw():
    """The identity through ``combine`` gives the mean's curve; a monotone map of it the same labels."""
    rng = np.random.default_rng(4)
    pre, scratch = (
        (rng.random((3, 4, 50, 1)) < np.reshape(right, (3, 1, 1, 1))).astype(float)
        for right in ([0.6, 0.7, 0.8], [0.5, 0.6, 0.75])
    )
    plain = sample_efficiency([10, 100, 1000], pre, scratch)
    same = sample_efficiency([10, 100, 1000], pre, scratch, combine=lambda m: m[..., 0])
    assert same["ci95"] == pytest.approx(plain["ci95"], rel=1e-6)
    assert same["label_multiplier"] == pytest.approx(plain["label_multiplier"])
    halved = sample_efficiency([10, 100, 1000], pre, scratch, combine=lambda m: m[..., 0] / 2)
    assert halved["target_score"] == pytest.approx(plain["target_score"] / 2)
    assert halved["label_multiplier"] == pytest.approx(plain["label_multiplier"])
    squared = sample_efficiency([10, 100, 1000], pre, scratch, combine=lambda m: m[..., 0] ** 2)
    of_seeds = (pre[..., 0].mean(2) ** 2).mean(1)
    assert [p["target_score"] for p in squared["points"]] == pytest.approx(of_seeds.tolist())
