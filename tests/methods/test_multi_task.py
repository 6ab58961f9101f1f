"""Several tasks on one body: shares, gradients that stay apart, one task alone, partners without sense."""

import re
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import KillAt, Killed, command
from tiny import sentences

from nlptl.cli.config import GridConfig, parse_args, with_options
from nlptl.data.batching import LengthBatches, without_end
from nlptl.errors import ConfigError, ModelError, UserError
from nlptl.methods.multi_task.batches import WHICH, Mixed, mix_steps, shares
from nlptl.methods.multi_task.method import Chain, InMix, Partner
from nlptl.methods.multi_task.mixed import Share, plan_of, start_learners, train_mixed
from nlptl.methods.multi_task.multi_task import announce, check_methods, write_multi_task
from nlptl.methods.multi_task.options import ALONE, CHAIN, MIXED, MultiTaskOptions
from nlptl.methods.multi_task.sharing import body_of, own_body, share_body
from nlptl.methods.multi_task.tasks import Drawn, Member, check_tasks, read_tasks
from nlptl.methods.multi_task.terms import MixedLoss
from nlptl.methods.multi_task.verdict import judge_all, row, sentence, warnings_of
from nlptl.models.loading import save_pretrained
from nlptl.modes.base import parse_mode
from nlptl.study.arms import Arm
from nlptl.study.outcomes import Outcome
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.token_classification import TokenClassification
from nlptl.train.finetune import finetune
from nlptl.train.setup import FinetuneArgs, start_accelerator

MOOD, LENGTH = TextClassification(("no", "yes")), TextClassification(("long", "mid", "short"))


def rows(count, seed, kind="mood"):
    texts = sentences(count, seed)
    if kind == "mood":
        labels = ["yes" if "good" in text or "great" in text else "no" for text in texts]
    else:
        sizes = [len(text.split()) for text in texts]
        labels = ["short" if n < 6 else "mid" if n < 10 else "long" for n in sizes]
    return Dataset.from_dict({"text": texts, "label": labels})


def tables(kind, counts=(36, 12, 12), seed=0):
    names = ("train", "validation", "test")
    return {
        name: rows(n, seed + i, kind) for i, (name, n) in enumerate(zip(names, counts, strict=True))
    }


def args_of(checkpoint, mode="full", **more):
    given = {"epochs": 2.0, "batch_size": 12, "head": "random", **more}
    return FinetuneArgs(str(checkpoint), parse_mode(mode), 2e-3, **given)


def accelerator():
    return start_accelerator(tracker=None, output_dir=None, seed=0)


def share(task, kind, args, steps=3, **more):
    return Share(task, tables(kind, **more), args, steps)


def weights(run):
    return {name: p.detach() for name, p in run.model.named_parameters()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("mode", "head"),
    [
        ("full", "random"),
        *(
            pytest.param(mode, "fit", marks=pytest.mark.slow)
            for mode in ("full", "freeze-lower-1", "lora")
        ),
    ],
)
def test_one_task_in_the_mix_is_the_plain_run(checkpoints, mode, head):
    args = args_of(checkpoints["bert"], mode, head=head)
    own = tables("mood")
    plain = finetune(MOOD, own, args, accelerator=accelerator())
    (mixed,) = train_mixed([Share(MOOD, own, args, 3)], accelerator=accelerator())
    assert same(weights(plain), weights(mixed)) and plain.predictions == mixed.predictions
    assert plain.history == mixed.history and plain.lr_history == mixed.lr_history
    assert plain.identity == mixed.identity and plain.flops == mixed.flops


# ---- shares
def test_temperature_1_is_proportional_and_infinity_uniform():
    np.testing.assert_allclose(shares([10, 30, 60]), [0.1, 0.3, 0.6])
    np.testing.assert_allclose(shares([10, 30, 60], float("inf")), [1 / 3] * 3)
    np.testing.assert_allclose(shares([1, 16], 2.0), [0.2, 0.8])  # square roots 1 and 4
    assert mix_steps([10, 30, 60]) == [10, 30, 60]
    assert mix_steps([10, 30, 60], float("inf")) in ([33, 33, 34], [33, 34, 33], [34, 33, 33])
    assert mix_steps([1, 1000], 0.2) == [1, 1000]  # a task is never left out
    assert sum(mix_steps([7, 11, 13, 2], 3.0)) == 33


