"""Flags about how to train: refused where they have nothing to act on, recorded where they have."""

import json

import pytest
from launching import result, run_in_process

from nlptl.cli.config import CompareConfig, PretrainConfig, SentimentConfig
from nlptl.cli.values import wrong_numbers
from nlptl.errors import UserError
from nlptl.runs.predictor import load_predictor


def refused(checkpoints, reviews, tmp_path, *flags, family="bert"):
    with pytest.raises(UserError) as caught:
        run_in_process(
            *("sentiment", "--model", checkpoints[family], "--train-file", reviews, *flags),
            *("--output-dir", tmp_path / "out"),
        )
    assert not (tmp_path / "out").exists()
    return str(caught.value)


def test_numbers_out_of_their_range():
    given = {
        "layer_decay": 1.5,
        "l2_sp": -1.0,
        "mixout": 1.0,
        "reinit_top": -1,
        "lora_dropout": 1.0,
    }
    assert wrong_numbers(SentimentConfig(**given)) == {
        "l2_sp": "--l2-sp is -1.0; expected 0 or more.",
        "reinit_top": "--reinit-top is -1; expected 0 or more.",
        "lora_dropout": "--lora-dropout is 1.0; expected 0 or more and less than 1.",
        "mixout": "--mixout is 1.0; expected 0 or more and less than 1.",
        "layer_decay": "--layer-decay is 1.5; expected more than 0 and at most 1.",
    }
    assert not wrong_numbers(SentimentConfig(layer_decay=1, mixout=0.9, l2_sp=0, reinit_top=2))
    assert PretrainConfig().schedule == CompareConfig().schedule == "linear"


def test_flags_without_anything_to_act_on_come_in_one_message(checkpoints, reviews, tmp_path):
    flags = ("--layer-decay", 0.9, "--mixout", 0.1, "--l2-sp", 0.1, "--mode", "head-only")
    message = refused(checkpoints, reviews, tmp_path, *flags)
    for part in (
        "--layer-decay: --mode head-only trains nothing in the blocks",
        "--mixout: under --mode head-only no pretrained weight matrix of a block trains",
        "--l2-sp: under --mode head-only no pretrained weight trains",
    ):
        assert part in message
    for mode in ("lora", "scratch"):
        flags = ("--l2-sp", 0.1, "--mode", mode)
        assert "no pretrained weight" in refused(checkpoints, reviews, tmp_path, *flags)
    for mode in ("bitfit", "norm-only", "chain:head-only,bitfit"):
        flags = ("--l2-sp", 0.1, "--mixout", 0.1, "--mode", mode)
        message = refused(checkpoints, reviews, tmp_path, *flags)
        assert "--mixout: under" in message and "--l2-sp" not in message
    flags = ("--layer-decay", 0.9, "--mode", "prompt")
    assert "trains nothing in the blocks" in refused(checkpoints, reviews, tmp_path, *flags)
    flags = ("--head", "fit", "--mode", "prompt", "--upstream-text", tmp_path / "no.txt")
    message = refused(checkpoints, reviews, tmp_path, *flags)
    assert "--head fit: the mode prompt does not start from a fit" in message
    assert "there is no file" in message
    flags = ("--head", "fit", "--mode", "prompt", "--text-column", "none", "--epochs", -1)
    message = refused(checkpoints, reviews, tmp_path, *flags)
    assert "the mode prompt does not start from a fit" in message
    assert "--text-column" in message and "--epochs" in message
    flags = ("--lora-dropout", 0.1, "--mode", "ia3")
    assert "--lora-dropout only go with" in refused(checkpoints, reviews, tmp_path, *flags)


