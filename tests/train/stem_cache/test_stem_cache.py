"""Cached equals live: the same losses, the same scores; and nothing old is ever taken for new."""

import functools
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import questions
from tiny import DEPTH, sentences
from torch import nn
from transformers import AutoConfig

from nlptl.data.squad import normalize, read_questions
from nlptl.errors import RunError
from nlptl.modes.base import parse_mode
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.question_answering import QuestionAnswering
from nlptl.train.finetune import finetune
from nlptl.train.hooks import Quiet
from nlptl.train.losses import TaskLoss
from nlptl.train.setup import FinetuneArgs, start_accelerator
from nlptl.train.stem_cache import directory, store
from nlptl.train.stem_cache.stem_cache import StemCache


@pytest.mark.parametrize(("saved", "end"), [(0.4, " in 1.5 s"), (7.2, ", which saved about 7 s")])
def test_no_time_is_said_to_be_saved_where_none_is(saved, end):
    about = {"pooled": False, "bytes": 2e6, "tokens": 9, "seconds": 1.5, "saved": saved}
    about["plan"] = SimpleNamespace(dtype="float32", kind="memory")
    cache: Any = SimpleNamespace(**about, stem=SimpleNamespace(blocks=6))
    assert StemCache.__str__(cache).endswith(end)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "cache"))
    store.free_states()
    return tmp_path / "cache"


@pytest.fixture
def calm(checkpoints, tmp_path):
    """A BERT without dropout."""
    path = tmp_path / "calm"
    shutil.copytree(checkpoints["bert"], path)
    config = AutoConfig.from_pretrained(path)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.save_pretrained(path)
    return path


@pytest.fixture
def losses(monkeypatch):
    """The loss of every training batch of the runs that follow."""
    found = []
    plain = TaskLoss.forward

    def recording(self, **inputs):
        made = plain(self, **inputs)
        if self.training:
            found.append(made["loss"].item())
        return made

    monkeypatch.setattr(TaskLoss, "forward", recording)
    return found


def rows(count, seed, flip=False):
    texts = sentences(count, seed)
    return Dataset.from_dict(
        {"text": texts, "label": ["yes" if ("good" in t) != flip else "no" for t in texts]}
    )


SPLITS = {"train": rows(40, 1), "validation": rows(12, 2), "test": rows(16, 3)}
LABELS = TextClassification(("no", "yes"))


def run(checkpoint, mode, cache, *, task=LABELS, splits=SPLITS, seed=0, resuming=None, **changes):
    given = {"learning_rate": 2e-3, "epochs": 4.0, "batch_size": 8, "head": "random", **changes}
    settings = FinetuneArgs(
        model=str(checkpoint), mode=parse_mode(mode), seed=seed, cache=cache, **given
    )
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=seed)
    return finetune(task, splits, settings, accelerator=accelerator, **(resuming or {}))


@pytest.mark.parametrize(
    "mode", ["head-only", "freeze-lower-1", f"freeze-lower-{DEPTH}", "lora-above-2"]
)
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_the_losses_of_twenty_updates_are_the_same(checkpoints, family, mode, kind, losses):
    """Dropout in the trained part included: both runs draw the same random numbers."""
    live = run(checkpoints[family], mode, "off")
    first, losses[:] = list(losses), []
    cached = run(checkpoints[family], mode, kind)
    assert live.cache is None and cached.cache["kind"] == kind
    assert len(first) == len(losses) == 20
    np.testing.assert_allclose(losses, first, atol=1e-5)
    for one, two in zip(live.predictions, cached.predictions, strict=True):
        assert one["scores"] == pytest.approx(two["scores"], abs=1e-5)
    assert [h["validation_accuracy"] for h in live.history] == [
        h["validation_accuracy"] for h in cached.history
    ]


class AllTokens(TextClassification):
    """Labels again, from a task that does not say that its head reads one token."""

    pooled = False
    shapes = ()

    def outputs(self, model, inputs):
        type(self).shapes = []
        hook = model.base_model.encoder.layer[-1].register_forward_hook(
            lambda module, given, made: self.shapes.append(tuple(made.shape))
        )
        made = super().outputs(model, inputs)
        hook.remove()
        return made


class OneToken(AllTokens):
    pooled = True