def stream(size, name, batch=4, seed=0):
    features = [{"row": (name, i)} for i in range(size)]

    def collate(some, rng):
        return {"rows": [one["row"] for one in some]}

    return LengthBatches(features, [1] * size, collate, batch_size=batch, seed=seed)


def drawn(mix, number, start=0):
    found = []
    for batch in mix.epoch(number, start):
        names = {name for name, _ in batch.inputs["rows"]}
        assert names == {"abc"[int(batch.inputs[WHICH])]}
        found.append((int(batch.inputs[WHICH]), sorted(i for _, i in batch.inputs["rows"])))
    return found


def test_the_first_batches_of_a_mix_are_proportional_within_3_sigma():
    sizes = [40, 120, 240]
    mix = Mixed([stream(4 * n, name) for n, name in zip(sizes, "abc", strict=True)], sizes, seed=0)
    counts = Counter(which for which, _ in drawn(mix, 0)[:200])
    for which, share_ in enumerate(shares(sizes)):
        assert abs(counts[which] - 200 * share_) <= 3 * (200 * share_ * (1 - share_)) ** 0.5


def test_each_example_is_seen_once_an_epoch_at_temperature_1():
    sizes = [3, 5]
    mix = Mixed([stream(12, "a"), stream(18, "b")], sizes, seed=1)
    for number in (0, 1):
        found = drawn(mix, number)
        for which, count in enumerate((12, 18)):
            rows_ = [i for w, each in found for i in each if w == which]
            assert sorted(rows_) == list(range(count))
    assert drawn(mix, 0) != drawn(mix, 1)


@pytest.mark.parametrize("together", [1, 2])
def test_a_mix_begins_at_any_position(together):
    mix = Mixed(
        [stream(12, "a"), stream(18, "b"), stream(4, "c")],
        [4, 4, 2],
        seed=2,
        gradient_accumulation_steps=together,
    )
    for number in (0, 3):
        whole = drawn(mix, number)
        assert len(whole) == len(mix) == 10 * together
        for start in (1, 4, 7):
            assert drawn(mix, number, start) == whole[start:]
        for first in range(0, len(whole), together):
            assert len({which for which, _ in whole[first : first + together]}) == 1
    for which, own in enumerate(mix.streams):  # a task goes on where it stopped in the epoch before
        over = [rows_ for n in range(3) for w, rows_ in drawn(mix, n) if w == which]
        plain = [
            sorted(i for _, i in batch.inputs["rows"]) for batch in islice(without_end(own), 50)
        ]
        assert over == plain[: len(over)]
    assert mix.seen(2 * len(mix)) == [2 * together * n for n in (4, 4, 2)]
    assert sum(mix.seen(13)) == 13


# ---- one body
def pair(checkpoints, mode="full", tasks=(MOOD, LENGTH), family="bert", heads=("random", "random")):
    kinds = ["mood" if task is MOOD else "length" for task in tasks]
    shares_ = [
        share(task, kind, args_of(checkpoints[family], mode, head=head))
        for task, kind, head in zip(tasks, kinds, heads, strict=True)
    ]
    learners = start_learners(shares_, accelerator())
    return shares_, learners, MixedLoss([learner.loss() for learner in learners])


def batch_of(learners, shares_, number):
    table = shares_[number].splits["train"]
    inputs = next(iter(learners[number].batches(table, seed=0).epoch(0))).inputs
    return {**inputs, WHICH: torch.tensor(number)}


@pytest.mark.parametrize(
    ("family", "mode"),
    [
        ("bert", "full"),
        ("bert", "lora"),
        *(
            pytest.param(*both, marks=pytest.mark.slow)
            for both in (
                ("bert", "freeze-lower-1"),
                ("bert", "bitfit"),
                ("roberta", "full"),
                ("t5", "full"),
                ("t5", "lora"),
            )
        ),
    ],
)
def test_a_head_has_no_gradient_on_the_other_tasks_batch(checkpoints, family, mode):
    shares_, learners, loss = pair(checkpoints, mode, family=family)
    loss.train()(**batch_of(learners, shares_, 1))["loss"].backward()
    body = {id(p) for part in body_of(learners[0].model).values() for _, p in part}
    assert body == {id(p) for part in body_of(learners[1].model).values() for _, p in part}
    grads = [
        {n: p.grad for n, p in learner.model.named_parameters() if p.requires_grad}
        for learner in learners
    ]
    heads = [
        [n for n, p in learner.model.named_parameters() if p.requires_grad and id(p) not in body]
        for learner in learners
    ]
    assert heads[0] and all(grads[0][name] is None for name in heads[0])
    assert heads[1] and all(bool(grads[1][name].abs().sum() > 0) for name in heads[1])
    shared = [g for n, g in grads[0].items() if n not in heads[0]]
    assert shared and sum(float(g.abs().sum()) for g in shared if g is not None) > 0


