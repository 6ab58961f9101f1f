"""The scratch arm's settings: one arm for every mode, longer, at rates of its own."""

import pytest

from nlptl.modes.base import parse_mode
from nlptl.report.few_labels import epochs_at
from nlptl.study.arms import scratch_spec
from nlptl.train.setup import FinetuneArgs


def settings(mode, epochs):
    return FinetuneArgs(
        model="bundled/bert",
        mode=parse_mode(mode),
        learning_rate=1e-3,
        epochs=epochs,
        batch_size=16,
        head="random",
    )


def test_every_mode_at_its_usual_epochs_has_the_same_scratch_arm():
    """1,000 examples, batch 16: 500 steps are 8 epochs, head-only's 1,000 are 16; half as many again: 12."""
    usual = {"head-only": 16, "freeze-lower-8": 8, "full": 8, "lora": 8}
    found = [
        scratch_spec(settings(mode, epochs), (1.0, 3.0), 1.5, examples=1000)
        for mode, epochs in usual.items()
    ]
    assert all(one == found[0] for one in found)
    own = found[0].args
    assert own.epochs == 12 and own.mode.name == "full" and own.patience is None
    assert found[0].untrained and found[0].rates == pytest.approx(
        [1.8e-4, 5.4e-4]
    )  # 3e-5 times 768 / 128


def test_epochs_that_were_asked_for_count():
    own = scratch_spec(settings("head-only", 10), (1.0,), 3.0, examples=1000)
    assert own.args.epochs == 30


@pytest.mark.parametrize(
    ("epochs", "size", "expected"),
    [
        (8, 250, 20),  # as many steps would be 32 epochs; such a set usually gets 20
        (12, 250, 30),  # half as many again
        (8, 500, 16),  # as many steps
        (2, 250, 8),  # as many steps: less than usual
    ],
)
def test_smaller_sets_get_more_epochs(epochs, size, expected):
    assert epochs_at(settings("full", epochs), size, 1000) == expected