@pytest.mark.parametrize("mode", ["full", "freeze-lower-2"])
def test_the_last_block_for_one_token_trains_alike(calm, mode, losses):
    whole = run(calm, mode, "off", task=AllTokens(("no", "yes")))
    first, losses[:] = list(losses), []
    one = run(calm, mode, "off", task=OneToken(("no", "yes")))
    assert AllTokens.shapes[0][1] > 3 and OneToken.shapes[0][1] == 1  # of the last test batch
    assert len(first) == len(losses) == 20
    np.testing.assert_allclose(losses, first, atol=1e-5)
    assert one.flops < whole.flops
    with torch.no_grad():  # the model that comes back is whole
        states = one.model.base_model(input_ids=torch.full((2, 9), 7)).last_hidden_state
    assert states.shape[:2] == (2, 9)


@pytest.mark.parametrize("mode", ["head-only", "freeze-lower-2"])
def test_padded_to_eights_as_on_a_gpu(checkpoints, family, mode, losses, monkeypatch):
    monkeypatch.setattr("nlptl.data.padding.multiple", lambda: 8)
    live = run(checkpoints[family], mode, "off", epochs=2.0)
    first, losses[:] = list(losses), []
    cached = run(checkpoints[family], mode, "memory", epochs=2.0)
    np.testing.assert_allclose(losses, first, atol=1e-5)
    for one, two in zip(live.predictions, cached.predictions, strict=True):
        assert one["scores"] == pytest.approx(two["scores"], abs=1e-5)


@pytest.mark.parametrize(
    "mode", ["freeze-lower-2", pytest.param("head-only", marks=pytest.mark.slow)]
)
def test_question_answering_too(checkpoints, family, mode, losses, tmp_path):
    tables = {
        split: read_questions(questions(tmp_path / f"{split}.json", 12, seed=n), "x")
        for n, split in enumerate(SPLITS)
    }
    names = {"question": "question", "context": "context", "answers": "answers"}
    given = {"task": QuestionAnswering(stride=8), "splits": normalize(tables, names)}
    live = run(checkpoints[family], mode, "off", max_length=48, **given)
    first, losses[:] = list(losses), []
    cached = run(checkpoints[family], mode, "memory", max_length=48, **given)
    np.testing.assert_allclose(losses, first, atol=1e-5)
    assert [p["prediction"] for p in live.predictions] == [
        p["prediction"] for p in cached.predictions
    ]


def test_head_only_keeps_one_vector_a_text(checkpoints, family):
    found = run(checkpoints[family], "head-only", "memory")
    texts = sum(len(table) for table in SPLITS.values())
    assert found.cache["bytes"] == texts * 32 * 4


def test_freezing_keeps_one_vector_a_real_token(checkpoints):
    from transformers import AutoTokenizer

    found = run(checkpoints["bert"], "freeze-lower-1", "memory")
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["bert"])
    tokens = sum(len(i) for t in SPLITS.values() for i in tokenizer(t["text"][:])["input_ids"])
    assert found.cache["bytes"] == tokens * 32 * 4


def test_another_seed_and_other_labels_find_it_and_other_texts_do_not(checkpoints, own_folder):
    bert = checkpoints["bert"]
    assert run(bert, "freeze-lower-1", "disk").cache["found"] == 0
    assert run(bert, "freeze-lower-1", "disk", seed=1).cache["found"] == 3
    flipped = {name: rows(len(t), n, flip=True) for n, (name, t) in enumerate(SPLITS.items(), 1)}
    assert run(bert, "freeze-lower-1", "disk", splits=flipped).cache["found"] == 3
    changed = {**SPLITS, "train": rows(40, 9)}
    assert run(bert, "freeze-lower-1", "disk", splits=changed).cache["found"] == 2
    assert run(bert, "freeze-lower-2", "disk").cache["found"] == 0
    assert run(bert, "freeze-lower-1", "disk", max_length=5).cache["found"] == 0
    assert run(checkpoints["roberta"], "freeze-lower-1", "disk").cache["found"] == 0