def test_two_identical_tasks_give_the_average_gradient(checkpoints):
    """A window of a batch of each, as accumulated, is the mean of the two batches' gradients."""
    shares_, learners, loss = pair(checkpoints, tasks=(MOOD, MOOD))
    loss.eval()
    body = [p for part in body_of(learners[0].model).values() for _, p in part]

    def gradients(*numbers):
        loss.zero_grad()
        for number in numbers:
            found = loss(**batch_of(learners, shares_, number))
            (found["loss"] / len(numbers)).backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in body]

    first, second, both = gradients(0), gradients(1), gradients(0, 1)
    for one, other, mean in zip(first, second, both, strict=True):
        torch.testing.assert_close(one, other)  # same head, same batch
        torch.testing.assert_close((one + other) / 2, mean)


def test_a_body_of_its_own_is_a_copy(checkpoints):
    _, learners, _ = pair(checkpoints)
    before = {name: p.clone() for name, p in learners[1].model.named_parameters()}
    own_body(learners[1].model)
    with torch.no_grad():
        for p in learners[0].model.parameters():
            p.add_(1.0)
    assert same(before, dict(learners[1].model.named_parameters()))


def test_tasks_of_other_kinds_share_the_body_too(checkpoints):
    """Tags of words beside classes: BERT's class for tags has no pooler, which is part of a head."""
    tags = TokenClassification(("O", "X"))
    texts = [text.split() for text in sentences(12, 5)]
    table = Dataset.from_dict(
        {"tokens": texts, "tags": [["X" if w == "film" else "O" for w in t] for t in texts]}
    )
    given = dict.fromkeys(("train", "validation", "test"), table)
    args = args_of(checkpoints["bert"], epochs=1.0)
    mood = share(MOOD, "mood", args)
    found = train_mixed([mood, Share(tags, given, args, 1)], accelerator=accelerator())
    assert [run.task.name for run in found] == ["text-classification", "token-classification"]
    assert found[0].measured["batches"] == [3, 1]
    bodies = [body_of(run.model) for run in found]
    assert not {id(p) for part in bodies[0].values() for _, p in part} & {
        id(p) for part in bodies[1].values() for _, p in part
    }


# ---- runs
def mixed_run(checkpoint, home=None, **more):
    args = args_of(checkpoint, **more)
    return train_mixed(
        [share(MOOD, "mood", args), share(LENGTH, "length", args, seed=9)],
        accelerator=accelerator(),
        home=home,
    )


def test_each_tasks_model_is_an_ordinary_directory(checkpoints, tmp_path):
    from transformers import AutoModelForSequenceClassification

    from nlptl.runs.directory import is_finished, save_run

    for run in mixed_run(checkpoints["bert"], mode="lora", epochs=1.0):
        home = tmp_path / "-".join(run.task.labels)
        save_run(run, home, accelerator=accelerator())
        assert is_finished(home)
        model = AutoModelForSequenceClassification.from_pretrained(home / "model").eval()
        assert list(model.config.id2label.values()) == list(run.task.labels)
        with torch.no_grad():
            inputs = {
                k: v for k, v in run.check_batch.inputs.items() if k not in ("labels", "size")
            }
            torch.testing.assert_close(
                model(**inputs).logits, run.outputs(run.model)["logits"], atol=1e-4, rtol=0
            )


