"""Adaptation: formulas by hand, null switches, labels that stay unread, verdicts that are true."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import KillAt, Killed, command
from tiny import sentences
from torch.nn import functional as F

from nlptl.cli.config import GridConfig, parse_args, with_options
from nlptl.errors import DataError, UserError
from nlptl.methods.adapt.adapt import check_methods, run_pair, write_adaptation
from nlptl.methods.adapt.domains import pair_splits, pairs, read_domains, seen_by, short_names
from nlptl.methods.adapt.features import (
    augment,
    fit_augmented,
    importance,
    proxy_a_distance,
    recolour,
    reverse_accuracy,
)
from nlptl.methods.adapt.method import Adapt
from nlptl.methods.adapt.options import ALL, FEW, SOURCE, TARGET, AdaptOptions
from nlptl.methods.adapt.page import page
from nlptl.methods.adapt.terms import Dann, DomainAccuracy, deep_coral, mmd, schedule
from nlptl.methods.adapt.verdict import closed_share, judge_all, left_by, sentence, warnings_of
from nlptl.methods.adapt.ways import sure
from nlptl.modes.base import parse_mode
from nlptl.records import FitState
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.study.study import Study
from nlptl.tasks.classification import TextClassification
from nlptl.train.convex import fit_linear
from nlptl.train.finetune import finetune
from nlptl.train.setup import FinetuneArgs, start_accelerator

TASK = TextClassification(("no", "yes"))


def states(rows, width, seed, scale=1.0, turn=True):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(width, width)) if turn else np.eye(width)
    return scale * rng.normal(size=(rows, width)) @ mix + rng.normal(size=width)


# ---- coral
def test_recoloured_states_have_the_targets_covariance_and_mean():
    source, target = states(200, 6, 1), states(150, 6, 2, scale=3.0)
    made = recolour(source, target, 1e-12)
    np.testing.assert_allclose(np.cov(made.T), np.cov(target.T), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(made.mean(0), target.mean(0), atol=1e-9)


def test_states_recoloured_to_themselves_stay():
    source = states(80, 5, 3)
    for shrinkage in (1e-9, 1.0):
        np.testing.assert_allclose(recolour(source, source, shrinkage), source, atol=1e-9)


def test_recolouring_by_hand():
    """Variances 1 and 4 on one axis, no ridge: distances from the mean are doubled."""
    source, target = np.array([[-1.0], [0.0], [1.0]]), np.array([[3.0], [5.0], [7.0]])
    np.testing.assert_allclose(recolour(source, target, 0.0), [[3.0], [5.0], [7.0]], atol=1e-12)


def test_few_examples_have_no_inverse_without_shrinkage():
    with pytest.raises(
        DataError, match="4 examples give the covariance of 6 values a rank below 6"
    ):
        recolour(states(4, 6, 1), states(50, 6, 2), 0.0)
    assert np.isfinite(recolour(states(4, 6, 1), states(50, 6, 2), 0.1)).all()


# ---- easyadapt
def test_the_kernel_is_doubled_within_a_domain():
    plain, domains = states(6, 3, 4), np.array([0, 1, 2, 0, 1, 2])
    made = augment(plain, domains, 3)
    assert made.shape == (6, 4 * 3)
    kernel, same = plain @ plain.T, domains[:, None] == domains
    np.testing.assert_allclose(made @ made.T, np.where(same, 2 * kernel, kernel), rtol=1e-12)
    assert augment(plain[:1], domains[:1], 3).tolist() == [[*plain[0], *plain[0], *[0.0] * 6]]


def test_the_folded_head_computes_what_the_augmented_one_does():
    plain, domains = states(60, 4, 5), np.repeat([0, 1, 2], 20)
    gold = (plain[:, 0] > plain[:, 0].mean()).astype(int)
    about = {"outputs": 2, "sizes": np.ones(60), "intercept": True, "grid": (0.1, 1.0)}
    found = fit_augmented(plain, gold, "classes", domains=domains, read=2, **about)
    mean, deviation = plain.mean(0), np.sqrt(np.square(plain - plain.mean(0)).mean())
    copies = augment((plain - mean) / deviation, domains, 3)
    whole = fit_linear(copies, gold, "classes", **about)
    np.testing.assert_allclose(
        found.outputs(plain[domains == 2]), whole.outputs(copies)[domains == 2], atol=1e-9
    )
    assert not np.allclose(found.outputs(plain[:20]), whole.outputs(copies)[:20])


# ---- weights, distances
def test_weights_follow_the_densities():
    """N(0, 1) to N(1, 1): the true weight exp(x - 1/2) rises e-fold a step, up to its cap."""
    rng = np.random.default_rng(6)
    source, target = rng.normal(size=(4000, 1)), rng.normal(1.0, size=(4000, 1))
    found = importance(source, target, clip=1e9)
    slope = np.polyfit(source[:, 0], np.log(found), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.1) and found.mean() == pytest.approx(1.0)
    assert importance(source, target, clip=2.0).max() < 2.5
    assert importance(source, rng.normal(size=(4000, 1)), clip=1e9).std() < 0.1


def test_the_distance_of_domains_runs_from_0_to_2():
    rng = np.random.default_rng(7)
    near = proxy_a_distance(rng.normal(size=(400, 3)), rng.normal(size=(400, 3)))
    far = proxy_a_distance(rng.normal(size=(400, 3)), rng.normal(9.0, size=(400, 3)))
    few = [proxy_a_distance(*rng.normal(size=(2, 12, 3)), seed=seed) for seed in range(8)]
    assert min(few) == 0 < max(few)  # below chance by chance is no distance
    assert abs(near) < 0.25 and far == 2.0


def test_reverse_validation_sees_labels_that_do_not_lead_back():
    rng = np.random.default_rng(8)
    source, target = rng.normal(size=(300, 4)), rng.normal(size=(300, 4))
    gold = np.where(source[:, 0] > 0, "yes", "no").tolist()
    good = np.where(target[:, 0] > 0, "yes", "no").tolist()
    bad = np.where(target[:, 1] > 0, "yes", "no").tolist()
    assert reverse_accuracy(target, good, source, gold) > 0.95
    assert reverse_accuracy(target, bad, source, gold) < 0.65
    one = reverse_accuracy(target, ["yes"] * 300, source, gold)
    assert one == pytest.approx(gold.count("yes") / 300)


# ---- terms
def test_deep_coral_by_hand():
    """Variances 1 and 4, covariances 0 and 0 on two axes: ((1 - 4)^2 + 0) / (4 * 2^2)."""
    source = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    target = torch.tensor([[-2.0, 5.0], [0.0, 5.0], [2.0, 5.0]])
    assert float(deep_coral(source, target)) == pytest.approx(9 / 16)
    assert float(deep_coral(target, target)) == 0
    assert float(deep_coral(source[:1], target)) == 0


def test_mmd_by_hand_and_at_0():
    """Two points a distance 1 apart, one on each side: the median is 1, so it is 2 - 2 mean exp(-1 / b)."""
    one, other = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    kernel = np.mean([np.exp(-1 / wide) for wide in (0.25, 0.5, 1, 2, 4)])
    assert float(mmd(one, other)) == pytest.approx(2 - 2 * kernel, rel=1e-5)
    both = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    assert float(mmd(both, both)) == pytest.approx(0, abs=1e-6)


def test_the_schedule_rises_from_0_to_1():
    assert [round(float(schedule(p)), 4) for p in (0.0, 0.1, 0.5, 1.0)] == [
        0,
        0.4621,
        0.9866,
        0.9999,
    ]


class Fixed:
    """A loss whose features are given: the source's, then the target's."""

    def __init__(self, source, target):
        self.each, self.first, self.model = [source, target], self, None
        self.task = self

    def features(self):
        return self.each.pop(0)

    def outputs(self, model, inputs):
        return {}


def adversary(strength, done):
    torch.manual_seed(0)
    term = Dann(4, batches=10, strength=strength)
    term.done += done
    draw = torch.Generator().manual_seed(1)
    source, target = (torch.randn(5, 4, generator=draw, requires_grad=True) for _ in range(2))
    term(Fixed(source, target), {}, {}).backward()
    return term, source.grad, target.grad


def test_the_features_gradient_is_reversed_and_the_discriminators_is_not():
    torch.manual_seed(0)
    plain = Dann(4, batches=10).judge
    draw = torch.Generator().manual_seed(1)
    both = [torch.randn(5, 4, generator=draw, requires_grad=True) for _ in range(2)]
    domain = torch.tensor([0] * 5 + [1] * 5)
    F.cross_entropy(plain(torch.cat(both)), domain).backward()
    own = [p.grad for p in plain.parameters()]
    for strength, done in ((1.0, 5), (0.3, 5), (1.0, 0)):
        term, *found = adversary(strength, done)
        factor = strength * schedule(done / 10)
        for got, plainly in zip(found, both, strict=True):
            torch.testing.assert_close(got, -factor * plainly.grad)
        for got, plainly in zip(term.judge.parameters(), own, strict=True):
            assert torch.equal(got.grad, plainly)
    assert float(term.done) == 1 and float(term.judged) == 10


def test_domain_accuracy_is_counted_by_epoch_and_remembered():
    term, _, _ = adversary(1.0, 0)
    watch, state = DomainAccuracy(term), FitState(None, {}, 1, 1)
    share = float(term.right) / 10
    watch.on_epoch(state)
    assert watch.epochs == [pytest.approx(share)] and float(term.judged) == 0 and watch.first == 10
    again = DomainAccuracy(term)
    again.remember(*watch.memory())
    assert again.epochs == watch.epochs and again.first == 10


def test_self_training_takes_the_surest_alike_many_of_each_class():
    def record(share, name):
        return {"prediction": name, "scores": {name: share}}

    given = [
        record(*one) for one in ((0.99, "a"), (0.91, "a"), (0.95, "a"), (0.92, "b"), (0.5, "b"))
    ]
    assert sure(given, ("a", "b"), 0.9) == {0: "a", 3: "b"}
    assert sure(given, ("a", "b"), 0.5) == {0: "a", 2: "a", 3: "b", 4: "b"}
    assert sure(given, ("a", "b"), 1.01) == {} and sure(given, ("a", "b", "c"), 0.5) == {}


# ---- planted data: no shift, a rotation, labels without sense
def scored(train, gold, test, truth, target=None):
    moved = train if target is None else recolour(train, target, 1e-3)
    fit = fit_linear(moved, gold, "classes", outputs=2, grid=(1.0,))
    return (fit.outputs(test).argmax(1) == truth).astype(float)


def planted(shift, seeds=5, rows=600, width=5, shuffled=False):
    """Two classes, and a target that is the source stretched along axes that are turned."""
    test_rng = np.random.default_rng(99)
    turn = np.linalg.qr(test_rng.normal(size=(width, width)))[0] if shift else np.eye(width)
    # Symmetric, so that recolouring (the shortest way between covariances) undoes it.
    move = turn @ np.diag([0.2, 0.5, 1.0, 2.0, 5.0]) @ turn.T if shift else np.eye(width)
    away = np.linspace(1.0, 0.5, width)

    def draw(rng, count):
        gold = rng.integers(0, 2, count)
        return (2 * gold[:, None] - 1) * away * 0.6 + rng.normal(size=(count, width)), gold

    test, truth = draw(test_rng, 800)
    plain, moved = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        train, gold = draw(rng, rows)
        if shuffled:
            gold = rng.permutation(gold)
        target, _ = draw(rng, rows)
        plain.append(scored(train, gold, test @ move, truth))
        moved.append(scored(train, gold, test @ move, truth, target @ move))
    return np.asarray(moved)[..., None], np.asarray(plain)[..., None]


def record_of(method, source, target):
    """A pair's record with one method, as :func:`pair_record` makes it."""

    def row(name, arm, bound):
        alone = joint_bootstrap(arm, None)
        more = joint_bootstrap(arm, source)
        return {
            **{
                "what": name,
                "bound": bound,
                "mean": arm.mean(),
                "seconds": 1.0,
                "scores": [0.1, 0.2],
            },
            **{"seeds": list(range(len(arm))), "ci95": [alone.low, alone.high]},
            **{"difference": None if name == SOURCE else vars(more), "share": None},
            **{
                "domain_accuracy": [],
                "judged": 0,
                "pseudo_labels": [],
                "diverged": 0,
                "before_training": 0,
            },
            **{"forgetting": None, "distance": 1.0, "lm_loss": [None, None], "effective": None},
        }

    rows = {
        SOURCE: row(SOURCE, source, True),
        "coral": row("coral", method, False),
        TARGET: row(TARGET, target, True),
    }
    floors = {"majority": 0.5, "bag_of_words": None}
    return {"pair": "a to b", "target": "b", "rows": rows, "floors": floors}


