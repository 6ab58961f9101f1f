"""The report's controls: what transfers is called positive; what harms, or does nothing, never is.

The task: a text's class is that of its cue, a made-up word. Training and validation texts show a quarter of
the cues and test texts all, each once, so that only a start that knows the others' classes does well.
Runs that give one answer agree about everything, so each test first makes sure that its runs learnt.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import WORDS, sentences
from transformers import AutoModel, BertTokenizer

from nlptl.models.adapters import unwrap_peft
from nlptl.models.loading import load_tokenizer, save_pretrained
from nlptl.modes.base import parse_mode
from nlptl.pretrain.architecture import new_config, new_model, save_untrained
from nlptl.report.report import Finished, score_transfer
from nlptl.study.arms import Arm, ArmSpec
from nlptl.study.study import Study
from nlptl.tasks.classification import TextClassification
from nlptl.train.finetune import finetune
from nlptl.train.setup import FinetuneArgs, start_accelerator

TASK = TextClassification(("no", "yes"))
CUES = [first + second for first in "bdfghjklmnprstvz" for second in "aeiouy"]
SHOWN = CUES[::4]
HIDDEN = [cue for cue in CUES if cue not in SHOWN]


def rows(cues, count, seed, *, flipped=(), shuffled=False):
    """As many texts of each cue, and half of them of each class."""
    draw = random.Random(seed)
    texts, labels = [], []
    for number in range(count):
        cue = cues[number % len(cues)]
        words = [cue, *draw.choices(WORDS, k=draw.randint(1, 2))]
        draw.shuffle(words)
        texts.append(" ".join(words))
        labels.append(TASK.labels[CUES.index(cue) // 4 % 2 ^ (cue in flipped)])
    if shuffled:
        draw.shuffle(labels)
    return Dataset.from_dict({"text": texts, "label": labels})


@pytest.fixture(scope="module")
def splits():
    return {
        "train": rows(SHOWN, 72, 1),
        "validation": rows(SHOWN, 24, 2),
        "test": rows(CUES, 96, 3),
    }


def settings(model, mode="full", **changes):
    """By default at the rate of the scratch arm, full's own at a width of 32."""
    given = {"learning_rate": 7.2e-4, "epochs": 30, "batch_size": 8, "head": "random", **changes}
    return FinetuneArgs(model=str(model), mode=parse_mode(mode), **given)


@pytest.fixture(scope="module")
def starts(tmp_path_factory) -> dict[str, Path]:
    """Checkpoints of one architecture.

    ``cues`` was trained on the class of every cue; ``flipped`` too, with the labels of those flipped that the
    downstream training texts do not show (flipping all harms nothing: the new head names the classes the other
    way round); ``permuted`` is ``cues`` with the entries permuted inside each tensor; ``random`` is untrained.
    """
    folder = tmp_path_factory.mktemp("starts")
    found = {name: folder / name for name in ("cues", "flipped", "permuted", "random")}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # Written down: a vocabulary that is trained anew may order its entries differently each time.
    words = {word: i for i, word in enumerate([*special, *CUES, *map(str.lower, WORDS)])}
    tokenizer = BertTokenizer(vocab=words, do_lower_case=True, model_max_length=32)
    config = new_config("bert", tokenizer=tokenizer, depth=2, width=32, positions=32)
    torch.manual_seed(0)
    save_pretrained(new_model(config), tokenizer, folder / "new")
    upstream = settings(folder / "new", learning_rate=3e-3, epochs=6, batch_size=16)
    for name, flipped in (("cues", ()), ("flipped", HIDDEN)):
        counts = {"train": 576, "validation": 96, "test": 96}
        data = {s: rows(CUES, n, 4 + i, flipped=flipped) for i, (s, n) in enumerate(counts.items())}
        accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
        run = finetune(TASK, data, upstream, accelerator=accelerator)
        assert run.metrics["accuracy"] == 1
        save_pretrained(unwrap_peft(run.model).base_model, tokenizer, found[name])
    model = AutoModel.from_pretrained(found["cues"])
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(tensor.flatten()[torch.randperm(tensor.numel())].view_as(tensor))
    save_pretrained(model, load_tokenizer(str(found["cues"])), found["permuted"])
    save_untrained(str(found["cues"]), found["random"], seed=5)
    return found


