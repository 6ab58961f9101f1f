"""The report's invariants, on tiny models: what must be 0, 1 or equal is so exactly.

What it says of checkpoints that help, harm or do nothing is in ``test_controls.py``.
"""

import pytest
from datasets import Dataset
from jsonschema import Draft202012Validator
from rare import RareWord
from sklearn.metrics import matthews_corrcoef
from tiny import sentences

from nlptl.data.encoding import splits_hash
from nlptl.models import identity
from nlptl.models.adapters import unwrap_peft
from nlptl.models.loading import load_tokenizer
from nlptl.modes.base import parse_mode
from nlptl.report.report import Finished, score_transfer
from nlptl.study import outcomes
from nlptl.study.arms import ArmSpec, scratch_spec
from nlptl.study.study import Study
from nlptl.tasks.classification import TextClassification
from nlptl.train.bag_of_words import bag_of_words
from nlptl.train.finetune import finetune
from nlptl.train.setup import FinetuneArgs, start_accelerator

TASK = TextClassification(("no", "yes"))
TEXTS = sentences(40, seed=8)


def rows(count, seed):
    texts = [t for t in sentences(6 * count, seed) if ("good" in t) != ("bad" in t)][:count]
    return Dataset.from_dict(
        {"text": texts, "label": ["yes" if "good" in t else "no" for t in texts]}
    )


@pytest.fixture(scope="module")
def splits():
    return {"train": rows(48, 1), "validation": rows(20, 2), "test": rows(40, 3)}


def settings(model, mode, **changes):
    given = {"learning_rate": 2e-3, "epochs": 2, "batch_size": 12, "head": "random", **changes}
    return FinetuneArgs(model=str(model), mode=parse_mode(mode), **given)


def report(model, mode, splits, **changes):
    own = settings(model, mode)
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=own.seed)
    body = unwrap_peft(finetune(TASK, splits, own, accelerator=accelerator).model)
    return score_transfer(
        TASK,
        splits,
        own,
        tier="quick",
        finished=Finished(model=body),
        upstream_texts=TEXTS,
        **changes,
    )


@pytest.fixture(scope="module")
def head_only(masked_lm_checkpoint, splits):
    return report(masked_lm_checkpoint, "head-only", splits, curve=True).record


def test_head_only_forgets_nothing_and_shifts_nothing(head_only):
    assert head_only["upstream"]["forgetting"] == 0
    assert head_only["shift"]["cka"] == [1.0] * 4
    assert head_only["shift"]["rel_weight_change"] == [0.0] * 4


def test_arms_and_their_numbers_agree(head_only):
    down, gain = head_only["downstream"], head_only["gain"]
    assert set(down) == {
        *("pre", "scratch", "probe", "random_probe", "zero_shot", "bow", "majority")
    }
    assert down["pre"]["seeds"] == down["scratch"]["seeds"] == [0, 1, 2]
    assert gain["abs"] == pytest.approx(down["pre"]["mean"] - down["scratch"]["mean"])
    assert head_only["negative"]["ntg"] == -gain["abs"]
    assert gain["vs_bow"]["abs"] == pytest.approx(down["pre"]["mean"] - down["bow"]["mean"])
    assert down["majority"]["mean"] >= 0.45 and down["bow"]["mean"] > 0.85  # 'good' or 'bad'
    assert len(head_only["shift"]["probe_curve"]) == 4
    assert head_only["curve"]["n"] == [32, 48]
    assert head_only["curve"]["pre"][-1] == down["pre"]["scores"]
    assert head_only["negative"]["provisional"] is True
    pieces = head_only["upstream"]["sequences"]
    assert {
        "3 seeds: the verdict is provisional; --report standard takes six.",
        "40 test examples tell only large differences.",
        f"Forgetting is measured on {pieces} pieces of text; 2,000 or more give a narrower interval.",
    } <= set(head_only["warnings"])


def test_frozen_blocks_keep_their_states(masked_lm_checkpoint, splits):
    found = report(masked_lm_checkpoint, "freeze-lower-1", splits).record
    assert found["shift"]["cka"][:2] == [1.0, 1.0] and found["shift"]["cka"][-1] < 1
    assert found["shift"]["rel_weight_change"][:2] == [0.0, 0.0]
    assert all(found["shift"]["rel_weight_change"][2:])
    assert found["upstream"]["forgetting"] != 0
    # The scratch arm was run for the report above: same architecture, data and seeds.
    assert found["cost"]["cached"] >= 3


def test_a_finished_run_is_never_made_twice(masked_lm_checkpoint, splits, monkeypatch):
    own = settings(masked_lm_checkpoint, "head-only", learning_rate=1e-3)
    first = Study(TASK, splits, {"one": ArmSpec(own)}, (0,)).run()["one"]
    monkeypatch.setattr("nlptl.train.finetune.finetune", None)  # would fail if it were called
    again = Study(TASK, splits, {"one": ArmSpec(own)}, (0,)).run()["one"]
    assert again.kept == 1 and again.outcomes == first.outcomes