def test_a_planted_shift_is_won():
    moved, plain = planted(shift=True)
    record = record_of(moved, plain, np.ones_like(plain))
    judge_all([record])
    assert record["rows"]["coral"]["word"] == "helped"
    assert "Helped: coral (+" in sentence([record], None, "accuracy")
    share = closed_share([moved, plain, np.ones_like(plain)], None, None)
    assert 0 < share["low"] < share["mean"] < share["high"] < 1


def test_without_a_shift_nothing_is_told():
    moved, plain = planted(shift=False)
    record = record_of(moved, plain, plain)
    judge_all([record])
    more = record["rows"]["coral"]["difference"]
    assert more["low"] <= 0 <= more["high"]
    assert record["rows"]["coral"]["word"] in ("cannot tell", "alike")


def test_with_shuffled_labels_no_method_is_called_helpful():
    for shift in (True, False):
        moved, plain = planted(shift=shift, shuffled=True)
        record = record_of(moved, plain, np.ones_like(plain))
        judge_all([record])
        assert record["rows"]["coral"]["word"] != "helped"
    rows = record_of(plain + 0.2, np.full_like(plain, 0.5), plain)["rows"]
    said = warnings_of(rows, {"majority": 0.5, "bag_of_words": 0.7})
    assert "source-only is not above always one answer" in said[0] and "A bag of words" in said[1]
    record = record_of(np.ones_like(plain), np.tile([[1.0], [0.0]], (5, 400, 1)), plain)
    judge_all([record])  # a method that wins over nothing
    assert record["rows"]["coral"]["word"] == "cannot tell"