@pytest.mark.slow
def test_flags_about_how_to_train_reach_every_model(checkpoints):
    """Rates by block, a penalty, two batches a step, activations computed again, patience."""
    given = {"layer_decay": 0.8, "l2_sp": 0.01, "gradient_accumulation_steps": 2, "patience": 1}
    found = mixed_run(checkpoints["bert"], gradient_checkpointing=True, epochs=3.0, **given)
    assert all(run.measured["batches"][0] % 2 == 0 for run in found)
    assert (
        found[0].args.layer_decay == 0.8 and np.isfinite([r.metrics["loss"] for r in found]).all()
    )
    _, learners, _ = pair(checkpoints)
    learners = [learner for learner in learners]
    for learner in learners:
        learner.args = replace(learner.args, layer_decay=0.5)
    mix = Mixed([stream(12, "a"), stream(12, "b")], [3, 3], seed=0)
    groups = plan_of(learners, mix).groups
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids))
    blocks = {id(p): n for n, p in learners[1].model.named_parameters() if ".layer." in n}
    rates = {round(g["rate"], 3) for g in groups for p in g["params"] if id(p) in blocks}
    assert rates == {0.5, 0.25, 0.125}


def test_a_dense_layer_that_holds_a_fit_trains_at_its_scale_in_every_task(checkpoints):
    shares_, learners, loss = pair(checkpoints, heads=("fit", "fit"))
    for learner, one in zip(learners, shares_, strict=True):
        learner.prepare({"train": one.splits["train"]}, loss)
        learner.start_head(one.splits["train"])
    groups = plan_of(learners, Mixed([stream(12, "a"), stream(12, "b")], [3, 3], seed=0)).groups
    rates = {id(p): group["rate"] for group in groups for p in group["params"]}
    for learner in learners:
        head = learner.model.bert.pooler.dense, learner.model.classifier
        assert [rates[id(layer.weight)] for layer in head] == [0.1, 1.0]


@pytest.mark.slow
def test_killed_and_resumed_is_unbroken(checkpoints, tmp_path, monkeypatch):
    from nlptl.train import learner as home

    given = {"epochs": 2.0, "save_every": 2, "head": "fit"}
    whole = mixed_run(checkpoints["bert"], **given)
    bar = home.ProgressBar
    monkeypatch.setattr(home, "ProgressBar", lambda *_: KillAt(9))
    with pytest.raises(Killed):
        mixed_run(checkpoints["bert"], home=tmp_path, **given)
    monkeypatch.setattr(home, "ProgressBar", bar)
    assert list((tmp_path / "checkpoints").glob("step-*"))
    again = mixed_run(checkpoints["bert"], home=tmp_path, **given)
    for one, other in zip(whole, again, strict=True):
        assert same(weights(one), weights(other)) and one.predictions == other.predictions
        assert one.history == other.history
        assert one.measured["batches"] == other.measured["batches"] == [6, 6]


def test_each_task_keeps_its_own_best_epoch(checkpoints, monkeypatch):
    """The first task's second epoch and the second task's first are made to look bad."""
    from nlptl.methods.multi_task import mixed as module

    real, worst = module.keep_best, {"no": 2, "long": 1}

    def keep(learner, validation, *, alone):
        made, calls = real(learner, validation, alone=alone), []
        scored = made.score

        def score(model):
            calls.append(model)
            bad = len(calls) == worst[learner.task.labels[0]]
            return {**scored(model), **({"accuracy": -1.0, "accuracy_se": 0.0} if bad else {})}

        made.score = score
        return made

    monkeypatch.setattr(module, "keep_best", keep)
    mood, length = mixed_run(checkpoints["bert"])
    assert (mood.best, length.best) == (0, 1)
    bodies = [
        {n: p for rows_ in body_of(r.model).values() for n, p in rows_} for r in (mood, length)
    ]
    assert not same(*bodies)


class Spied(dict):
    """Splits whose test set nobody may take before the training has ended."""

    ended = False

    def __getitem__(self, name):
        assert name != "test" or Spied.ended, "the test set is read before the end"
        return super().__getitem__(name)


def test_no_test_label_is_read_before_the_end(checkpoints, monkeypatch):
    from nlptl.methods.multi_task import mixed as module

    real = module.runs_of

    def ending(*given):
        Spied.ended = True
        return real(*given)

    monkeypatch.setattr(module, "runs_of", ending)
    args = args_of(checkpoints["bert"], epochs=1.0)
    each = [
        replace(share(task, kind, args), splits=Spied(tables(kind)))
        for task, kind in ((MOOD, "mood"), (LENGTH, "length"))
    ]
    assert len(train_mixed(each, accelerator=accelerator())) == 2


