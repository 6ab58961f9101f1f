"""Arms: seeds, the choice of a rate, and untrained twins."""

from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset
from tiny import sentences

from nlptl.errors import Diverged
from nlptl.modes.base import parse_mode
from nlptl.pretrain.architecture import save_untrained
from nlptl.study.arms import Runner, choose_rate, run_arm, scratch_arm
from nlptl.study.outcomes import Outcome
from nlptl.tasks.classification import TextClassification
from nlptl.train.setup import FinetuneArgs

TASK = TextClassification(("no", "yes"))


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
    return FinetuneArgs(model=str(model), mode=parse_mode("full"), **given)


def test_the_rate_is_chosen_on_the_first_seeds_validation_score(checkpoints, splits):
    arm = run_arm(
        Runner(TASK, splits, keep=False),
        settings(checkpoints["bert"], epochs=12),
        seeds=(0, 1),
        rates=(1e-7, 3e-3),
    )
    assert arm.statistics.shape == (2, 30, 1) and set(np.unique(arm.statistics)) <= {0.0, 1.0}
    assert arm.scores.tolist() == arm.statistics[..., 0].mean(1).tolist()
    assert set(arm.tried) == {1e-7, 3e-3}
    assert arm.settings.learning_rate == 3e-3  # by more than a standard error of 20 examples
    assert arm.tried == {1e-7: 0.5, 3e-3: 1.0}
    assert arm.searched[0].error == pytest.approx((0.5 * 0.5 / 19) ** 0.5)
    assert arm.validation[0] == max(arm.tried.values())


@pytest.mark.parametrize(
    ("scores", "error", "rate"),
    [
        ((0.65, 0.60, 0.70), 0.04, 4e-4),  # alone within an error of itself
        ((0.67, 0.65, 0.70), 0.04, 2e-4),  # the usual rate cannot be told from the best
        ((0.65, 0.70, 0.71), 0.04, 1e-4),  # nor can the second, which comes first then
        ((0.70, 0.70, 0.71), 0.0, 4e-4),  # no error is known: the best
    ],
)
def test_of_rates_that_cannot_be_told_the_first_is_taken(scores, error, rate):
    def outcome(score):
        given = {
            "seed": 0,
            "learning_rate": 0.0,
            "score": 1.0,
            "statistics": ((1.0,),),
            "best": 1,
            "epochs": 2.0,
        }
        given |= {"seconds": 1.0, "flops": 1.0, "peak_memory": 1.0, "trainable": 1, "total": 1}
        return Outcome(validation=(0.9, score), error=error, **given)

    rates = (2e-4, 1e-4, 4e-4)
    assert choose_rate(dict(zip(rates, map(outcome, scores), strict=True))) == rate


def test_a_run_that_diverges_counts_as_failed(checkpoints, splits):
    """At a rate of 1e30 the loss is no number: it is never chosen, and such a seed scores the floor."""
    own = settings(checkpoints["bert"])
    runner = Runner(TASK, splits)
    arm = run_arm(runner, own, seeds=(0, 1), rates=(1e30, 1e-3))
    assert arm.settings.learning_rate == 1e-3 and arm.tried[1e30] == 0
    assert arm.searched[0].diverged and not arm.outcomes[0].diverged
    lost = replace(arm.outcomes[0], seed=5, score=arm.searched[0].score, diverged=True)
    mixed = run_arm(runner, own, seeds=(5, 1), rates=(1e-3,), known={5: lost})
    floor = np.mean([row["label"] == "no" for row in splits["test"]])
    assert mixed.scores[0] == pytest.approx(floor)
    assert mixed.first_converged is mixed.outcomes[1] and mixed.first_converged.trainable > 0
    with pytest.raises(Diverged, match="in every run, at a rate of 1e\\+30"):
        run_arm(runner, own, seeds=(0,), rates=(1e30,))
    assert runner.found == 2  # the diverged run is kept too


def test_forgetting_is_measured_again_on_other_texts(masked_lm_checkpoint, splits, finetunings):
    one, two = sentences(30, seed=8), sentences(30, seed=9)
    own, runner = settings(masked_lm_checkpoint, learning_rate=2e-3), Runner(TASK, splits)
    first = runner.run(own, texts=one)
    assert runner.run(own, texts=one) == first == runner.run(own) and len(finetunings) == 1
    other = runner.run(own, texts=two)
    assert len(finetunings) == 2 and other.statistics == first.statistics
    assert other.upstream["before"] != first.upstream["before"]
    runner.run(own, made=lambda run: None)  # trained again for its model: what is known is kept
    assert runner.run(own, texts=two) == replace(
        other, seconds=runner.run(own).seconds, peak_memory=runner.run(own).peak_memory
    )


def test_from_an_untrained_checkpoint_the_arm_is_the_scratch_arm(
    checkpoints, splits, tmp_path, finetunings
):
    """With the same weights, rate and seed there is nothing to gain: bit for bit; with others it differs."""
    save_untrained(str(checkpoints["bert"]), tmp_path / "twin", seed=7)
    save_untrained(str(checkpoints["bert"]), tmp_path / "other", seed=8)
    given = {"seeds": (7,), "rates": (3e-3,)}
    runner = Runner(TASK, splits, keep=False)
    scratch = scratch_arm(runner, settings(checkpoints["bert"], epochs=12), **given)
    same = run_arm(runner, settings(tmp_path / "twin", epochs=12), **given)
    run_arm(runner, settings(tmp_path / "other", epochs=12), **given)
    shares = [[row["scores"]["yes"] for row in run.predictions] for run in finetunings]
    assert min(shares[0]) < 0.5 < max(shares[0]) and scratch.validation[0] > 0.7  # it learnt
    assert shares[1] == shares[0] != shares[2]
    assert (same.statistics == scratch.statistics).all()
    assert same.validation == scratch.validation
    losses = [[line["train_loss"] for line in run.history] for run in finetunings]
    assert losses[1] == losses[0] != losses[2]