def test_the_share_of_the_gap_by_hand():
    """Half of what is wrong is put right, in each seed and example alike."""
    rng = np.random.default_rng(0)
    source = (rng.random((3, 200, 1)) < 0.6).astype(float)
    target = np.ones_like(source)
    found = closed_share([(source + target) / 2, source, target], None, None)
    assert found["mean"] == pytest.approx(0.5) and found["low"] <= 0.5 <= found["high"]
    assert closed_share([source, source, source], None, None) is None
    noise = source[:, rng.permutation(200)]
    assert closed_share([noise, source, source[:, ::-1]], None, None) is None  # no end


def test_a_discriminator_at_chance_is_told():
    record = record_of(*(np.ones((3, 50, 1)) for _ in range(3)))
    record["rows"]["coral"] |= {"domain_accuracy": [0.51, 0.5], "judged": 300}
    said = warnings_of(record["rows"], record["floors"])
    assert "the discriminator was at chance from the first epoch on (51 % right)" in said[0]
    record["rows"]["coral"] |= {"domain_accuracy": [0.55, 0.09, 0.35]}
    (said,) = warnings_of(record["rows"], record["floors"])
    assert (
        "more often wrong than right (9 % right in one epoch)" in said and "lower --weights" in said
    )
    record["rows"]["coral"] |= {"domain_accuracy": [0.9, 0.45], "before_training": 2}
    (said,) = warnings_of(record["rows"], record["floors"])
    assert "coral: in 2 of 3 runs source validation kept the model as it was before" in said
    assert "so its head is fitted on the checkpoint's own states. With --head random" in said
    record["rows"]["dann"] = record["rows"].pop("coral")
    (said,) = warnings_of(record["rows"], record["floors"])
    assert "dann: in 2 of 3 runs" in said and "so nothing that training adapted is in" in said
    assert "of the predicted labels only" in left_by("self-training")
    assert left_by("dapt") == left_by("tapt") and "further pretraining" in left_by("tapt")
    record["rows"]["dann"]["before_training"] = 0
    assert not warnings_of(record["rows"], record["floors"])


