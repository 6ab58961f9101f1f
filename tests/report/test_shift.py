"""CKA and weight change: invariances, hand-worked figures, an independent formula."""

import copy

import numpy as np
import pytest
import torch
from tiny import DEPTH, tiny_config
from transformers import AutoModel

from nlptl.models.layer_map import layer_map
from nlptl.report.shift import linear_cka, weight_change


def test_it_is_exactly_one_for_the_same_states():
    states = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    assert linear_cka(states, states.copy()) == 1.0


def test_rotation_scale_and_offset_change_nothing():
    rng = np.random.default_rng(1)
    states = rng.normal(size=(40, 16))
    rotation = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    assert linear_cka(states, 3 * states @ rotation + 5) == pytest.approx(1, abs=1e-9)


def test_independent_states_score_about_zero_where_the_plain_estimator_says_061():
    rng = np.random.default_rng(2)
    one, two = rng.normal(size=(500, 768)), rng.normal(size=(500, 768))
    assert linear_cka(one, two) == pytest.approx(0, abs=0.02)


def test_the_estimator_is_song_et_als():
    """HSIC as the mean over all ordered quadruples of different texts, which it estimates without bias."""
    from itertools import permutations

    rng = np.random.default_rng(3)
    one, two = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))

    def hsic(x, y):
        a, b = x @ x.T, y @ y.T
        return np.mean(
            [
                a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q])
                for i, j, q, r in permutations(range(6), 4)
            ]
        )

    expected = hsic(one, two) / np.sqrt(hsic(one, one) * hsic(two, two))
    assert linear_cka(one, two) == pytest.approx(expected)


def test_weights_by_hand(family):
    torch.manual_seed(0)
    before = AutoModel.from_config(tiny_config(family, 50))
    after = copy.deepcopy(before)
    with torch.no_grad():
        for parameter in layer_map(after).blocks[1].parameters():
            parameter.mul_(1.5)
    changes = weight_change(before, after)
    blocks = DEPTH * (2 if family == "t5" else 1)
    assert changes == pytest.approx([0, 0, 0.5, *[0] * (blocks - 2)], abs=1e-6)