def test_a_chain_is_what_two_commands_do(checkpoints, tmp_path):
    args = args_of(checkpoints["bert"], epochs=1.0)
    before, after = tables("mood"), tables("length", seed=9)
    first = finetune(MOOD, before, args, accelerator=accelerator())
    save_pretrained(first.model, first.tokenizer, tmp_path / "model")
    own = replace(args, model=str(tmp_path / "model"))
    plain = finetune(LENGTH, after, own, accelerator=accelerator())
    chain = Chain(Member("mood", MOOD, before, {}), args, folder=tmp_path / "first")
    for _ in range(2):  # the second time the first task's model is there
        found = chain(LENGTH, after, args, accelerator=accelerator())
        assert same(weights(plain), weights(found)) and plain.predictions == found.predictions
    other = replace(chain, first=Member("mood", MOOD, tables("mood", seed=5), {}))
    assert len({chain.identity(), other.identity(), replace(chain, most=9).identity()}) == 3


def test_keys_differ_by_all_that_a_mix_depends_on(checkpoints):
    args = args_of(checkpoints["bert"])
    one, other = Partner(MOOD, "a", args, 3), Partner(LENGTH, "b", args, 5)
    plain = InMix(0, (one, other))
    changed = [
        InMix(1, (one, other)),
        InMix(0, (other, one)),
        InMix(0, (one,)),
        *(InMix(0, (one, replace(other, **to))) for to in ({"data": "c"}, {"steps": 6})),
        InMix(0, (one, replace(other, args=replace(args, epochs=3.0)))),
    ]
    assert len({each.identity() for each in [plain, *changed]}) == 7
    assert plain.identity() == InMix(0, (one, other)).identity()


def test_bodies_that_differ_are_refused(checkpoints):
    _, (learner, _), _ = pair(checkpoints)
    _, (other, _), _ = pair(checkpoints, family="roberta")
    with pytest.raises(ModelError, match="has another body than BertForSequenceClassification"):
        share_body(learner.model, other.model)


# ---- verdicts
def arm_of(right):
    """An arm of given statistics, ``(seeds, examples)``."""
    outcomes = tuple(
        Outcome(
            seed=seed,
            learning_rate=1e-3,
            score=float(each.mean()),
            statistics=tuple((float(value),) for value in each),
            validation=(0.5, 0.6),
            best=1,
            epochs=1.0,
            seconds=1.0,
            flops=0.0,
            peak_memory=0.0,
            trainable=1,
            total=1,
        )
        for seed, each in enumerate(right)
    )
    return Arm(outcomes, args_of("bundled/bert"))


def judged(**gains):
    """Records of tasks whose mix is so much better than the task alone; None gives the same answers."""
    rng, found = np.random.default_rng(0), {}
    for name, gain in gains.items():
        base = rng.random((5, 4000))
        better = base < 0.6 + (gain or 0)
        if gain is not None:  # one answer more is right, one more is wrong
            places = [np.flatnonzero(base[0] > 0.9)[0], np.flatnonzero(base[0] < 0.3)[0]]
            better[0, places] ^= True
        alone, mixed = arm_of(base < 0.6), arm_of(better)
        rows_ = {ALONE: row(ALONE, alone, alone, "accuracy", None, None)}
        rows_[MIXED] = row(MIXED, mixed, alone, "accuracy", None, None)
        found[name] = {"metric": "accuracy", "first": None, "rows": rows_}
    judge_all(found)
    return found


def test_a_task_that_loses_is_named_whatever_the_mean():
    found = judged(topic=0.15, mood=-0.15, pairs=0.0)
    assert [found[name]["rows"][MIXED]["word"] for name in found] == ["helped", "hurt", "alike"]
    said = sentence(found)
    assert "Helped: topic (+1" in said and "Hurt: mood (-1" in said
    assert "As good as the task alone, within half a point: pairs" in said