def test_changed_weights_never_hit(checkpoints, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    run(checkpoints["bert"], "freeze-lower-1", "disk")
    model = AutoModel.from_pretrained(checkpoints["bert"])
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias[0] += 1e-3
    model.save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(checkpoints["bert"]).save_pretrained(tmp_path / "other")
    assert run(tmp_path / "other", "freeze-lower-1", "disk").cache["found"] == 0


def test_the_same_weights_with_another_vocabulary_never_hit(checkpoints, tmp_path):
    """Two words change places, and nothing else: the texts are other ids to the same blocks."""
    swapped = tmp_path / "swapped"
    shutil.copytree(checkpoints["bert"], swapped)
    record = json.loads((swapped / "tokenizer.json").read_text())
    words = record["model"]["vocab"]
    words["good"], words["bad"] = words["bad"], words["good"]
    (swapped / "tokenizer.json").write_text(json.dumps(record))
    before = run(checkpoints["bert"], "freeze-lower-1", "disk")
    assert before.cache["found"] == 0
    other = run(swapped, "freeze-lower-1", "disk")
    assert other.cache["found"] == 0
    assert other.tokenizer.vocab["good"] == before.tokenizer.vocab["bad"]
    assert run(swapped, "freeze-lower-1", "disk").cache["found"] == 3


@pytest.mark.parametrize("harm", ["a flipped bit", "a short file", "no record", "wrong states"])
def test_a_damaged_entry_is_made_anew(checkpoints, own_folder, harm, capsys):
    before = run(checkpoints["bert"], "freeze-lower-1", "disk")
    for path in (own_folder / "prefix").iterdir():
        data = bytearray((path / "states").read_bytes())
        if harm == "a short file":
            (path / "states").write_bytes(data[:-4])
        elif harm == "no record":
            (path / "meta.json").write_text("{")
        else:
            data[0:400] = bytes(400)
            (path / "states").write_bytes(data)
            if harm == "wrong states":  # and a record that believes in them
                record = json.loads((path / "meta.json").read_text())
                record["checksums"]["states"] = store.checksum(path / "states")
                (path / "meta.json").write_text(json.dumps(record))
    again = run(checkpoints["bert"], "freeze-lower-1", "disk")
    assert again.cache["found"] == 0
    assert again.metrics == before.metrics
    if harm == "wrong states":
        assert "were damaged; they are computed again" in capsys.readouterr().out


def test_killed_while_it_is_made(checkpoints, own_folder, monkeypatch):
    put, count = store.Ragged.put, 0

    class PowerCut(Exception):
        pass

    def cut(self, index, states):
        nonlocal count
        count += 1
        if count == 50:
            raise PowerCut
        put(self, index, states)

    monkeypatch.setattr(store.Ragged, "put", cut)
    with pytest.raises(PowerCut):
        run(checkpoints["bert"], "freeze-lower-1", "disk")
    monkeypatch.undo()
    monkeypatch.setenv("NLPTL_CACHE", str(own_folder))
    after = run(checkpoints["bert"], "freeze-lower-1", "disk")
    assert after.cache["found"] == 1  # the training set was whole
    live = run(checkpoints["bert"], "freeze-lower-1", "off")
    assert after.metrics == pytest.approx(live.metrics, abs=1e-6)  # the last bit depends on threads


def test_killed_while_training_and_resumed(checkpoints, tmp_path, monkeypatch):
    """From a live run's checkpoint to a cached end: names and numbers are the same either way."""
    from nlptl.train.hooks import ProgressBar

    class PowerCut(Exception):
        pass

    whole = run(checkpoints["bert"], "freeze-lower-1", "memory")
    step = ProgressBar.on_step

    def cut(self, state):
        if state.step == 13:
            raise PowerCut
        return step(self, state)

    settings = {"checkpoint_dir": tmp_path / "checkpoints"}
    monkeypatch.setattr(ProgressBar, "on_step", cut)
    with pytest.raises(PowerCut):
        run(checkpoints["bert"], "freeze-lower-1", "off", resuming=settings)
    monkeypatch.setattr(ProgressBar, "on_step", step)
    resumed = run(
        checkpoints["bert"], "freeze-lower-1", "disk", resuming={**settings, "resume": True}
    )
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, atol=1e-5, rtol=1e-5)


def test_weights_that_change_below_are_noticed(checkpoints, monkeypatch):
    def harm(self, state):
        with torch.no_grad():
            state.model.model.bert.encoder.layer[0].output.dense.bias.add_(1e-4)
        return False

    monkeypatch.setattr(Quiet, "on_step", harm)
    with pytest.raises(RunError, match="Weights below the cached states changed"):
        run(checkpoints["bert"], "freeze-lower-1", "memory", epochs=2)


def test_random_inputs_are_refused(checkpoints):
    class Noisy(TextClassification):
        def collator(self, tokenizer):
            plain = super().collator(tokenizer)

            def collate(features, rng):
                batch = dict(plain(features, rng))
                hidden = torch.from_numpy(rng.random(tuple(batch["input_ids"].shape)) < 0.5)
                return {**batch, "input_ids": batch["input_ids"].masked_fill(hidden, 4)}

            return collate

    with pytest.raises(RunError, match="draws at random .* Use --cache off"):
        run(checkpoints["bert"], "freeze-lower-1", "memory", task=Noisy(("no", "yes")))


def test_what_cannot_be_cached_says_so(checkpoints, capsys):
    assert run(checkpoints["bert"], "lora", "auto", epochs=2).cache is None
    assert "cache: off, no block is frozen" in capsys.readouterr().out
    assert run(checkpoints["bert"], "full", "auto", epochs=2).cache is None
    assert "cache" not in capsys.readouterr().out


