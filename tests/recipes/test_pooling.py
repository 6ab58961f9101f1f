"""Runs on pooled states: every mode, saved and opened by sentence-transformers, cached, resumed, refused."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from launching import KillAt, Killed, command, result, run_in_process
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from tiny import DEPTH, sentences

from nlptl.cli.config import TaskConfig, parse_args
from nlptl.cli.train import prepare
from nlptl.errors import ConfigError, UserError
from nlptl.models.sentence_encoder import declared
from nlptl.runs.predictor import load_predictor
from nlptl.train import setup

MODES = ("head-only", "freeze-lower-1", "lora", "full")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory, checkpoints):
    """A tiny sentence encoder, as sentence-transformers saves one."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    path = tmp_path_factory.mktemp("encoder")
    modules = [Transformer(str(checkpoints["bert"]), max_seq_length=12), Pooling(32), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(path))
    return path


def train(model, reviews, directory, *flags):
    run_in_process(
        "sentiment",
        *("--model", model, "--train-file", reviews, "--epochs", 2, "--learning-rate", 2e-3),
        *("--head", "random", "--output-dir", directory, *flags),
    )
    return directory


@pytest.fixture(scope="module")
def pooled(tmp_path_factory, encoder, reviews):
    """One finished run for each mode."""
    base = tmp_path_factory.mktemp("pooled")
    return {mode: train(encoder, reviews, base / mode, "--mode", mode) for mode in MODES}