def test_a_fit_of_a_head_that_reads_every_token_is_refused_with_the_rest(checkpoints, tmp_path):
    flags = ("--head", "fit", "--pooling", "mean", "--mode", "nothing")
    data = ("--train-file", tmp_path / "no.csv", "--output-dir", tmp_path / "out")
    with pytest.raises(UserError) as caught:
        run_in_process("qa", "--model", checkpoints["bert"], *flags, *data)
    for part in (
        "--head fit: a head of the task question-answering has no convex fit",
        "--pooling mean: the head of the task question-answering",
        "no.csv",
        "--mode nothing",
    ):
        assert str(caught.value).count(part) == 1, caught.value


def test_blocks_that_are_not_there_or_would_stay_random(checkpoints, reviews, tmp_path):
    for flags, part in (
        (("--keep-layers", "9"), "has 3 blocks, numbered from 0; the block 8 is not there"),
        (("--keep-layers", "x"), "expected a number of blocks from 1 up"),
        (("--keep-layers", "2", "--mode", "top-3"), "has 2 blocks. Choose 0"),
        (("--keep-layers", "2", "--report", "quick"), "with --keep-layers some are gone"),
        (("--reinit-top", 4), "has 3 blocks; expected at most that"),
        (("--reinit-top", 2, "--mode", "top-1"), "random blocks would stay as they are"),
        (("--reinit-top", 1, "--mode", "lora"), "random blocks would stay as they are"),
        (("--reinit-top", 1, "--mode", "gradual"), "random blocks would stay as they are"),
        (("--keep-layers", "2", "--reinit-top", 3), "has 2 blocks; expected at most that"),
    ):
        assert part in refused(checkpoints, reviews, tmp_path, *flags)


def test_flags_about_steps_are_refused_where_there_are_none(checkpoints, reviews, tmp_path):
    flags = ("--mode", "head-only", "--schedule", "cosine", "--warmup", 0.2, "--patience", 2)
    message = refused(checkpoints, reviews, tmp_path, *flags)
    assert message.startswith("--schedule, --warmup, --patience: --mode head-only fits its head")
    assert "--head start" in message
    flags = ("--mode", "as-is", "--schedule", "cosine", "--weight-decay", 0.1)
    message = refused(checkpoints, reviews, tmp_path, *flags)
    assert "--schedule: --mode as-is trains nothing" in message and "--weight-decay:" in message
    out = tmp_path / "out"  # with steps each of them acts
    run_in_process(
        *("sentiment", "--model", checkpoints["bert"], "--train-file", reviews),
        *("--mode", "head-only", "--head", "start", "--epochs", 2, "--schedule", "cosine"),
        *("--weight-decay", 0.1, "--patience", 1, "--output-dir", out),
    )
    assert result(out)["settings"]["schedule"] == "cosine"


def test_the_config_of_a_fitted_head_makes_the_run_again(checkpoints, reviews, tmp_path):
    flags = ("sentiment", "--model", checkpoints["bert"], "--train-file", reviews)
    run_in_process(*flags, "--mode", "head-only", "--output-dir", tmp_path / "one")
    again = ("--config", tmp_path / "one" / "config.yaml", "--output-dir", tmp_path / "two")
    run_in_process("sentiment", *again)
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert one["metrics"] == two["metrics"] and one["settings"]["head"] == "fit"


def test_a_warm_up_longer_than_the_training_is_refused(checkpoints, reviews, tmp_path):
    flags = ("--mode", "full", "--epochs", 1, "--warmup", 5000)
    message = refused(checkpoints, reviews, tmp_path, *flags)
    assert "--warmup 5000: the training has" in message and "never reach its peak" in message
    head = ("--mode", "head-only", "--head", "start", "--epochs", 1, "--warmup", 5000)
    assert "--warmup 5000" in refused(checkpoints, reviews, tmp_path, *head)