def test_the_terminal_has_a_table_of_80_columns_and_the_file_markdown(tmp_path):
    found = judged(own_topic=0.15, mood=0.0)
    for name, task in found.items():
        task |= {"kind": "text-classification", "warnings": [f"{name}: it learned little."]}
        task |= {"n": dict.fromkeys(("train", "validation", "test"), 40)}
        task |= {"floors": {"majority": 0.5, "bag_of_words": None}}
    record = {
        **{"tasks": found, "mixture": [], "first": None, "model": "bundled/bert", "mode": "full"},
        **{"seeds": [0, 1, 2, 3, 4], "temperature": 1, "test": "t", "versions": {"nlptl": "1"}},
        **{"sentence": sentence(found)},
    }
    shown = write_multi_task(record, tmp_path)
    assert max(map(len, shown.splitlines())) <= 80 and not set("|*\\") & set(shown)
    assert "\nown_topic (accuracy):\n" in shown and "\nmood (accuracy):\n" in shown
    assert len(re.findall(r"^alone +[\d.]+ +— +bound$", shown, re.M)) == 2
    assert re.search(r"^mixed +7\d\.\d +\+1[\d.]+ \[.* to .*\] +helped$", shown, re.M)
    assert "\nnote: mood: it learned little.\n" in shown
    assert " ".join(shown.split()).count(record["sentence"]) == 1
    assert "|---|---:|" in (tmp_path / "multi_task.md").read_text()


def test_arms_with_the_same_answers_are_not_called_alike():
    """They may be one model: every run kept the head that was fitted before the first step, in both."""
    found = judged(topic=0.0, mood=None)
    assert found["topic"]["rows"][MIXED]["word"] == "alike"
    assert found["mood"]["rows"][MIXED]["word"] == "cannot tell"
    assert "mood (the same answers in every run, so there is nothing to compare)" in sentence(found)


def test_a_task_that_learned_nothing_is_told():
    rows_ = judged(mood=0.1)["mood"]["rows"]
    said = warnings_of("mood", rows_, {"majority": 0.7, "bag_of_words": 0.9})
    assert "alone it is not above always one answer" in said[0]
    assert "a bag of words scores 90.0, more than the task alone" in said[1]
    rows_[MIXED]["diverged"], rows_[MIXED]["before_training"] = 2, 4
    said = warnings_of("mood", rows_, {"majority": 0.1, "bag_of_words": None})
    assert "mixed: the loss became infinite in 2 runs" in said[0]
    assert "mixed: in 4 of 5 runs validation kept the model as it was" in said[1]


@pytest.mark.slow
def test_a_partner_with_shuffled_labels_is_never_called_a_help(checkpoints):
    alone, mixed = [], []
    for seed in range(3):
        args = replace(args_of(checkpoints["bert"], epochs=6.0), seed=seed)
        own = tables("mood", (48, 24, 200), seed=20)
        partner = tables("length", (48, 24, 24), seed=30)
        labels = np.random.default_rng(seed).permutation(partner["train"]["label"][:]).tolist()
        train = partner["train"].remove_columns("label").add_column("label", labels)
        shares_ = [Share(MOOD, own, args, 4), Share(LENGTH, {**partner, "train": train}, args, 4)]
        for found, given in ((alone, shares_[:1]), (mixed, shares_)):
            one = start_accelerator(tracker=None, output_dir=None, seed=seed)
            run = train_mixed(given, accelerator=one)[0]
            found.append([float(p["prediction"] == p["gold"]) for p in run.predictions])
    base = arm_of(np.asarray(alone))
    rows_ = {ALONE: row(ALONE, base, base, "accuracy", None, None)}
    rows_[MIXED] = row(MIXED, arm_of(np.asarray(mixed)), base, "accuracy", None, None)
    found = {"mood": {"metric": "accuracy", "first": None, "rows": rows_}}
    judge_all(found)
    assert rows_[MIXED]["word"] in ("hurt", "cannot tell", "alike"), rows_


# ---- data and flags
CONFIG = with_options(GridConfig, MultiTaskOptions)


def config_of(*words):
    return parse_args(CONFIG, [str(word) for word in words])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    home = tmp_path_factory.mktemp("multi_task")
    rows(60, 1).to_csv(home / "mood.csv")
    table = rows(60, 2, "length").rename_columns({"text": "first", "label": "size"})
    table.add_column("second", sentences(60, 3)).to_csv(home / "pairs.csv")
    numbers = Dataset.from_dict(
        {"text": sentences(60, 4), "score": [len(t) / 7 for t in sentences(60, 4)]}
    )
    numbers.to_csv(home / "numbers.csv")
    words = [text.split() for text in sentences(40, 5)]
    tags = [["X" if w in ("film", "plot") else "O" for w in text] for text in words]
    Dataset.from_dict({"tokens": words, "tags": tags}).to_json(home / "tags.jsonl")
    return home