def study_of(pair):
    """A study of one pair, whose gap is too unsure for shares of it."""
    pair |= {
        **{"pair": "dom_films to dom_books", "n": dict.fromkeys(("train", "validation"), 40)},
        **{"distance_before": 1.2, "tried": {}, "warnings": ["A bag of words scores more."]},
        **{"gap": {"mean": 0.1, "low": -0.1, "high": 0.3, "shown": False}},
    }
    pair["n"] |= {"target": 400, "test": 100}
    judge_all([pair])
    return {
        **{"pairs": [pair], "overall": None, "metric": "accuracy", "model": "bundled/bert"},
        **{"mode": "head-only", "seeds": [0, 1, 2, 3, 4], "test": "t", "versions": {"nlptl": "1"}},
        **{"selection": {"weight": None}, "sentence": sentence([pair], None, "accuracy")},
    }


def test_the_terminal_has_a_table_of_80_columns_and_the_file_markdown(tmp_path):
    moved, plain = planted(shift=True)
    record = study_of(record_of(moved, plain, np.ones_like(plain)))
    shown = write_adaptation(record, tmp_path)
    assert max(map(len, shown.splitlines())) <= 80
    assert not set("|*\\") & set(shown) and "dom_films to dom_books: 40 + 40 labels of" in shown
    assert re.search(r"^source-only +[\d.]+ +— +bound$", shown, re.M)
    assert re.search(r"^coral +[\d.]+ +\+[\d.]+ \[\+[\d.]+ to \+[\d.]+\] +helped$", shown, re.M)
    assert "\nnote: A bag of words scores more.\n" in shown
    assert " ".join(shown.split()).endswith(record["sentence"])
    assert " ".join(shown.split()).count(record["sentence"]) == 1
    assert "|---|---:|" in (tmp_path / "adapt.md").read_text()


def test_several_pairs_have_a_table_each(tmp_path):
    moved, plain = planted(shift=True)
    record = study_of(record_of(moved, plain, np.ones_like(plain)))
    (pair,) = record["pairs"]
    rows = {name: one | {"words": {"cannot tell": 2}} for name, one in pair["rows"].items()}
    record |= {"pairs": [pair, pair], "overall": {"rows": rows, "pairs": 2}}
    shown = write_adaptation(record, tmp_path)
    assert max(map(len, shown.splitlines())) <= 80 and "All pairs:\n\n" in shown
    assert len(re.findall("^coral .* helped$", shown, re.M)) == 3