def test_the_key_depends_on_all_that_the_numbers_do(checkpoints, masked_lm_checkpoint, splits):
    base = settings(masked_lm_checkpoint, "full")
    start, data = identity.checkpoint_hash(base.model), splits_hash(splits)

    def key(start=start, task=TASK, data=data, own=base):
        return outcomes.outcome_key(start, task, data, own, processes=1, device="cpu")

    changed = {**splits, "train": splits["train"].select(range(47))}
    others = [
        key(start=identity.checkpoint_hash(str(checkpoints["bert"]))),
        key(task=TextClassification(("yes", "no"))),
        key(data=splits_hash(changed)),
        key(own=settings(base.model, "lora")),
        key(own=settings(base.model, "full", seed=1)),
        key(own=settings(base.model, "full", epochs=3)),
    ]
    assert len({key(), *others}) == 7
    assert key() == key(own=settings("elsewhere", "full"))
    assert key() == key(own=settings(base.model, "full", cache="off"))  # nothing could be cached
    frozen = [settings(base.model, "head-only", cache=kind) for kind in ("auto", "disk", "off")]
    one, same, uncached = (key(own=each) for each in frozen)
    assert one == same != uncached  # the one costs more operations


def test_a_head_in_the_file_is_part_of_the_checkpoint(masked_lm_checkpoint, tmp_path):
    """Two classifiers on one body: their heads are kept by a task with the same labels."""
    from transformers import BertForSequenceClassification

    labels = dict(TASK.head)
    model = BertForSequenceClassification.from_pretrained(masked_lm_checkpoint, **labels)
    for name in ("one", "two"):
        model.classifier.bias.data += 1
        model.save_pretrained(tmp_path / name)
        load_tokenizer(str(masked_lm_checkpoint)).save_pretrained(tmp_path / name)
    each = [str(tmp_path / name) for name in ("one", "two")]
    assert len({identity.checkpoint_hash(name, task=TASK) for name in each}) == 2
    assert len({identity.checkpoint_hash(name) for name in each}) == 1
    bare = str(masked_lm_checkpoint)
    assert identity.checkpoint_hash(bare, task=TASK) == identity.checkpoint_hash(bare, task=TASK)


def test_scratch_trains_all_for_longer_and_never_stops_early(masked_lm_checkpoint):
    """Base rate of full for BERT: 3e-5 at a width of 768, so 7.2e-4 at 32."""
    spec = scratch_spec(
        settings(masked_lm_checkpoint, "head-only", epochs=10), (1.0, 4.0), 3.0, examples=48
    )
    own = spec.args
    assert own.mode.name == "full" and own.epochs == 30 and own.patience is None
    assert spec.rates == pytest.approx([7.2e-4, 2.88e-3])


def test_every_key_is_explained_in_the_schema(head_only):
    import json
    from pathlib import Path

    import nlptl

    path = Path(nlptl.__file__).parent / "report/report.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    plain_json = json.loads(json.dumps(head_only))
    assert not [error.message for error in validator.iter_errors(plain_json)]
    assert [e.message for e in validator.iter_errors({**plain_json, "more": 1})]
    unexplained = []

    def walk(part, where):
        if isinstance(part, dict):
            for name, entry in part.get("properties", {}).items():
                if not entry.get("description"):
                    unexplained.append(f"{where}.{name}")
                walk(entry, f"{where}.{name}")
            walk(part.get("items"), f"{where}[]")

    walk(schema, "report")
    assert not unexplained


@pytest.mark.slow
def test_t5s_decoder_blocks_move_but_have_no_states_of_a_text(checkpoints, splits, tmp_path):
    own = settings(checkpoints["t5"], "freeze-lower-4")
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    body = unwrap_peft(finetune(TASK, splits, own, accelerator=accelerator).model)
    known = Finished(model=body)
    found = score_transfer(TASK, splits, own, tier="quick", finished=known, upstream_texts=TEXTS)
    shift = found.record["shift"]
    assert shift["cka"] == [1.0] * 4 + [None] * 3  # embeddings and three encoder blocks, all frozen
    assert shift["rel_weight_change"][:5] == [0.0] * 5 and all(shift["rel_weight_change"][5:])
    assert shift["probe_curve"][4:] == [None] * 3
    assert found.record["upstream"]["objective"] == "span-corruption"
    assert found.record["upstream"]["forgetting"] != 0
    assert "only masked language models" in found.record["downstream"]["zero_shot"]["missing"]
    assert (tmp_path / "report.html") in found.save(tmp_path)
    assert len(found.summary().splitlines()) <= 21


@pytest.mark.slow
def test_every_arm_is_scored_by_a_metric_that_is_no_mean(masked_lm_checkpoint, splits):
    """Matthews' correlation is 0 for one answer, the probes' is sklearn's, and gain and costs are its too."""
    task = RareWord(("no", "yes"))
    own = settings(masked_lm_checkpoint, "head-only", epochs=8, learning_rate=1e-2)
    found = score_transfer(task, splits, own, tier="quick", curve=True, upstream_texts=TEXTS).record
    down = found["downstream"]
    assert found["id"]["metric"] == "matthews" and down["majority"]["mean"] == 0
    assert 0.5 < down["bow"]["mean"] < 1
    gold = splits["test"]["label"][:]
    assert down["bow"]["mean"] == pytest.approx(matthews_corrcoef(gold, bag_of_words(task, splits)))
    assert found["gain"]["abs"] == pytest.approx(down["pre"]["mean"] - down["scratch"]["mean"])
    assert found["gain"]["vs_bow"]["abs"] == pytest.approx(
        down["pre"]["mean"] - down["bow"]["mean"]
    )
    assert found["curve"]["pre"][-1] == down["pre"]["scores"]
    best = found["shift"]["best_layer"]
    assert (
        found["shift"]["probe_curve"][-1] != found["shift"]["probe_curve"][0] and best is not None
    )
    assert found["shift"]["probe_curve"][0] < 0.99