def test_half_precision_is_close(checkpoints, monkeypatch):
    from nlptl.train.stem_cache import plan as finetuning

    plain = finetuning.choose
    monkeypatch.setattr(
        finetuning, "choose", lambda *a, **k: replace(plain(*a, **k), dtype="float16")
    )
    live = run(checkpoints["bert"], "freeze-lower-1", "off")
    half = run(checkpoints["bert"], "freeze-lower-1", "memory")
    assert half.cache["dtype"] == "float16"
    for one, two in zip(live.predictions, half.predictions, strict=True):
        assert one["scores"] == pytest.approx(two["scores"], abs=1e-2)


def test_the_folder_stays_below_its_limit(checkpoints, own_folder, monkeypatch):
    run(checkpoints["bert"], "freeze-lower-1", "disk")
    sizes = [entry.bytes for entry in directory.entries()]
    assert len(sizes) == 3
    monkeypatch.setenv("NLPTL_CACHE_GB", str(sum(sizes) / 1e9))
    run(checkpoints["bert"], "freeze-lower-2", "disk")
    left = directory.entries()
    assert sum(entry.bytes for entry in left) <= sum(sizes)
    assert all("above block 2" in entry.about for entry in left[-2:])


@pytest.mark.parametrize("flag", ["compile", "gradient_checkpointing"])
@pytest.mark.slow
def test_compiled_or_checkpointed_above_cached_states(calm, flag, losses, monkeypatch):
    """Traced by the real compiler; only code generation is left out."""
    traced = functools.partialmethod(nn.Module.compile, backend="eager")
    monkeypatch.setattr(nn.Module, "compile", traced)
    run(calm, "freeze-lower-2", "off", epochs=1)
    first, losses[:] = list(losses), []
    run(calm, "freeze-lower-2", "memory", epochs=1, **{flag: True})
    np.testing.assert_allclose(losses, first, atol=1e-5)


def test_what_an_earlier_run_left_decides_where_it_is_sought(checkpoints, monkeypatch):
    """Its own states took the memory that the second run would want."""
    from nlptl.train.stem_cache import plan as finetuning

    first = run(checkpoints["bert"], "freeze-lower-1", "auto").cache
    assert (first["kind"], first["found"]) == ("memory", 0)
    monkeypatch.setattr(finetuning, "free_memory", lambda: 2 * first["bytes"])
    again = run(checkpoints["bert"], "freeze-lower-1", "auto", seed=1).cache
    assert (again["kind"], again["dtype"], again["found"]) == ("memory", "float32", 3)
    store.free_states()
    assert run(checkpoints["bert"], "freeze-lower-1", "auto").cache["kind"] == "disk"


def test_a_run_of_other_weights_frees_what_is_in_memory(checkpoints):
    run(checkpoints["bert"], "freeze-lower-1", "memory")
    weights = set(store._KEPT)
    assert len(weights) == 1
    run(checkpoints["bert"], "freeze-lower-2", "memory", epochs=1)
    assert len(store._KEPT) == 1 and weights != set(store._KEPT)
    run(checkpoints["bert"], "full", "auto", epochs=1)
    assert not store._KEPT


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_states_beyond_half_precision_are_not_kept(
    checkpoints, monkeypatch, capsys, kind, tmp_path
):
    from transformers import AutoModel

    from nlptl.train.stem_cache import plan as finetuning

    shutil.copytree(checkpoints["bert"], tmp_path / "wide")
    model = AutoModel.from_pretrained(tmp_path / "wide")
    with torch.no_grad():
        model.encoder.layer[0].output.LayerNorm.weight[3] = 1e6
    model.save_pretrained(tmp_path / "wide")
    plain = finetuning.choose
    monkeypatch.setattr(
        finetuning, "choose", lambda *a, **k: replace(plain(*a, **k), dtype="float16")
    )
    assert run(tmp_path / "wide", "freeze-lower-1", kind).cache is None
    assert "cache: off, some states are beyond float16" in capsys.readouterr().out
    assert not directory.entries() and not any(store._KEPT.values())


def test_several_machines_have_no_file_in_common(checkpoints, monkeypatch):
    from nlptl.train.stem_cache.plan import refusal

    usual = {"blocks": 2, "passes": 3.0}
    assert refusal("disk", machines=2, **usual) == "the processes are on several machines"
    assert not refusal("disk", machines=1, **usual)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert run(checkpoints["bert"], "freeze-lower-1", "memory").cache is not None