@dataclass
class Scored:
    """A report and the two arms it was made from."""

    record: Any
    pre: Arm
    scratch: Arm

    @property
    def verdict(self) -> str:
        return self.record["negative"]["verdict"]


def scored(splits, own, **changes) -> Scored:
    """The quick report, with its arms kept aside; fails if a run of them did not learn."""
    found, real = {}, Study.run

    def run(study, **named):
        found.update(real(study, **named))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "run", run)
        report = score_transfer(TASK, splits, own, tier="quick", **changes)
    for arm in found.values():
        assert_learnt(arm, splits["test"])
    return Scored(report.record, found["pre"], found["scratch"])


def assert_learnt(arm, test):
    """Every run knows most of what it was shown, and gives both answers."""
    yes = np.asarray(test["label"]) == "yes"
    for outcome in arm.outcomes:
        assert outcome.chosen >= 0.75
        assert 0.1 < (yes == np.asarray(outcome.statistics, bool)[:, 0]).mean() < 0.9


@pytest.fixture(scope="module")
def helpful(starts, splits):
    return scored(splits, settings(starts["cues"], epochs=20))


def test_a_checkpoint_that_knows_the_cues_is_positive(helpful):
    """Scratch can know the quarter that it is shown, so about 0.25 + 0.75 / 2 at best."""
    down = helpful.record["downstream"]
    assert down["pre"]["mean"] > 0.95 and 0.51 < down["scratch"]["mean"] < 0.75
    assert helpful.verdict == "positive"
    assert helpful.record["gain"]["ci95"][0] > 0.1
    assert helpful.record["negative"]["sentence"].startswith("Pretraining helped: ")
    # No trained model was given: the report looks into that of its own first run.
    assert helpful.record["shift"]["missing"] is None and min(helpful.record["shift"]["cka"]) < 1
    assert helpful.record["upstream"]["objective"] == "sentence-similarity"


@pytest.mark.slow
def test_swapped_arms_flip_its_sign_and_its_verdict(helpful, starts, splits, monkeypatch):
    arms = {"pre": helpful.scratch, "scratch": helpful.pre}
    monkeypatch.setattr(Study, "run", lambda *_, **__: arms)
    one, two = helpful.record, scored(splits, settings(starts["cues"])).record
    assert two["negative"]["verdict"] == "negative (material)"
    assert two["negative"]["sentence"].startswith("Pretraining hurt: ")
    assert two["gain"]["abs"] == -one["gain"]["abs"] != 0
    assert two["gain"]["ci95"] == pytest.approx([-end for end in reversed(one["gain"]["ci95"])])
    assert two["gain"]["p_two_sided"] == one["gain"]["p_two_sided"]
    assert two["negative"]["ntg"] == -one["negative"]["ntg"]
    assert two["negative"]["p_harm"] == pytest.approx(1 - one["negative"]["p_harm"])
    for name, other in (("pre", "scratch"), ("scratch", "pre")):
        assert two["downstream"][name]["scores"] == one["downstream"][other]["scores"]


@pytest.mark.slow
def test_permuted_entries_leave_nothing_that_transfers(starts, splits):
    """The weights keep their scale, not what they learnt."""
    found = scored(splits, settings(starts["permuted"]))
    assert found.verdict != "positive"
    assert found.record["downstream"]["pre"]["mean"] < 0.75


def test_wrong_labels_upstream_harm(starts, splits):
    """What it was shown downstream it knows, and the other three quarters are wrong."""
    found = scored(splits, settings(starts["flipped"], "head-only", epochs=20))
    assert found.record["downstream"]["pre"]["mean"] < 0.35
    assert found.verdict == "negative (material)"


