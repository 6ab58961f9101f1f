"""Arms: seeds, the choice of a rate, and untrained twins."""

import numpy as np
import pytest
from datasets import Dataset
from tiny import sentences

from nlptl.evaluation.arms import Runner, run_arm, scratch_arm
from nlptl.finetuning import Settings
from nlptl.models.architecture import save_untrained
from nlptl.modes import parse_mode
from nlptl.tasks.sentiment import Sentiment

TASK = Sentiment(("no", "yes"))


@pytest.fixture(scope="module")
def splits():
    def rows(count, seed):
        texts = [t for t in sentences(6 * count, seed) if ("good" in t) != ("bad" in t)][:count]
        return Dataset.from_dict(
            {"text": texts, "label": ["yes" if "good" in t else "no" for t in texts]}
        )

    return {"train": rows(60, 1), "validation": rows(20, 2), "test": rows(30, 3)}


def settings(model, **changes):
    given = {"learning_rate": 1e-3, "epochs": 2, "batch_size": 10, **changes}
    return Settings(model=str(model), mode=parse_mode("full"), **given)


def test_the_rate_is_chosen_on_the_first_seeds_validation_score(checkpoints, splits):
    arm = run_arm(
        Runner(TASK, splits, keep=False),
        settings(checkpoints["bert"]),
        seeds=(0, 1),
        rates=(1e-7, 5e-3),
    )
    assert arm.scores.shape == (2, 30) and set(np.unique(arm.scores)) <= {0.0, 1.0}
    assert set(arm.tried) == {1e-7, 5e-3}
    assert arm.settings.learning_rate == max(arm.tried, key=arm.tried.get)
    assert arm.validation[0] == max(arm.tried.values())


def test_from_an_untrained_checkpoint_the_arm_is_the_scratch_arm(checkpoints, splits, tmp_path):
    """With the same weights, rate and seed there is nothing to gain: bit for bit."""
    save_untrained(str(checkpoints["bert"]), tmp_path / "twin", seed=7)
    scratch = scratch_arm(
        Runner(TASK, splits, keep=False), settings(checkpoints["bert"]), seeds=(7,), rates=(1e-3,)
    )
    same = run_arm(
        Runner(TASK, splits, keep=False), settings(tmp_path / "twin"), seeds=(7,), rates=(1e-3,)
    )
    assert (same.scores == scratch.scores).all()
    assert same.validation == scratch.validation