def test_each_task_is_read_as_what_its_table_is_for(files):
    config = config_of(
        *("--tasks", f"mood:{files}/mood.csv", f"pairs:{files}/pairs.csv"),
        *(f"long:{files}/numbers.csv", f"tags:{files}/tags.jsonl", "asked:bundled/passages"),
        *("--columns", "pairs.text=first,second", "pairs.label=size", "--max-eval-examples", "20"),
    )
    members = read_tasks(config)
    assert [(one.name, one.task.name, one.task.fields) for one in members] == [
        ("mood", "text-classification", ("text",)),
        ("pairs", "text-classification", ("first", "second")),
        ("long", "regression", ("text",)),
        ("tags", "token-classification", ("tokens",)),
        ("asked", "question-answering", ("question", "context")),
    ]
    assert all(len(one.splits["test"]) <= 20 for one in members)
    drawn_ = Drawn(20)(members[0].task, members[0].splits, 0)
    assert len(drawn_["train"]) == 18 and len(drawn_["validation"]) == 2


def test_all_mistakes_of_the_flags_come_at_once(files):
    cases = [
        (("--tasks", "mood", "a.b:x.csv", "mood:a.csv", "mood:b.csv"), read_tasks,
         ("--tasks mood: expected name:data", "--tasks a.b:x.csv: expected",
          "--tasks mood:b.csv: another task has the name mood", "mood:a.csv: there is no such file")),
        (("--tasks", f"mood:{files}/mood.csv"), read_tasks, ("expected two tasks or more",)),
        (("--columns", "topic.label=x", "domain.lable=y", "domain",
          "--kinds", "domain=regresion", "domin=regression"), read_tasks,
         ("there is no such task", "Did you mean 'label'?", "expected task.role=column",
          "Did you mean 'regression'?", "--kinds domin=regression: expected task=kind")),
        (("--tasks", f"mood:{files}/mod.csv", f"pairs:{files}/pairs.csv"), read_tasks,
         ("mood: --tasks mood:", "there is no such file. Did you mean 'mood.csv'?",
          "--columns pairs.label=")),
        (("--methods", "mixd", "mixed", "--temperature", "0", "--mode", "head-only", "--first",
          "domian", "--mixout", "0.1", "--augment", "typos"),
         check_methods, ("Did you mean 'mixed'?", "--temperature is 0", "nothing that tasks could share",
                         "--mixout mixes", "--augment typos: each text", "Did you mean 'domain'?")),
        (("--tasks", f"mood:{files}/mood.csv", "asked:bundled/passages", "--columns", "asked.text=x",
          "--max-eval-examples", "20"), read_tasks,
         ("asked.text=x: the task is a question-answering, which has the roles question, context",)),
        (("--tasks", f"mood:{files}/mood.csv", f"long:{files}/numbers.csv", "--max-train-examples", "2"),
         read_tasks, ("--max-train-examples 2 leaves mood training examples of one class only",)),
        (("--train-file", "a.csv", "--text-column", "body", "--dataset", "x.csv"), check_tasks,
         ("--train-file is for one task", "--text-column is for one task", "--dataset is for one task")),
        (("--methods", "mixed", "--first", "domain", "--upstream-text", "x"), check_methods,
         ("--first domain: only chain reads it, and it is not run here", "--upstream-text x: nothing reads")),
    ]  # fmt: skip
    for words, check, parts in cases:
        with pytest.raises(UserError) as found:
            check(config_of(*words))
        for part in parts:
            assert part in str(found.value), (part, str(found.value))
    for mode, why in (("lp-ft", "has stages"), ("prompt", "trains a prompt"), ("as-is", "nothing")):
        with pytest.raises(ConfigError, match=why):
            check_methods(config_of("--mode", mode))
    for mode in ("full", "lora", "freeze-lower-4", "bitfit"):
        check_methods(config_of("--mode", mode, "--temperature", "inf"))
    with pytest.raises(
        UserError, match="--task regression is for one task. Give --kinds task=regr"
    ):
        check_tasks(SimpleNamespace(task="regression"))


