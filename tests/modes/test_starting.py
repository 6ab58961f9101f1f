"""Where to start: a checkpoint with its head as it is, its labels in any order; or random weights."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from launching import result, run_in_process
from tiny import tiny_config

from nlptl.errors import ModeError, UserError
from nlptl.models.labels import label_order
from nlptl.modes.base import apply_mode, default_learning_rate, parse_mode
from nlptl.pretrain.architecture import save_untrained
from nlptl.tasks.classification import TextClassification
from nlptl.train.finetune import finetune
from nlptl.train.learner import Learner
from nlptl.train.setup import start_accelerator

sys.path.insert(0, str(Path(__file__).parent.parent / "train"))
from test_learner import OTHER, TASK, TEST, TRAIN, learner, same, weights

#: BERT each time, the other families with -m slow.
OFTEN = ["bert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("roberta", "t5"))]


@pytest.fixture(scope="module")
def trained(checkpoints, tmp_path_factory):
    """A model of each family that was trained for the task, and its predictions."""
    made = {}
    for family in ("bert", "t5"):
        one = learner(checkpoints[family], "full")
        one.fit(TRAIN)
        path = tmp_path_factory.mktemp(family)
        one.model.save_pretrained(path)
        one.tokenizer.save_pretrained(path)
        made[family] = path, one.predict(TEST), weights(one)
    return made


def start(path, labels, mode="as-is"):
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    args = replace(learner(path, "full").args, mode=parse_mode(mode), epochs=0.0)
    return Learner(TextClassification(labels), args, accelerator).mode(args.mode)


@pytest.mark.parametrize("family", ["bert", "t5"])
@pytest.mark.parametrize("labels", [("no", "yes"), ("yes", "no"), ("No", "YES")])
def test_a_fitting_head_is_scored_as_it_is_whatever_the_order(trained, family, labels):
    path, expected, before = trained[family]
    made = start(path, labels)
    assert made.newly_initialized == frozenset() and made.manifest.trainable == 0
    table = TEST
    if labels[0] == "No":
        table = TEST.map(lambda row: {"label": {"no": "No", "yes": "YES"}[row["label"]]})
    found = made.predict(table)
    for one, two in zip(found, expected, strict=True):
        assert one["prediction"].lower() == two["prediction"]
        lower = {name.lower(): score for name, score in one["scores"].items()}
        assert lower == pytest.approx(two["scores"], abs=1e-6)
    state = made.fit(table, validation=None)
    assert (state.step, state.lr_history, made.history) == (0, [], [])
    if labels == ("no", "yes"):
        assert same(before, weights(made))


def test_another_head_is_refused_with_the_reason(trained, checkpoints):
    path, _, _ = trained["bert"]
    with pytest.raises(ModeError) as caught:
        start(path, ("bad", "good"))
    for part in (
        "--mode as-is: the checkpoint has no trained head that fits this task: 2 parameters",
        "The checkpoint has a head for the labels no, yes; it gets a new one for bad, good.",
        "give the labels the checkpoint's names",
    ):
        assert part in str(caught.value)
    with pytest.raises(ModeError, match="no trained head that fits this task: 2 parameters"):
        start(checkpoints["bert"], ("no", "yes"))


def test_labels_are_matched_by_name():
    assert label_order({0: "a", 1: "b", 2: "c"}, {0: "C", 1: "a", 2: " B"}) == [2, 0, 1]
    assert label_order({0: "a", 1: "b"}, {0: "a", 1: "c"}) is None
    assert label_order({0: "LABEL_0", 1: "LABEL_1"}, {0: "no", 1: "yes"}) is None
    assert label_order({0: "a", 1: "A"}, {0: "a", 1: "A"}) is None  # which is which?


def test_a_recipe_scores_a_checkpoint_without_training(trained, tmp_path, checkpoints):
    path, expected, _ = trained["bert"]
    splits = {"train": TRAIN, "validation": OTHER, "test": TEST}
    flags = []
    for name, table in splits.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_text("\n".join(json.dumps(row) for row in table))
        flags += [f"--{name}-file", file]
    out = tmp_path / "out"
    run_in_process("sentiment", "--model", path, *flags, "--mode", "as-is", "--output-dir", out)
    record = result(out)
    assert record["settings"]["epochs"] == 0 and record["learning_rates"] == []
    assert record["parameters"]["trainable"] == 0 and record["training_flops"] == 0
    assert [line["epoch"] for line in record["history"]] == [0.0]
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [line["prediction"] for line in lines] == [one["prediction"] for one in expected]
    with pytest.raises(UserError, match="--epochs: --mode as-is trains nothing. Leave it out."):
        run_in_process(
            *("sentiment", "--model", path, *flags, "--mode", "as-is", "--epochs", 2),
            *("--output-dir", tmp_path / "other"),
        )
    run_in_process(  # what was written can be read back
        *("sentiment", "--config", out / "config.yaml", "--output-dir", tmp_path / "again")
    )
    assert result(tmp_path / "again")["metrics"] == record["metrics"]


@pytest.mark.parametrize("family", OFTEN)
def test_scratch_is_the_reports_arm_without_pretraining(checkpoints, family, tmp_path):
    """Bit for bit the run of ``full`` on random weights of the same seed, at the same default rate."""
    splits = {"train": TRAIN, "validation": OTHER, "test": TEST}
    for seed in (3,):
        save_untrained(str(checkpoints[family]), tmp_path / f"{seed}", seed=seed)
        found = []
        for model, mode in ((tmp_path / f"{seed}", "full"), (checkpoints[family], "scratch")):
            args = learner(checkpoints[family], "full", epochs=1.0, seed=seed, head="random").args
            args = replace(args, model=str(model), mode=parse_mode(mode))
            accelerator = start_accelerator(tracker=None, output_dir=None, seed=seed)
            found.append(finetune(TASK, splits, args, accelerator=accelerator))
        one, two = (dict(run.model.named_parameters()) for run in found)
        assert same(one, two)
        assert found[0].predictions == found[1].predictions and found[0].history == found[1].history
    full, scratch = parse_mode("full"), parse_mode("scratch")
    config = tiny_config(family, 100)
    assert default_learning_rate(full, config) == default_learning_rate(scratch, config)
    assert full.default_epochs(100, 16) == scratch.default_epochs(100, 16)
    assert not scratch.definition.convex_start and full.definition.convex_start


def test_scratch_keeps_nothing_of_the_checkpoint(checkpoints, family):
    made = learner(checkpoints[family], "full")
    before = weights(made)
    torch.manual_seed(5)
    model, _ = apply_mode(made.model, parse_mode("scratch"))
    assert model is made.model
    for name, parameter in model.named_parameters():
        constant = parameter.unique().numel() == 1  # norms and biases start alike
        assert constant or not torch.equal(parameter, before[name]), name
