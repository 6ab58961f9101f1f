"""Recurring spans from the command line: learned, resumed exactly, scored, and taken up by the QA recipe."""

import json

import pytest
import torch
from launching import result, run_in_process
from safetensors.torch import load_file
from tiny import sentences
from transformers import AutoModelForMaskedLM, AutoModelForQuestionAnswering

from nlptl.cli.config import PretrainConfig
from nlptl.cli.pretrain import extras_of, prepare_pretraining
from nlptl.errors import UserError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "texts.txt"
    pairs = zip(sentences(200, seed=9), sentences(200, seed=10), strict=True)
    path.write_text("".join(f"{a} . {b}\n" for a, b in pairs))
    return path


def flags(corpus, model, directory, *more):
    return [
        *("--objective", "recurring-spans", "--corpus", corpus, "--model", model),
        *("--held-out", 40, "--steps", 30, "--batch-size", 16, "--max-length", 48),
        *("--eval-every", 15, "--save-every", 10, "--learning-rate", 3e-3),
        *("--output-dir", directory, *more),
    ]


@pytest.fixture(scope="module")
def finished(corpus, masked_lm_checkpoint, tmp_path_factory):
    directory = tmp_path_factory.mktemp("spans") / "run"
    run_in_process("pretrain", *flags(corpus, masked_lm_checkpoint, directory))
    return directory


def test_it_learns_to_point_and_opens_in_both_classes(finished):
    record = result(finished)
    log = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert record["task"] == "recurring-spans" and record["reload_difference"] <= 1e-6
    assert log[-1]["loss"] < log[0]["loss"] - 2 * log[0]["se"]
    assert log[0]["tokens"] == log[-1]["tokens"] and log[0]["tokens"] % 2 == 0  # starts and ends
    assert record["parameters"]["new"] == ["qa_outputs.bias", "qa_outputs.weight"]
    tensors = load_file(finished / "model/model.safetensors")
    seen = set()
    for kind in (AutoModelForQuestionAnswering, AutoModelForMaskedLM):
        own = kind.from_pretrained(finished / "model").state_dict()
        seen |= set(own) & set(tensors)
        assert all(torch.equal(own[name], tensors[name]) for name in set(own) & set(tensors))
    assert seen == set(tensors)
    assert "masked_weight: 1.0" in (finished / "config.yaml").read_text()


def test_killed_and_resumed_it_gives_the_same_weights(
    corpus, masked_lm_checkpoint, finished, tmp_path, monkeypatch
):
    from nlptl.train import hooks

    class Killed(Exception):
        pass

    def kill(self, state):
        if state.step == 17:
            raise Killed
        return on_step(self, state)

    on_step = hooks.ProgressBar.on_step
    monkeypatch.setattr(hooks.ProgressBar, "on_step", kill)
    given = flags(corpus, masked_lm_checkpoint, tmp_path / "run")
    with pytest.raises(Killed):
        run_in_process("pretrain", *given)
    monkeypatch.setattr(hooks.ProgressBar, "on_step", on_step)
    run_in_process("pretrain", *given, "--resume")
    again, whole = (load_file(d / "model/model.safetensors") for d in (tmp_path / "run", finished))
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_the_recipe_for_questions_starts_from_its_head(finished, squad, tmp_path):
    run_in_process(
        *("qa", "--model", finished / "model", "--train-file", squad, "--epochs", 1),
        *("--output-dir", tmp_path / "qa"),
    )
    assert result(tmp_path / "qa")["parameters"]["new"] == []


@pytest.mark.slow
def test_roberta_points_too_and_without_masked_words(corpus, checkpoints, tmp_path):
    given = flags(corpus, checkpoints["roberta"], tmp_path / "run", "--masked-weight", 0)
    run_in_process("pretrain", *given)
    log = result(tmp_path / "run")["history"]
    assert log[-1]["loss"] < log[0]["loss"]


def test_flags_that_do_not_belong_to_it_come_in_one_message(corpus, checkpoints, tmp_path):
    def refused(**given):
        with pytest.raises(UserError) as error:
            prepare_pretraining(
                PretrainConfig(corpus=(str(corpus),), output_dir=tmp_path / "no", **given)
            )
        return str(error.value)

    bert, t5 = str(checkpoints["bert"]), str(checkpoints["t5"])
    spans = {"objective": "recurring-spans"}
    message = refused(**spans, model=bert, whole_words=True)
    assert "belong to masked-lm, not to recurring-spans" in message
    assert "goes on from a checkpoint, and a new model is asked for" in refused(
        **spans, architecture="bert"
    )
    assert "t5 has no head for that" in refused(**spans, model=t5)
    assert "--masked-weight belongs to recurring-spans, not to masked-lm" in refused(
        model=bert, masked_weight=0.5
    )
    assert "--masked-weight is -1" in refused(**spans, model=bert, masked_weight=-1)


def test_the_weight_of_masked_words_is_one_by_default_and_none_leaves_them_out(
    corpus, masked_lm_checkpoint, tmp_path
):
    for number, (given, expected) in enumerate([({}, [1.0]), ({"masked_weight": 0.0}, [])]):
        ready = prepare_pretraining(
            PretrainConfig(
                corpus=(str(corpus),),
                model=str(masked_lm_checkpoint),
                objective="recurring-spans",
                output_dir=tmp_path / str(number),
                **given,
            )
        )
        assert [extra.weight for extra in extras_of(ready.config, 32)] == expected