def test_a_pretrained_further_encoder_is_one_still(encoder, reviews, tmp_path):
    """Masked words change the body; how it pools stays declared, also in what is kept on the way."""
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(sentences(60, seed=4)))
    home = tmp_path / "further"
    run_in_process(
        "pretrain",
        *(
            "--model",
            encoder,
            "--corpus",
            texts,
            "--steps",
            2,
            "--max-length",
            12,
            "--batch-size",
            8,
        ),
        *("--keep", 2, "--output-dir", home),
    )
    about = declared(str(encoder))
    kept = sorted(path.name for path in (home / "models").iterdir())
    assert len(kept) == 3  # the start, and after one and two steps
    for path in (home / "model", *(home / "models" / name for name in kept)):
        assert declared(str(path)) == about
    texts = sentences(3, seed=5)
    before, after = (
        SentenceTransformer(str(path), device="cpu").encode(texts)
        for path in (encoder, home / "model")
    )
    assert before.shape == after.shape and not np.allclose(before, after, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    record = result(train(home / "model", reviews, tmp_path / "run", "--mode", "head-only"))
    assert record["settings"]["pooling"] == "mean"


def lines(directory):
    return [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_trains_its_part_and_opens_elsewhere(pooled, encoder, mode):
    directory = pooled[mode]
    record = result(directory)
    assert record["settings"]["pooling"] == "mean"  # what auto became
    assert record["opened_by"] == "sentence-transformers"
    assert record["reload_difference"] <= 1e-6
    assert record["parameters"]["new"] == ["classifier.bias", "classifier.weight"]
    before = load_file(encoder / "model.safetensors")
    after = load_file(directory / "model/model.safetensors")
    assert {"pooler.dense.weight", "pooler.dense.bias"} == set(before) - set(after)
    frozen = {"head-only": DEPTH, "freeze-lower-1": 1}.get(mode)
    for name, tensor in after.items():
        layer = re.search(r"encoder\.layer\.(\d)\.", name)
        if mode == "lora":
            stays = not re.search(r"self\.(query|value)\.weight", name)
        else:
            stays = frozen is not None and (layer is None or int(layer[1]) < frozen)
        assert torch.equal(tensor, before[name]) is stays, name
    assert (directory / "adapter").is_dir() is (mode == "lora")


def test_the_card_says_how_to_open_the_model(pooled, encoder, monkeypatch, capsys):
    """The code on the card runs, and gives the run's own probabilities, of long texts too."""
    directory = pooled["lora"]
    expected = lines(directory)
    predictor = load_predictor(directory)
    assert predictor.max_length == 12
    texts = [*sentences(6, seed=9), " ".join(sentences(4, seed=5)), "The FILM [SEP] was"]
    card = (directory / "README.md").read_text()
    assert "library_name: sentence-transformers" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(directory)
    exec(code, {"texts": texts})
    printed = capsys.readouterr().out
    assert printed.count("'positive'") == printed.count("'negative'") == len(texts)
    opened = SentenceTransformer("model", device="cpu")
    shares = torch.from_numpy(opened.encode(texts)).double().softmax(-1).numpy()
    for row, one in zip(shares, predictor(texts), strict=True):
        assert list(one["scores"]) == ["negative", "positive"]
        np.testing.assert_allclose(list(one["scores"].values()), row, atol=1e-5)
    bare = load_predictor(directory / "model")(texts)
    assert [b["prediction"] for b in bare] == [one["prediction"] for one in predictor(texts)]
    assert len(expected) == result(directory)["n"]["test"]


def test_a_head_that_is_fitted_is_saved_with_its_scale(encoder, reviews, tmp_path):
    """The convex fit of the head on normalized states, without a step."""
    given = ("--model", encoder, "--train-file", reviews, "--mode", "head-only")
    run_in_process("sentiment", *given, "--output-dir", tmp_path / "run")
    record = result(tmp_path / "run")
    assert record["settings"]["head"] == "fit" and record["settings"]["pooling"] == "mean"
    opened = SentenceTransformer(str(tmp_path / "run/model"), device="cpu")
    texts = sentences(5, seed=2)
    found = [one["scores"]["positive"] for one in load_predictor(tmp_path / "run")(texts)]
    shares = torch.from_numpy(opened.encode(texts)).double().softmax(-1)[:, 1].tolist()
    assert found == pytest.approx(shares, abs=1e-5)
    assert max(found) - min(found) > 0.05  # it has learned something


def test_a_model_alone_answers_without_a_record(pooled, tmp_path):
    shutil.copytree(pooled["full"] / "model", tmp_path / "model")
    alone = load_predictor(tmp_path / "model")
    assert alone.max_length == 12 and alone.task.labels == ("negative", "positive")
    assert alone("the film was good") == load_predictor(pooled["full"])("the film was good")


@pytest.mark.parametrize(
    ("family", "mode"),
    [
        ("bert", "head-only"),
        ("bert", "freeze-lower-1"),
        ("t5", "head-only"),
        ("t5", "lora-above-1"),
    ],
)
def test_cached_equals_uncached(checkpoints, encoder, reviews, tmp_path, family, mode):
    """Of a BERT one vector per text is kept; of a T5, whose last norm trains, the states of each token."""
    model = encoder if family == "bert" else checkpoints["t5"]
    flags = ("--mode", mode, "--pooling", "mean")
    live = train(model, reviews, tmp_path / "live", *flags, "--cache", "off")
    kept = train(model, reviews, tmp_path / "kept", *flags, "--cache", "memory")
    one, two = result(live), result(kept)
    for first, second in zip(one["history"], two["history"], strict=True):
        assert first["train_loss"] == pytest.approx(second["train_loss"], abs=1e-5)
    for first, second in zip(lines(live), lines(kept), strict=True):
        assert first["scores"] == pytest.approx(second["scores"], abs=1e-5)
    texts = sum(two["n"].values())
    single = 32 * 4 * texts  # float32 vectors
    assert (two["cache"]["bytes"] == single) is (family == "bert" and mode == "head-only")
    assert two["cache"]["bytes"] >= single
    if family == "t5":
        assert not any("decoder" in name for name in load_file(kept / "model/model.safetensors"))


@pytest.mark.slow
def test_killed_and_resumed_equals_unbroken(encoder, reviews, tmp_path, monkeypatch):
    flags = ("--mode", "freeze-lower-1", "--gradient-checkpointing", "--batch-size", 8)
    whole = train(encoder, reviews, tmp_path / "whole", *flags)
    plain = setup.fit

    def killed(*given, hooks=(), **named):
        return plain(*given, hooks=[*hooks, KillAt(14)], **named)

    with monkeypatch.context() as patched:
        patched.setattr(setup, "fit", killed)
        with pytest.raises(Killed):
            train(encoder, reviews, tmp_path / "broken", *flags)
    train(encoder, reviews, tmp_path / "broken", *flags, "--resume")
    for file in ("model/model.safetensors", "model/3_Dense/model.safetensors"):
        first, second = load_file(whole / file), load_file(tmp_path / "broken" / file)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_is_a_checkpoint_again(pooled, reviews, tmp_path):
    """With its own labels it goes on from its head."""
    model = pooled["full"] / "model"
    flags = ("--mode", "head-only", "--max-train-examples", 40)
    again = train(model, reviews, tmp_path / "again", *flags)
    record = result(again)
    assert record["parameters"]["new"] == []
    assert not any("gets a new one" in notice for notice in record["notes"])
    assert record["settings"]["pooling"] == "mean"


def test_tasks_that_pool_nothing_refuse_the_flag(checkpoints, squad, tmp_path):
    given = ("--model", checkpoints["bert"], "--train-file", squad, "--output-dir", tmp_path / "qa")
    said = r"--pooling mean: the head of the task question-answering reads the state of every token"
    with pytest.raises(ConfigError, match=said):
        run_in_process("qa", *given, "--pooling", "mean")
    assert not (tmp_path / "qa").exists()


def test_mistakes_of_pooling_are_told_before_any_slow_work(checkpoints, reviews, tmp_path):
    words = ["--model", checkpoints["bert"], "--train-file", reviews, "--pooling", "median"]
    with pytest.raises(UserError, match="--pooling is median; expected one of auto, first, mean"):
        parse_args(TaskConfig, [str(word) for word in words])
    words[-1] = "mean"
    words[1] = checkpoints["t5"]  # twice DEPTH blocks, of which the mean's model has half
    words += ["--mode", f"freeze-lower-{DEPTH + 1}", "--output-dir", tmp_path / "run"]
    config = parse_args(TaskConfig, [str(word) for word in words])
    with pytest.raises(UserError, match=f"has {DEPTH} blocks"):
        prepare(config, "text-classification")


@pytest.mark.slow
def test_two_processes_give_what_one_does(encoder, reviews, tmp_path):
    flags = ["--model", encoder, "--train-file", reviews, "--epochs", 2, "--batch-size", 5]
    flags += ["--mode", "head-only", "--learning-rate", 2e-3]
    run_in_process("sentiment", *flags, "--cache", "off", "--output-dir", tmp_path / "one")
    done = command(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
        *("recipes/sentiment.py", *flags, "--cache", "disk", "--output-dir", tmp_path / "two"),
    )
    assert done.returncode == 0, done.stderr
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert one["metrics"]["accuracy"] == two["metrics"]["accuracy"]
    assert one["metrics"]["loss"] == pytest.approx(two["metrics"]["loss"], abs=1e-2)
    done = command(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
        *("recipes/sentiment.py", *flags[:-3], "full", "--output-dir", tmp_path / "full"),
    )
    assert done.returncode == 0, done.stderr  # every parameter has a gradient


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "t5"])
def test_reports_pool_in_every_arm(
    encoder, masked_lm_checkpoint, checkpoints, reviews, tmp_path, family
):
    """Of a sentence encoder similarities are compared, of a BERT's adapter the language model."""
    model = {"bert": masked_lm_checkpoint, "t5": checkpoints["t5"]}[family]
    mode = {"bert": "lora", "t5": "full"}[family]
    flags = ("--mode", mode, "--pooling", "mean", "--report", "quick", "--max-train-examples", 40)
    train(model, reviews, tmp_path / "run", *flags)
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["id"]["blocks"] == DEPTH  # of T5 the encoder's alone
    assert report["id"]["pooling"] == "mean"
    assert len(report["shift"]["parts"]) == DEPTH + 1
    assert len(report["shift"]["rel_weight_change"]) == len(report["shift"]["cka"]) == DEPTH + 1
    assert len(report["downstream"]["scratch"]["scores"]) == 3
    if family == "bert":
        assert report["upstream"]["recoverable"] is True
    else:
        train(encoder, reviews, tmp_path / "encoder", *flags[:2], *flags[4:])
        found = json.loads((tmp_path / "encoder/report.json").read_text())
        assert found["upstream"]["objective"] == "sentence-similarity"
