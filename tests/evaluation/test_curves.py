"""Learning curves: sizes, the labels that scratch needs, censoring; all by hand."""

import math

import numpy as np
import pytest

from nlptl.evaluation.curves import curve_sizes, curve_summary, labels_to_match, sample_efficiency


def test_sizes_grow_fourfold_from_16_a_class():
    assert curve_sizes(4000, 2) == [32, 128, 512, 2048, 4000]
    assert curve_sizes(30, 2) == [30]


def test_interpolation_is_linear_on_the_logarithm():
    """Half way between 10 and 1,000 on the logarithm is 100."""
    assert labels_to_match([10, 1000], np.asarray([0.5, 0.7]), 0.6) == pytest.approx(100)
    assert labels_to_match([10, 1000], np.asarray([0.5, 0.7]), 0.4) == 10


def test_a_curve_that_falls_is_made_monotone_and_never_drawn_out():
    """0.6 and 0.5 are pooled to 0.55 by isotonic regression."""
    found = labels_to_match([10, 100, 1000], np.asarray([0.6, 0.5, 0.75]), 0.65)
    assert found == pytest.approx(math.exp(math.log(100) + 0.5 * math.log(10)))
    assert labels_to_match([10, 100], np.asarray([0.5, 0.6]), 0.61) is None


def test_the_summary_by_hand():
    """Areas over log n: pre 0.7, scratch 0.6, times the same width."""
    pre, scratch = np.asarray([[0.6, 0.6], [0.8, 0.8]]), np.asarray([[0.5, 0.5], [0.6, 0.8]])
    found = curve_summary([10, 100], pre, scratch)
    assert found["jumpstart"] == pytest.approx(0.1)
    assert found["asymptote_gap"] == pytest.approx(0.1)
    assert found["area_ratio"] == pytest.approx(0.1 / 0.6)
    assert curve_summary([10], pre[:1], scratch[:1])["area_ratio"] is None


def test_the_multiplier_is_a_lower_bound_where_all_labels_do_not_suffice():
    pre = np.asarray([[0.7, 0.7], [0.9, 0.9]])
    scratch = np.asarray([[0.5, 0.5], [0.7, 0.7]])
    found = sample_efficiency([10, 1000], pre, scratch)
    assert [p["censored"] for p in found["points"]] == [False, True]
    assert (found["n"], found["n_match"], found["label_multiplier"]) == pytest.approx(
        (10, 1000, 100)
    )
    assert found["points"][1]["n_match"] is None and found["points"][1]["label_multiplier"] == 1
    assert found["ci95"] == pytest.approx([100, 100])