def test_pooling_needs_tasks_that_pool(files):
    words = ("--tasks", f"mood:{files}/mood.csv", f"tags:{files}/tags.jsonl", "--pooling", "mean")
    with pytest.raises(
        ConfigError, match="--pooling mean: the head of tags reads the state of every"
    ):
        read_tasks(config_of(*words))


def test_the_first_lines_name_the_model_and_how_it_trains(capsys):
    splits = {name: range(20) for name in ("train", "validation", "test")}
    entries = [
        SimpleNamespace(
            member=SimpleNamespace(name=name, task=MOOD, record={}),
            args=args_of("bundled/bert", batch_size=8),
            study=SimpleNamespace(arms={}),
            seen=lambda seed: splits,
        )
        for name in ("mood", "length")
    ]
    announce(config_of("--batch-size", 8), entries)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("model bundled/bert (bert, 12 blocks, width 128; a demonstration")
    assert "mood: text-classification, 20 train, 20 validation, 20 test" in shown
    assert re.search(
        r"train mode full\*, \S+ epochs?\*, rate \S+\*, batch 8 \(\* default\) runs", shown
    )


# ---- the whole
@pytest.mark.slow
def test_the_recipe_writes_a_table_a_page_and_a_run_for_each_task(checkpoints, files, tmp_path):
    import importlib.util
    import json

    from launching import ROOT

    from nlptl.runs.directory import is_finished

    spec = importlib.util.spec_from_file_location("multi_task", ROOT / "recipes/multi_task.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    words = [
        *("--model", checkpoints["bert"], "--tasks", f"mood:{files}/mood.csv"),
        *(f"tags:{files}/tags.jsonl", f"long:{files}/numbers.csv", "--epochs", 1, "--seeds", 2),
        *("--batch-size", 8, "--temperature", 2, "--head", "random", "--precision", "fp32"),
    ]
    for number in (1, 2):
        home = tmp_path / str(number)
        recipe.main(config_of(*words, "--output-dir", home))
        record = json.loads((home / "multi_task.json").read_text())
        assert list(record["tasks"]) == ["mood", "tags", "long"] and record["first"] == "mood"
        assert [list(one["rows"]) for one in record["tasks"].values()] == [
            [ALONE, MIXED],
            [ALONE, MIXED, CHAIN],
            [ALONE, MIXED, CHAIN],
        ]
        for name, one in record["tasks"].items():
            assert is_finished(home / "tasks" / name)
            counts = record["mixture"][0]["batches"]
            alone = one["rows"][ALONE]
            assert alone["epochs"] == pytest.approx(
                counts[name] / -(-one["n"]["train"] // 8), rel=0.2
            )
        text = (home / "multi_task.html").read_text()
        assert "tags after mood" in text and "<script" not in text
        for end in ("md", "png", "svg"):
            assert (home / f"multi_task.{end}").stat().st_size > 500
        assert not (home / "first").exists()


TWO = """
import sys
sys.path[:0] = sys.argv[2:4]
import torch
import torch.distributed as dist
from test_multi_task import LENGTH, MOOD, args_of, share, start_accelerator, train_mixed

args = args_of(sys.argv[1], batch_size=9)
one = start_accelerator(tracker=None, output_dir=None, seed=0)
runs = train_mixed([share(MOOD, "mood", args, 4), share(LENGTH, "length", args, 4, seed=9)], accelerator=one)
total = torch.stack([sum(p.detach().double().sum() for p in run.model.parameters()) for run in runs])
gathered = [torch.zeros_like(total) for _ in range(dist.get_world_size())]
dist.all_gather(gathered, total)
if dist.get_rank() == 0:
    print("SAME", torch.equal(*gathered), [len(run.predictions) for run in runs], flush=True)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_end_alike_though_each_batch_uses_one_head(checkpoints, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    here = Path(__file__).parent
    done = command(
        *("-m", "torch.distributed.run", "--nproc_per_node", 2, script),
        *(checkpoints["bert"], here, here.parent),
    )
    assert "SAME True [12, 12]" in done.stdout, done.stdout + done.stderr