def test_a_shallower_model_is_an_ordinary_one(checkpoints, reviews, tmp_path):
    """Of three blocks the first and the last, the last one drawn again, every flag of its own kind."""
    from transformers import AutoModelForSequenceClassification

    out = tmp_path / "out"
    run_in_process(
        *("sentiment", "--model", checkpoints["bert"], "--train-file", reviews, "--mode", "top-2"),
        *("--keep-layers", "0,2", "--reinit-top", 1, "--layer-decay", 0.5, "--l2-sp", 0.01),
        *("--mixout", 0.1, "--schedule", "slanted", "--epochs", 2, "--output-dir", out),
    )
    record = result(out)
    given = {
        **{"keep_layers": "0,2", "reinit_top": 1, "layer_decay": 0.5, "l2_sp": 0.01},
        **{"mixout": 0.1, "schedule": "slanted"},
    }
    assert given.items() <= record["settings"].items()
    rates = [rate for _, rate in record["learning_rates"]]
    peak = record["settings"]["learning_rate"]
    # 12 steps, one of which rises: from a 32nd of the peak to the peak, and down again.
    assert rates[0] == pytest.approx(peak / 32) and rates[1] == pytest.approx(peak)
    assert rates[2] == pytest.approx(peak * (1 + (1 - 1 / 11) * 31) / 32)
    assert "train_l2-sp" in record["history"][-1]
    assert {"block 0", "block 1"} == {p for p in record["parameters"]["by_part"] if "block" in p}
    assert any("encoder.layer.1" in name for name in record["parameters"]["new"])
    model = AutoModelForSequenceClassification.from_pretrained(out / "model")
    assert model.config.num_hidden_layers == len(model.bert.encoder.layer) == 2
    assert record["reload_difference"] <= 1e-6


@pytest.mark.parametrize("mode", ["prompt-3", "prefix-3"])
def test_a_run_with_prompts_is_opened_with_its_adapter(checkpoints, reviews, tmp_path, mode):
    out = tmp_path / "out"
    run_in_process(
        *("sentiment", "--model", checkpoints["bert"], "--train-file", reviews, "--mode", mode),
        *("--epochs", 2, "--learning-rate", 0.01, "--output-dir", out),
    )
    record = result(out)
    assert record["adapter"] == {"merged": False} and record["reload_difference"] <= 1e-6
    assert record["parameters"]["by_part"]["prompt"]["trainable"] > 0
    assert "**not the whole trained model**" in (out / "README.md").read_text()
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    texts = {row.rpartition(",")[0] for row in reviews.read_text().splitlines()}
    for place in (out, out / "model"):
        predictor = load_predictor(place)
        assert hasattr(predictor.model, "peft_config")
        row = next(iter(texts - {"text"}))
        assert predictor(row)["prediction"] in ("positive", "negative")
    test = _test_split(reviews, tmp_path)
    for found, line in zip(load_predictor(out)(test), lines, strict=True):
        assert found["scores"] == pytest.approx(line["scores"], abs=1e-5)


def _test_split(reviews, tmp_path):
    """The texts that the run was scored on."""
    from nlptl.cli.config import parse_args
    from nlptl.tasks.classification import TextClassification

    words = ["--model", "x", "--train-file", str(reviews)]
    _, splits, _ = TextClassification.prepare(parse_args(SentimentConfig, words))
    return splits["test"]["text"][:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", ["ia3", "dora-r2", "rslora-r2-top-1", "bitfit", "gradual", "lp-ft"]
)
def test_every_kind_of_mode_leaves_a_run_that_plain_transformers_opens(
    checkpoints, reviews, tmp_path, family, mode
):
    if family == "t5" and mode == "bitfit":
        pytest.skip("T5 has no biases")
    out = tmp_path / "out"
    run_in_process(
        *("sentiment", "--model", checkpoints[family], "--train-file", reviews, "--mode", mode),
        *("--epochs", 2, "--output-dir", out),
    )
    record = result(out)
    assert record["reload_difference"] <= 1e-6
    assert record.get("adapter", {"merged": True}) == {"merged": True}
    assert (out / "adapter").exists() == mode.startswith(("ia3", "dora", "rslora"))