def test_the_verdict_stands_beside_the_difference_and_empty_columns_are_left_out():
    moved, plain = planted(shift=True)
    record = study_of(record_of(moved, plain, np.ones_like(plain)))
    titles = re.compile(r'<th scope="col">(.*?)</th>')

    def columns():
        return [re.sub("<.*?>", "", one) for one in titles.findall(page(record, "<svg/>"))]

    found = columns()
    assert found[1:4] == ["score", "against source-only", "verdict"]
    assert "share of the gap" not in found and "source forgotten" not in found
    record["pairs"][0]["rows"]["coral"]["share"] = {"mean": 0.5, "low": 0.4, "high": 0.6}
    assert "share of the gap" in columns()


# ---- data
CONFIG = with_options(GridConfig, AdaptOptions)


def config_of(*words):
    return parse_args(CONFIG, [str(word) for word in words])


def domain_rows(count, seed, extra):
    texts, labels = [], []
    for number, text in enumerate(sentences(count, seed)):
        words = [word for word in text.split() if word not in ("good", "bad")]
        texts.append(" ".join([("bad", "good")[number % 2], *words, extra]))
        labels.append(("no", "yes")[number % 2])
    return {"text": texts, "label": labels}


@pytest.fixture(scope="module")
def two_domains(tmp_path_factory):
    """One csv with a column of the domain: films and kettles."""
    path = tmp_path_factory.mktemp("domains") / "all.csv"
    lines = ["text,label,domain"]
    for name, seed in (("films", 1), ("kettles", 2)):
        made = domain_rows(60, seed, "film" if name == "films" else "kettle")
        lines += [f"{t},{y},{name}" for t, y in zip(made["text"], made["label"], strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_domains_come_from_a_column_or_from_files(two_domains, tmp_path):
    found = read_domains(
        config_of("--dataset", two_domains, "--source", "films", "--target", "kettles")
    )
    assert {name: len(one.splits["train"]) for name, one in found.items()} == {
        "films": 42,
        "kettles": 42,
    }
    assert all("film" in text for text in found["films"].splits["test"]["text"])
    for name in ("a", "b"):
        made = domain_rows(40, 3, name)
        rows = [json.dumps({"text": t, "label": y}) for t, y in zip(*made.values(), strict=True)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    paths = [str(tmp_path / f"{name}.jsonl") for name in ("a", "b")]
    found = read_domains(config_of("--source", paths[0], "--target", paths[1]))
    assert [one.name for one in found.values()] == ["a", "b"]
    with pytest.raises(
        DataError, match=r"No row of the training set has 'film'.*Did you mean 'films'"
    ):
        read_domains(config_of("--dataset", two_domains, "--source", "film", "--target", "kettles"))


def test_the_usual_domains_and_pairs():
    assert pairs(config_of()) == [(("films", "books"), "kitchen")]
    assert len(pairs(config_of("--all-pairs"))) == 6
    asked = config_of("--source", "a", "b", "--target", "c", "--all-pairs")
    assert [target for _, target in pairs(asked)].count("c") == 2 and len(pairs(asked)) == 6
    assert short_names(["films"]) == {"films": "films"}
    for words, message in (
        (("--source", "a"), "--target is missing"),
        (("--target", "a"), "--source is missing"),
        (("--dataset", "some.csv"), "(?s)--source is missing.*--target is missing"),
        (("--source", "a", "--target", "a"), "is one of --source"),
        (("--source", "tests", "--target", "./tests/"), "is one of --source"),
        (("--source", "a", "--all-pairs"), "two domains or more"),
    ):
        with pytest.raises(UserError, match=message):
            pairs(config_of(*words))
    twice = config_of("--source", "tests", "./tests/", "b", "--target", "c")
    assert pairs(twice) == [(("tests", "b"), "c")]


def test_mistakes_about_domains_name_the_flag_that_was_typed(two_domains, tmp_path):
    missing = (str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    with pytest.raises(UserError) as found:
        read_domains(config_of("--source", missing[0], "--target", missing[1]))
    assert f"a: --source {missing[0]}: there is no such file" in str(found.value)
    assert f"b: --target {missing[1]}: there is no such file" in str(found.value)
    rows = tmp_path / "few.csv"
    rows.write_text("text,label,domain\ngood,yes,a\nbad,no,a\nfine,yes,b\n")
    with pytest.raises(UserError) as found:
        read_domains(config_of("--dataset", rows, "--source", "a", "--target", "b"))
    for name in ("a", "b"):
        assert f"{name}, looked for in --dataset {rows}: " in str(found.value)
    asked = ("--dataset", two_domains, "--source", "films", "--target", "kettles")
    assert read_domains(config_of(*asked, "--target-labels", "42"))
    with pytest.raises(
        UserError, match="--target-labels 43: the training set of kettles has 42 labels"
    ):
        read_domains(config_of(*asked, "--target-labels", "43"))


@pytest.mark.parametrize("asked", [(), ("--label-column", "mood")])
def test_a_target_without_labels_is_told_what_they_are_for(tmp_path, asked):
    column = asked[1] if asked else "label"
    made = domain_rows(60, 1, "film")
    lines = [f"{t},{y}" for t, y in zip(made["text"], made["label"], strict=True)]
    (tmp_path / "films.csv").write_text("\n".join([f"text,{column}", *lines]) + "\n")
    (tmp_path / "kettles.csv").write_text("\n".join(["text", *sentences(60, 2)]) + "\n")
    words = ("--source", tmp_path / "films.csv", "--target", tmp_path / "kettles.csv", *asked)
    with pytest.raises(DataError) as found:
        read_domains(config_of(*words))
    said = str(found.value)
    assert said.startswith("kettles: --target") and "has no column of labels" in said
    assert "needs labels for its test set, which are read when a finished model is scored" in said
    assert "to --target-text" in said and "Say which with" not in said
    with pytest.raises(DataError) as found:  # of a source there is nothing else to say
        read_domains(config_of("--source", words[3], "--target", words[1], *asked))
    assert "--target-text" not in str(found.value)


def test_what_cannot_be_had_is_said_before_the_work(checkpoints, masked_lm_checkpoint):
    with pytest.raises(UserError) as found:
        check_methods(
            config_of(
                *("--model", checkpoints["bert"], "--mode", "head-only", "--weights", "-1"),
                *("--methods", "corall", "dann", "udalm", "easyadapt", "--target-text", "no.txt"),
            )
        )
    for part in (
        "there is no such method. Did you mean 'coral'?",
        "easyadapt needs labels of the target: give --target-labels N",
        "--weights -1: expected numbers of 0 or more",
        "dann, udalm change the states of the blocks, and none trains",
        "--target-text no.txt: there is no file or folder no.txt",
        "--methods udalm: expected a checkpoint with a masked-LM head",
    ):
        assert part in str(found.value)
    good = ("--model", masked_lm_checkpoint, "--methods", "dann", "udalm", "--mode", "lora")
    check_methods(config_of(*good, "--weights", "0.1", "--mix", "0.3"))
    with pytest.raises(UserError) as found:
        check_methods(config_of("--methods", "coral", "--weights", "3", "--rounds", "5"))
    assert "--weights 3: only deep-coral, mmd, dann read it" in str(found.value)
    assert "--rounds 5: only self-training reads it, and it is not run here" in str(found.value)
    with pytest.raises(UserError, match="it is an encoder-decoder"):
        check_methods(config_of("--model", checkpoints["t5"], "--methods", "dapt"))


# ---- runs
@pytest.fixture(scope="module")
def splits(two_domains):
    found = read_domains(
        config_of("--dataset", two_domains, "--source", "films", "--target", "kettles")
    )
    return pair_splits([found["films"]], found["kettles"], ["a kettle", "the kettle was slow"])


def run(name, splits, checkpoint, *, mode="full", home=None, view=None, **settings):
    head = "fit" if mode == "head-only" else "random"
    args = FinetuneArgs(
        str(checkpoint), parse_mode(mode), 2e-3, epochs=2.0, batch_size=12, head=head
    )
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    seen = view if view is not None else view_of(name, splits)
    method = Adapt(name, **settings)
    return method(TASK, seen, args, accelerator=accelerator, home=home)


def view_of(name, splits, labels=8):
    config = replace(config_of(), target_labels=labels)
    return seen_by(name, config)(TASK, splits, 0)


def weights(made):
    return {name: p.detach() for name, p in made.model.named_parameters()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_first_lines_name_the_model_how_it_trains_and_what_chooses_a_weight(
    splits, monkeypatch, capsys
):
    """They come before any run, and count the runs that choose: 2 weights of mmd and 2 of dann."""
    args = FinetuneArgs("bundled/bert", parse_mode("full"), 3e-4, 2.0, batch_size=8)
    monkeypatch.setattr(Study, "run_one", None)
    words = ("--methods", "coral", "mmd", "dann", "--weights", 0.5, 1, "--batch-size", 8)
    words += ("--max-train-examples", 20)
    with pytest.raises(TypeError):  # the first run
        run_pair(config_of(*words, "--seeds", 2), TASK, splits, lambda examples, task: args)
    shown = " ".join(capsys.readouterr().out.split())
    assert "model bundled/bert (bert, 12 blocks, width 128; a demonstration model)" in shown
    assert "train mode full*, 2 epochs*, rate 0.0003*, batch 8 (* default)" in shown
    assert "for the bounds each seed draws 20 labels, to train on and to choose by" in shown
    assert "weights 2 of mmd, 2 of dann: 4 runs with seed 0 before all others" in shown
    assert "the one that is chosen counts among the 10 below" in shown
    assert "runs 5 arms x 2 seeds = 10: source-only, coral, mmd, dann, target-only;" in shown


@pytest.fixture(scope="module")
def source_only(splits, masked_lm_checkpoint):
    return run(SOURCE, splits, masked_lm_checkpoint)


def test_the_lower_bound_is_plain_fine_tuning(splits, masked_lm_checkpoint, source_only):
    seen = view_of(SOURCE, splits)
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    plain = finetune(TASK, seen, source_only.args, accelerator=accelerator)
    assert same(weights(plain), weights(source_only))
    assert plain.predictions == source_only.predictions


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("udalm", {"mix": 0.0}),
        ("self-training", {"threshold": 1.01}),
        pytest.param("dann", {"weight": 0.0}, marks=pytest.mark.slow),
    ],
)
def test_a_switched_off_method_is_the_lower_bound(
    splits, masked_lm_checkpoint, source_only, name, settings
):
    found = run(name, splits, masked_lm_checkpoint, **settings)
    assert same(weights(found), weights(source_only))
    assert found.predictions == source_only.predictions


METHODS = {
    "coral": {},
    "easyadapt": {},
    "importance-weighting": {},
    "deep-coral": {"weight": 10.0},
    "dann": {"weight": 1.0},
    "self-training": {"threshold": 0.5},
    "udalm": {"mix": 0.5},
}


USUAL = ("coral", "dann")


@pytest.mark.parametrize(
    "name", [*USUAL, *(pytest.param(n, marks=pytest.mark.slow) for n in METHODS if n not in USUAL)]
)
def test_a_method_reads_no_label_of_the_target(splits, masked_lm_checkpoint, source_only, name):
    """Other test labels give the same answers, and the test set is not even looked at before the end."""
    mode = "full" if name in ("dann", "udalm", "deep-coral") else "head-only"
    seen = dict(view_of(name, splits))
    test = seen["test"]
    wrong = ["yes" if one == "no" else "no" for one in test["label"][:]]
    first = run(name, splits, masked_lm_checkpoint, mode=mode, view=seen, **METHODS[name])
    seen["test"] = test.remove_columns("label").add_column("label", wrong)
    again = run(name, splits, masked_lm_checkpoint, mode=mode, view=Spy(seen), **METHODS[name])
    answers = [[one["scores"] for one in found.predictions] for found in (first, again)]
    assert answers[0] == answers[1]
    assert first.metrics["accuracy"] + again.metrics["accuracy"] == pytest.approx(1)
    assert "label" not in seen["target"].column_names and "target_train" not in seen
    if mode == "full":
        assert not same(weights(first), weights(source_only))
    found = first.measured
    assert len(found["source"]) == len(splits["source_test"])
    assert 0 <= found["proxy_a_distance"] <= 2 and 0 <= found["reverse"] <= 1
    assert name != "self-training" or found["pseudo_labels"][0] > 0
    assert len(found.get("domain_accuracy", [])) == (2 if name == "dann" else 0)


class Spy(dict):
    """Splits whose test set may be taken once: when it is scored."""

    def __getitem__(self, name):
        if name == "test":
            caller = sys._getframe(1).f_code.co_name
            assert caller in ("finished", "_check_batch"), f"{caller} reads the test set"
        return super().__getitem__(name)

    def items(self):
        return [(name, Closed() if name == "test" else table) for name, table in super().items()]


class Closed:
    """A table of which only the size is known."""

    def __len__(self):
        return 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dapt", "tapt"])
def test_pretraining_goes_on_before_the_fine_tuning(
    splits, masked_lm_checkpoint, source_only, name, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = run(name, splits, masked_lm_checkpoint, lm_epochs=2.0)
    assert not list(tmp_path.glob("nlptl_adapt_*"))
    assert not same(weights(found), weights(source_only))
    assert found.measured["lm_before"] > 0 and found.measured["lm_after"] > 0
    home = run(name, splits, masked_lm_checkpoint, lm_epochs=2.0, home=tmp_path)
    assert same(weights(found), weights(home)) and (tmp_path / "lm" / "done.json").exists()
    again = run(name, splits, masked_lm_checkpoint, lm_epochs=2.0, home=tmp_path)
    assert same(weights(found), weights(again))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dann", "udalm", "self-training"])
def test_killed_and_resumed_is_unbroken(splits, masked_lm_checkpoint, name, tmp_path, monkeypatch):
    from nlptl.train import learner as home

    settings = METHODS[name]
    mode = "head-only" if name == "self-training" else "full"
    whole = run(name, splits, masked_lm_checkpoint, mode=mode, home=tmp_path / "a", **settings)
    if (
        name == "self-training"
    ):  # killed in its second round, which then is the first thing that runs
        file = tmp_path / "b" / "round-0" / "labels.json"
        file.parent.mkdir(parents=True)
        file.write_text((tmp_path / "a" / "round-0" / "labels.json").read_text())
    else:
        bar = home.ProgressBar
        monkeypatch.setattr(home, "ProgressBar", lambda *_: KillAt(6))
        with pytest.raises(Killed):
            run(name, splits, masked_lm_checkpoint, mode=mode, home=tmp_path / "b", **settings)
        monkeypatch.setattr(home, "ProgressBar", bar)
        assert list((tmp_path / "b").glob("checkpoints/step-*"))
    again = run(name, splits, masked_lm_checkpoint, mode=mode, home=tmp_path / "b", **settings)
    assert same(weights(whole), weights(again)) and whole.predictions == again.predictions
    assert whole.measured == again.measured


TWO = """
import sys
sys.path[:0] = sys.argv[3:5]
import torch
import torch.distributed as dist
from test_adapt import Adapt, FinetuneArgs, TASK, domain_rows, parse_mode, start_accelerator, view_of
from datasets import Dataset
from nlptl.methods.adapt.domains import numbered

def table(seed, extra, number):
    return numbered(Dataset.from_dict(domain_rows(24, seed, extra)), number)

source, other = table(1, "film", 0), table(2, "kettle", 1)
splits = {"train": source, "validation": table(3, "film", 0), "source_test": table(4, "film", 0),
          "test": table(5, "kettle", 1), "target": other.select_columns(["text"])}
args = FinetuneArgs(sys.argv[1], parse_mode("full"), 2e-3, epochs=2.0, batch_size=8, head="random")
accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
run = Adapt(sys.argv[2])(TASK, splits, args, accelerator=accelerator)
total = sum(p.detach().double().sum() for p in run.model.parameters())
gathered = [torch.zeros_like(total) for _ in range(dist.get_world_size())]
dist.all_gather(gathered, total)
if dist.get_rank() == 0:
    print("SAME", torch.equal(*gathered), len(run.predictions), flush=True)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dann", "udalm", "coral"])
def test_two_processes_end_alike(masked_lm_checkpoint, tmp_path, name):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    here = Path(__file__).parent
    done = command(
        *("-m", "torch.distributed.run", "--nproc_per_node", 2, script),
        *(masked_lm_checkpoint, name, here, here.parent),
    )
    assert "SAME True 24" in done.stdout, done.stdout + done.stderr


# ---- the whole
def test_keys_differ_by_what_a_method_computes():
    every = [Adapt(SOURCE), Adapt("dann"), Adapt("dann", weight=0.5), Adapt("mmd"), Adapt("coral")]
    assert len({one.identity() for one in every}) == 5
    assert Adapt("coral", weight=3.0).identity() == Adapt("coral").identity()  # it has no weight


@pytest.mark.slow
def test_the_recipe_writes_table_picture_and_page(
    two_domains, masked_lm_checkpoint, tmp_path, monkeypatch, capsys
):
    import importlib.util

    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("recipe_adapt", root / "recipes/adapt.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    words = [
        *("--model", masked_lm_checkpoint, "--dataset", two_domains, "--source", "films"),
        *("--target", "kettles", "--methods", "coral", "easyadapt", "mmd", "all"),
        *("--target-labels", 8, "--mode", "freeze-lower-1", "--epochs", 1, "--batch-size", 12),
        *("--seeds", 2, "--head", "random", "--weights", "0.5", "1", "--select", "reverse"),
        *("--save", "easyadapt", "--output-dir", tmp_path / "out"),
    ]
    recipe.main(config_of(*words))
    record = json.loads((tmp_path / "out/adapt.json").read_text())
    assert list(record["pairs"][0]["rows"]) == [
        *(SOURCE, FEW, "source-and-few", "coral", "easyadapt", "mmd", TARGET, ALL)
    ]
    assert set(record["pairs"][0]["tried"]["mmd"]) == {"0.5", "1.0"}
    assert record["selection"] == {"epoch": "source validation", "weight": "reverse"}
    assert record["sentence"] in " ".join(capsys.readouterr().out.split())
    text = (tmp_path / "out/adapt.html").read_text()
    assert "Between the bounds" in text and "http://" not in text.replace("http://www.w3.org", "")
    assert {p.suffix for p in (tmp_path / "out").iterdir()} >= {".md", ".png", ".svg", ".html"}
    saved = json.loads((tmp_path / "out/run/result.json").read_text())
    assert saved["reload_difference"] < 1e-5 and saved["method"] == "easyadapt"
    monkeypatch.setattr(Adapt, "__call__", None)  # a finished run is never made again
    recipe.main(config_of(*words))
    again = json.loads((tmp_path / "out/adapt.json").read_text())
    for name, one in record["pairs"][0]["rows"].items():
        found = again["pairs"][0]["rows"][name] | {"seconds": one["seconds"]}  # --save ran it again
        assert found == one
    assert again["sentence"] == record["sentence"]
