"""Studies: seeds, the choice of a rate, untrained twins, and a second method."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from datasets import Dataset
from tiny import sentences

from nlptl.errors import Diverged
from nlptl.modes.base import parse_mode
from nlptl.pretrain.architecture import save_untrained
from nlptl.registry import load_file
from nlptl.study.arms import ArmSpec, Fewer, choose_rate
from nlptl.study.comparison import compare, write_comparison
from nlptl.study.keeping import save_model
from nlptl.study.outcomes import Outcome
from nlptl.study.study import Study
from nlptl.tasks.classification import TextClassification
from nlptl.train.finetune import finetune
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


def args(model, **changes):
    given = {"learning_rate": 1e-3, "epochs": 2, "batch_size": 10, "head": "random", **changes}
    return FinetuneArgs(model=str(model), mode=parse_mode("full"), **given)


def study(splits, seeds=(0, 1), texts=None, keep=True, **arms):
    return Study(TASK, splits, arms, seeds, texts=texts, keep=keep)


def test_the_rate_is_chosen_on_the_first_seeds_validation_score(checkpoints, splits):
    spec = ArmSpec(args(checkpoints["bert"], epochs=12), rates=(1e-7, 3e-3))
    arm = study(splits, keep=False, one=spec).run()["one"]
    assert arm.statistics.shape == (2, 30, 1) and set(np.unique(arm.statistics)) <= {0.0, 1.0}
    assert arm.scores.tolist() == arm.statistics[..., 0].mean(1).tolist()
    assert set(arm.tried) == {1e-7, 3e-3}
    assert arm.args.learning_rate == 3e-3  # by more than a standard error of 20 examples
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
    own = args(checkpoints["bert"])
    one = study(splits, one=ArmSpec(own, rates=(1e30, 1e-3)))
    arm = one.run()["one"]
    assert arm.args.learning_rate == 1e-3 and arm.tried[1e30] == 0
    assert arm.searched[0].diverged and not arm.outcomes[0].diverged
    lost = replace(arm.outcomes[0], seed=5, score=arm.searched[0].score, diverged=True)
    two = study(splits, (5, 1), two=ArmSpec(own))
    mixed = two.run(known={"two": {5: lost}})["two"]
    floor = np.mean([row["label"] == "no" for row in splits["test"]])
    assert mixed.scores[0] == pytest.approx(floor)
    assert mixed.first_converged is mixed.outcomes[1] and mixed.first_converged.trainable > 0
    three = study(splits, (0,), three=ArmSpec(replace(own, learning_rate=1e30)))
    with pytest.raises(Diverged, match="in every run, at a rate of 1e\\+30"):
        three.run()
    assert (one.found, two.found, three.found) == (0, 1, 1)  # the diverged run is kept too


def test_a_saved_run_of_other_data_is_saved_again(checkpoints, splits, tmp_path):
    """The same flags and names, but the labels of the file were swapped."""
    own = ArmSpec(args(checkpoints["bert"], epochs=1))
    swap = {"no": "yes", "yes": "no"}
    other = {n: t.map(lambda row: {"label": swap[row["label"]]}) for n, t in splits.items()}
    written = []
    for data in (splits, splits, other):
        save_model(study(data, (0,), one=own), "one", tmp_path)
        found = json.loads((tmp_path / "predictions.jsonl").read_text().splitlines()[0])
        weights = (tmp_path / "model/model.safetensors").stat().st_mtime_ns
        written.append((found["gold"], weights))
    first, again, swapped = written
    assert first == again and swapped[1] > first[1] and swapped[0] == swap[first[0]]


@pytest.mark.slow
def test_forgetting_is_measured_again_on_other_texts(masked_lm_checkpoint, splits, finetunings):
    spec = ArmSpec(args(masked_lm_checkpoint, learning_rate=2e-3))

    def run(seed=None, **named):
        texts = None if seed is None else sentences(30, seed=seed)
        return study(splits, (0,), texts, one=spec).run_one(spec, 0, **named)

    first = run(8)
    assert run(8) == first == run() and len(finetunings) == 1
    other = run(9)
    assert len(finetunings) == 2 and other.statistics == first.statistics
    assert other.upstream["before"] != first.upstream["before"]
    run(made=lambda run: None)  # trained again for its model: what is known is kept
    assert run(9) == replace(other, seconds=run().seconds, peak_memory=run().peak_memory)


def test_from_an_untrained_checkpoint_the_arm_is_the_scratch_arm(
    checkpoints, splits, tmp_path, finetunings
):
    """With the same weights, rate and seed there is nothing to gain: bit for bit; with others it differs."""
    save_untrained(str(checkpoints["bert"]), tmp_path / "twin", seed=7)
    save_untrained(str(checkpoints["bert"]), tmp_path / "other", seed=8)

    def spec(model, **more):
        return ArmSpec(args(model, learning_rate=3e-3, epochs=12), **more)

    found = study(
        splits,
        (7,),
        keep=False,
        scratch=spec(checkpoints["bert"], untrained=True),
        same=spec(tmp_path / "twin"),
        other=spec(tmp_path / "other"),
    ).run()
    scratch, same = found["scratch"], found["same"]
    shares = [[row["scores"]["yes"] for row in run.predictions] for run in finetunings]
    assert min(shares[0]) < 0.5 < max(shares[0]) and scratch.validation[0] > 0.7  # it learnt
    assert shares[1] == shares[0] != shares[2]
    assert (same.statistics == scratch.statistics).all()
    assert same.validation == scratch.validation
    losses = [[line["train_loss"] for line in run.history] for run in finetunings]
    assert losses[1] == losses[0] != losses[2]


def test_scratch_is_found_again_for_another_checkpoint_of_its_architecture(
    checkpoints, splits, tmp_path, finetunings
):
    save_untrained(str(checkpoints["bert"]), tmp_path / "other", seed=8)
    for model in (checkpoints["bert"], tmp_path / "other"):
        study(splits, (3,), scratch=ArmSpec(args(model, epochs=1), untrained=True)).run()
    assert len(finetunings) == 1


def test_fewer_examples_are_drawn_by_class_and_within_each_other(splits):
    few, more = (Fewer(size)(TASK, splits, 0)["train"] for size in (8, 20))
    assert few["label"][:].count("yes") == 4 and set(few["text"][:]) <= set(more["text"][:])
    assert few["text"][:] != Fewer(8)(TASK, splits, 1)["train"]["text"][:]
    assert Fewer(8)(TASK, splits, 0)["test"] is splits["test"]
    one = study(splits)
    hashes = {one.data_hash(), *(one.data_hash(Fewer(8), seed) for seed in (0, 1))}
    assert len(hashes) == 3 and one.data_hash(Fewer(8), 1) in hashes


@dataclass(frozen=True)
class Half:
    """Fine-tune on the first half of the training set; fails if told to."""

    broken: bool = False
    name = "half"

    def __call__(self, task, splits, args, *, accelerator):
        if self.broken:
            raise KeyboardInterrupt
        train = splits["train"].select(range(len(splits["train"]) // 2))
        return finetune(task, {**splits, "train": train}, args, accelerator=accelerator)

    def identity(self):
        return "half 1"


@pytest.mark.slow
def test_a_second_method_goes_through_a_study_and_its_comparison(
    checkpoints, splits, tmp_path, finetunings
):
    """Run, interrupted, gone on with and compared, with table and picture, without a change to the core."""
    own = args(checkpoints["bert"], epochs=1)
    arms = {"all": ArmSpec(own), "half": ArmSpec(own, Half())}
    with pytest.raises(KeyboardInterrupt):
        study(splits, (0, 1, 2), **{**arms, "half": ArmSpec(own, Half(broken=True))}).run()
    assert len(finetunings) == 3
    one = study(splits, (0, 1, 2), **arms)
    found = one.run()
    assert one.found == 3 and [found[name].kept for name in arms] == [3, 0]
    assert found["half"].outcomes[0].flops < 0.6 * found["all"].outcomes[0].flops
    record = compare(one, found, dataset="made up")
    assert [row["method"] for row in record["rows"].values()] == ["finetune", "half"]
    assert record["take"] in (None, *arms) and len(record["pairs"]) == 1
    table = write_comparison(record, tmp_path)
    assert "\nhalf " in table and (tmp_path / "compare.png").stat().st_size > 1000
    assert ">half<" in (tmp_path / "compare.svg").read_text()


@pytest.mark.slow  # two processes of the command line are in tests/recipes/test_compare.py
def test_worker_processes_search_and_keep_what_they_ran(checkpoints, splits, tmp_path):
    """A task of a file, which a worker must import too; the first seed chooses the rate for the others."""
    path = tmp_path / "own_task.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from nlptl.tasks.classification import TextClassification\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Own(TextClassification):\n"
        "    version = 2\n"
    )
    task = load_file(path, "--task").Own(("no", "yes"))
    spec = ArmSpec(args(checkpoints["bert"], epochs=8), rates=(1e-7, 3e-3))
    one = Study(task, splits, {"one": spec}, (0, 1))
    arm = one.run(parallel=2)["one"]
    assert one.found == 3 and arm.kept == 3 and set(arm.tried) == {1e-7, 3e-3}
    with pytest.raises(ValueError, match="expected kept outcomes .* found keep=False"):
        Study(task, splits, {"one": spec}, (0, 1), keep=False).run(parallel=2)
