"""The start of a head: what is fitted, what the model gives then, and when nothing else trains."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import sentences
from transformers import AutoModelForSequenceClassification

from nlptl.models.heads import scale_output
from nlptl.modes.base import parse_mode
from nlptl.tasks.classification import TextClassification
from nlptl.train.finetune import finetune
from nlptl.train.head import rate_groups
from nlptl.train.learner import Learner
from nlptl.train.losses import Plus
from nlptl.train.setup import FinetuneArgs, start_accelerator
from nlptl.train.temperature import temper

TASK = TextClassification(("no", "yes"))


def rows(count, seed):
    texts = sentences(count, seed)
    return Dataset.from_dict(
        {"text": texts, "label": ["yes" if "good" in t else "no" for t in texts]}
    )


TRAIN, OTHER, TEST, MANY = rows(40, 1), rows(24, 2), rows(12, 3), rows(60, 4)


def learner(checkpoint, mode, task=TASK, **changes):
    given = {"learning_rate": 2e-3, "epochs": 2.0, "batch_size": 8, **changes}
    args = FinetuneArgs(model=str(checkpoint), mode=parse_mode(mode), **given)
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    return Learner(task, args, accelerator).mode(args.mode)


def logits(made, table):
    _, found, _ = made.predict_rows(table, made.loss())
    return np.stack(found["logits"])


@pytest.mark.parametrize("mode", ["head-only", "freeze-lower-1", "full", "lora"])
def test_the_model_gives_the_outputs_of_the_fit(checkpoints, family, mode):
    made = learner(checkpoints[family], mode)
    made.prepare({"train": TRAIN})
    made.start_head(TRAIN)
    head = made.head
    assert head.place == "dense" and head.whole and head.examples == len(TRAIN)
    fresh = learner(checkpoints[family], mode)
    _, states, _ = fresh.head_states(TRAIN)
    expected = head.fit.outputs(np.stack(states["below"]))
    apart = np.sqrt(((logits(made, TRAIN) - expected) ** 2).mean())
    assert apart <= 0.05 * expected.std()
    # The states themselves, by hand: the first token's, or T5's at the end of the text.
    part = made.encode(TRAIN)
    inputs = made.collate([part.rows[i] for i in range(4)], np.random.default_rng(0))
    if family != "t5" and mode == "full":
        given = {key: inputs[key] for key in ("input_ids", "attention_mask")}
        with torch.no_grad():
            body = fresh.model.eval().base_model(**given).last_hidden_state
        np.testing.assert_allclose(np.stack(states["below"])[:4], body[:, 0], atol=1e-5)


def test_head_only_is_the_fit_alone(checkpoints, family):
    made = learner(checkpoints[family], "head-only")
    state = made.fit(TRAIN, validation=OTHER)
    assert state.step == 0 and state.lr_history == [] and [h["epoch"] for h in made.history] == [0]
    assert made.history[0]["validation_loss"] == pytest.approx(made.judge(OTHER)[1], rel=1e-5)
    again = learner(checkpoints[family], "head-only", seed=5)
    again.fit(TRAIN, validation=OTHER)  # another seed: the fit has none
    own = dict(made.model.named_parameters())
    assert all(torch.equal(p, own[name]) for name, p in again.model.named_parameters())


def test_head_only_trains_from_the_fit_where_it_is_asked_to_or_has_another_loss(checkpoints):
    asked = learner(checkpoints["bert"], "head-only", head="start")
    assert asked.fit(TRAIN, validation=OTHER).step == 10 and asked.head
    assert [line["epoch"] for line in asked.history] == [0, 1, 2]
    random = learner(checkpoints["bert"], "head-only", head="random")
    assert random.fit(TRAIN, validation=OTHER).step == 10 and random.head is None
    assert [line["epoch"] for line in random.history] == [1, 2]

    class Shrink(torch.nn.Module):
        def forward(self, loss, found, inputs):
            return found["outputs"]["logits"].pow(2).mean()

    other = learner(checkpoints["bert"], "head-only")
    assert other.fit(TRAIN, loss=Plus(other.loss(), Shrink())).step == 10 and other.head


def test_training_goes_on_from_the_fit_which_may_be_kept(checkpoints):
    made = learner(
        checkpoints["bert"], "full", learning_rate=0.3, epochs=1.0
    )  # it breaks the model
    made.fit(TRAIN, validation=OTHER)
    assert made.best == 0 and [line["epoch"] for line in made.history] == [0, 1]
    start = learner(checkpoints["bert"], "full")
    start.prepare({"train": TRAIN})
    start.start_head(TRAIN)
    np.testing.assert_allclose(logits(made, OTHER), logits(start, OTHER), atol=1e-6)


def test_a_head_starts_once(checkpoints):
    made = learner(checkpoints["bert"], "full", epochs=1.0)
    made.fit(TRAIN)
    trained = {n: p.detach().clone() for n, p in made.model.named_parameters() if "class" in n}
    made.start_head(TRAIN)
    assert all(torch.equal(made.model.get_parameter(n), p) for n, p in trained.items())


def test_a_trained_head_is_kept_but_by_head_only(checkpoints, tmp_path):
    splits = {"train": TRAIN, "validation": OTHER, "test": TEST}
    made = learner(checkpoints["bert"], "head-only")
    made.fit(TRAIN)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    again = learner(tmp_path, "full")
    again.prepare(splits)
    again.start_head(TRAIN)
    assert again.head is None
    np.testing.assert_allclose(logits(again, TEST), logits(made, TEST), atol=1e-5)
    refit = learner(tmp_path, "head-only")
    refit.fit(OTHER)
    assert refit.head and refit.head.examples == len(OTHER)


def test_cached_states_give_the_same_fit(checkpoints, family):
    found = []
    for cache in ("memory", "off"):
        made = learner(checkpoints[family], "freeze-lower-2", cache=cache)
        made.prepare({"train": TRAIN})
        made.start_head(TRAIN)
        assert (made.cache is not None) == (cache == "memory")
        found.append(logits(made, TRAIN))
    np.testing.assert_allclose(*found, atol=1e-3)


def test_classes_are_weighted_in_the_fit(checkpoints):
    plain = learner(checkpoints["bert"], "head-only")
    plain.fit(TRAIN)
    weighted = learner(
        checkpoints["bert"], "head-only", TextClassification(("no", "yes"), (0.1, 10.0))
    )
    weighted.fit(TRAIN)
    share = [
        np.mean([p["prediction"] == "yes" for p in made.predict(TRAIN)])
        for made in (plain, weighted)
    ]
    assert share[1] > share[0]


def test_the_record_and_the_saved_model(checkpoints, family):
    splits = {"train": TRAIN, "validation": OTHER, "test": TEST}
    made = learner(checkpoints[family], "head-only")
    run = finetune(TASK, splits, made.args, accelerator=made.accelerator)
    assert run.head["start"] == "logistic regression" and run.head["examples"] == len(TRAIN)
    assert run.lr_history == [] and run.flops > 0
    plain = AutoModelForSequenceClassification
    assert type(run.model) is plain._model_mapping[type(run.model.config)]


def test_a_temperature_is_written_into_the_last_layer(checkpoints, family):
    made = learner(checkpoints[family], "head-only")
    made.fit(TRAIN)
    _, _, read = made.head_states(TRAIN.select([0]))
    scale_output(read.output, 20.0)  # far too sure
    before, answers = logits(made, MANY), [p["prediction"] for p in made.predict(MANY)]
    found = temper(made, MANY)
    assert found.value > 2
    np.testing.assert_allclose(logits(made, MANY), before / found.value, rtol=1e-4, atol=1e-5)
    assert [p["prediction"] for p in made.predict(MANY)] == answers
    assert made.judge(MANY)[1] == pytest.approx(found.after, rel=1e-4)


def rates_by_name(made):
    names = {id(p): name for name, p in made.model.named_parameters()}
    return {names[id(p)]: group["rate"] for group in rate_groups(made) for p in group["params"]}


@pytest.mark.parametrize("mode", ["full", "freeze-lower-1", "lora", "bitfit"])
def test_a_dense_layer_that_holds_the_fit_trains_at_its_scale(checkpoints, mode):
    made = learner(checkpoints["bert"], mode)
    made.prepare({"train": TRAIN})
    assert rate_groups(made) is None  # nothing is fitted yet
    made.start_head(TRAIN)
    slow = {name: rate for name, rate in rates_by_name(made).items() if rate != 1}
    assert len(slow) == 2 and set(slow.values()) == {0.1}
    trained = {name for name, p in made.model.named_parameters() if p.requires_grad}
    assert slow.keys() <= trained and all("pooler" in name for name in slow)
    names = ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
    assert made.head.record()["rates"] == dict.fromkeys(names, 0.1)


def test_the_rate_of_the_dense_layer_and_of_depth_go_together(checkpoints):
    made = learner(checkpoints["bert"], "full", layer_decay=0.5)
    made.prepare({"train": TRAIN})
    made.start_head(TRAIN)
    found = rates_by_name(made)
    assert found["bert.pooler.dense.bias"] == 0.1 and found["classifier.bias"] == 1
    depth = made.model.config.num_hidden_layers
    assert found[f"bert.encoder.layer.{depth - 1}.output.dense.bias"] == 0.5


def test_a_step_at_that_rate_moves_the_outputs_as_a_layer_at_full_scale_does(checkpoints):
    made = learner(checkpoints["bert"], "full")
    made.prepare({"train": TRAIN})
    made.start_head(TRAIN)
    _, states, read = made.head_states(TRAIN)
    before, fit, step = logits(made, TRAIN), made.head.fit, 1e-4
    signs = np.random.default_rng(0).choice([-1.0, 1.0], read.dense.weight.shape)
    with torch.no_grad():  # Adam's first step: the rate times the signs of the gradient
        rate = step * made.head.rates["bert.pooler.dense.weight"]
        read.dense.weight += rate * torch.from_numpy(signs).float()
    # By hand: of outputs W z + b with z = (x - mean) / deviation, a step S of z's layer moves W S x.
    plain = step * np.stack(states["below"]) @ signs.T @ fit.weight.T
    moved = logits(made, TRAIN) - before
    np.testing.assert_allclose(moved, plain, atol=0.1 * np.abs(plain).max())


def test_the_stage_after_a_finished_one_trains_at_the_same_rates(checkpoints, tmp_path):
    whole = learner(checkpoints["bert"], "lp-ft")
    whole.fit(TRAIN, validation=OTHER, home=tmp_path)
    (tmp_path / "stage-1" / "done.json").unlink()
    again = learner(checkpoints["bert"], "lp-ft")
    again.fit(TRAIN, validation=OTHER, home=tmp_path, resume=True)
    assert again.head is None and again.head_rates == whole.head_rates != {}