@pytest.mark.slow
def test_an_untrained_checkpoint_gains_nothing(starts, splits):
    found = scored(splits, settings(starts["random"]))
    low, high = found.record["gain"]["ci95"]
    assert low <= 0 <= high and abs(found.record["gain"]["abs"]) < 0.1
    assert found.verdict != "positive"
    assert not (
        found.pre.statistics == found.scratch.statistics
    ).all()  # other weights than scratch's


@pytest.mark.slow
def test_shuffled_labels_leave_every_arm_at_the_floor(starts):
    """Runs keep the epoch that fits their training texts best: validation texts are the same.

    384 shuffled answers are right by chance 192 times, give or take 32 (99.9 %).
    """
    train = rows(SHOWN, 24, 1, shuffled=True)
    noise = {"train": train, "validation": train, "test": rows(CUES, 384, 3, shuffled=True)}
    found = scored(noise, settings(starts["cues"], learning_rate=3e-3, batch_size=6))
    means = {k: arm["mean"] for k, arm in found.record["downstream"].items() if not arm["missing"]}
    assert {*("pre", "scratch", "probe", "random_probe", "bow", "majority")} == set(means)
    assert max(abs(mean - 0.5) for mean in means.values()) < 32 / 384
    assert found.verdict not in ("positive", "negative", "negative (material)")
    assert not [w for w in found.record["warnings"] if "only large differences" in w]


def test_few_test_examples_are_warned_of(helpful):
    assert "96 test examples tell only large differences." in helpful.record["warnings"]


@pytest.mark.slow
def test_cached_and_uncached_give_the_same_report(starts, splits, helpful, finetunings):
    """All but what it cost; the scratch arm has no frozen blocks and is the same for both."""
    found, shares = [], []
    for cache in ("off", "memory"):
        own = settings(starts["cues"], "freeze-lower-1", cache=cache)
        finetunings.clear()
        arm = Study(TASK, splits, {"one": ArmSpec(own)}, (0, 1, 2), keep=False).run()["one"]
        assert [bool(run.cache) for run in finetunings] == [cache == "memory"] * 3
        shares.append([[row["scores"]["yes"] for row in run.predictions] for run in finetunings])
        body = unwrap_peft(finetunings[0].model)
        known = Finished(arm.outcomes, body)
        texts = sentences(40, seed=8)
        found.append(scored(splits, own, finished=known, upstream_texts=texts))
    one, two = found
    assert np.ptp(shares[0]) > 0.9
    np.testing.assert_allclose(shares[1], shares[0], atol=1e-4)
    assert (one.pre.statistics == two.pre.statistics).all()
    assert one.pre.validation == two.pre.validation
    assert one.record["shift"]["cka"][-1] < 1 and one.record["upstream"]["forgetting"] != 0
    costs = [{**entry.record.pop("compute_eff"), **entry.record.pop("cost")} for entry in found]
    assert costs[0]["target_score"] == costs[1]["target_score"]
    assert costs[0]["cache_bytes"] == 0 < costs[1]["cache_bytes"]
    assert costs[1]["flops_pre"] < costs[0]["flops_pre"]
    for entry in found:
        del entry.record["id"]["created"]
    left, right = flat(one.record), flat(two.record)
    assert left.keys() == right.keys()
    for key, value in left.items():
        close = isinstance(value, float)
        assert right[key] == (pytest.approx(value, rel=1e-4, abs=1e-6) if close else value), key


def flat(part, where="") -> dict[str, Any]:
    """A record's single values by their path."""
    inner = part.items() if isinstance(part, dict) else enumerate(part)
    found = {}
    for name, value in inner:
        key = f"{where}/{name}"
        found.update(flat(value, key) if isinstance(value, dict | list) else {key: value})
    return found
