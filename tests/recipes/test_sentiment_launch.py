"""Launched as users launch it: accelerate, two processes, killed and resumed, seeds, trackers."""

import json
import shutil

import pytest
from launching import command, result, run_in_process, took_long
from safetensors.torch import load_file
from transformers import AutoConfig

from nlptl.cli import report as reporting
from nlptl.cli.config import SentimentConfig, load_yaml


@pytest.fixture(scope="session")
def calm(tmp_path_factory, checkpoints):
    """The tiny BERT without dropout: what two processes compute is then what one does."""
    path = tmp_path_factory.mktemp("calm") / "bert"
    shutil.copytree(checkpoints["bert"], path)
    config = AutoConfig.from_pretrained(path)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.save_pretrained(path)
    return path


def test_two_processes_give_the_rates_and_the_metric_of_one(calm, reviews, tmp_path):
    """Seven test examples on two processes: one has four, the other three and a filler."""
    flags = ["--model", calm, "--train-file", reviews, "--epochs", 2, "--max-eval-examples", 7]
    flags += ["--batch-size", 5, "--gradient-accumulation-steps", 2, "--learning-rate", 2e-3]
    run_in_process("sentiment", *flags, "--output-dir", tmp_path / "one")
    done = command(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
        *("recipes/sentiment.py", *flags, "--output-dir", tmp_path / "two"),
    )
    assert done.returncode == 0, done.stderr
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert one["n"]["test"] == two["n"]["test"] == 7
    assert one["learning_rates"] == two["learning_rates"] and len(one["learning_rates"]) > 10
    assert one["metrics"]["accuracy"] == two["metrics"]["accuracy"]
    assert one["metrics"]["loss"] == pytest.approx(two["metrics"]["loss"], abs=1e-4)
    lines = [
        (tmp_path / name / "predictions.jsonl").read_text().splitlines() for name in ("one", "two")
    ]
    for first, second in zip(*[[json.loads(x) for x in part] for part in lines], strict=True):
        assert first["id"] == second["id"] and first["prediction"] == second["prediction"]
        assert first["scores"] == pytest.approx(second["scores"], abs=1e-4)
    trained = [load_file(tmp_path / name / "model/model.safetensors") for name in ("one", "two")]
    for name, tensor in trained[0].items():
        assert (tensor - trained[1][name]).abs().max() < 1e-3, name


@pytest.mark.slow
def test_two_processes_find_the_learning_rate_of_one(calm, reviews, tmp_path):
    flags = ["--model", calm, "--train-file", reviews, "--epochs", 1, "--batch-size", 4]
    flags += ["--learning-rate", "find", "--head", "random"]
    run_in_process("sentiment", *flags, "--output-dir", tmp_path / "one")
    done = command(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
        *("recipes/sentiment.py", *flags, "--output-dir", tmp_path / "two"),
    )
    assert done.returncode == 0, done.stderr
    one, two = (result(tmp_path / name) for name in ("one", "two"))
    (first,), (second,) = (each["learning_rate_searches"] for each in (one, two))
    assert first["losses"][:50] == pytest.approx(second["losses"][:50], abs=1e-3)
    assert first["rate"] == pytest.approx(second["rate"], rel=0.5)
    assert two["reload_difference"] <= 1e-6


@pytest.mark.slow
def test_two_processes_share_cached_states(calm, reviews, tmp_path):
    flags = ["--model", calm, "--train-file", reviews, "--epochs", 2, "--batch-size", 5]
    flags += ["--mode", "freeze-lower-1", "--learning-rate", 2e-3]
    run_in_process("sentiment", *flags, "--cache", "off", "--output-dir", tmp_path / "one")
    done = command(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
        *("recipes/sentiment.py", *flags, "--cache", "disk", "--output-dir", tmp_path / "two"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cache: the states above block 1") == 1
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert one["cache"] is None and two["cache"]["kind"] == "disk"
    assert one["metrics"]["loss"] == pytest.approx(two["metrics"]["loss"], abs=1e-4)
    trained = [load_file(tmp_path / name / "model/model.safetensors") for name in ("one", "two")]
    for name, tensor in trained[0].items():
        assert (tensor - trained[1][name]).abs().max() < 1e-3, name


def test_accelerate_launch_with_mixed_precision_and_a_tracker(checkpoints, reviews, tmp_path):
    done = command(
        *("-m", "accelerate.commands.launch", "--cpu", "--mixed_precision", "bf16"),
        *("recipes/sentiment.py", "--model", checkpoints["roberta"], "--train-file", reviews),
        *("--mode", "lora-r4", "--epochs", 2, "--tracker", "tensorboard"),
        *("--output_dir", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    assert "lora-r4: " in done.stdout and "parameters train" in done.stdout
    assert (
        "epoch  train loss  val loss" in done.stdout and "steps [" not in done.stderr
    )  # no bar in a file
    assert "model/ was read back and gives the same logits" in done.stdout
    assert any("tfevents" in path.name for path in (tmp_path / "run").rglob("*"))


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(
    checkpoints, reviews, tmp_path, monkeypatch
):
    from nlptl.train import hooks

    flags = ["--model", checkpoints["bert"], "--train-file", reviews, "--epochs", 4]
    run_in_process("sentiment", *flags, "--output-dir", tmp_path / "whole")

    class PowerCut(Exception):
        pass

    scored = hooks.KeepBest.on_epoch

    def cut(self, state):
        stop = scored(self, state)
        if state.epoch == 3:
            raise PowerCut
        return stop

    monkeypatch.setattr(hooks.KeepBest, "on_epoch", cut)
    with pytest.raises(PowerCut):
        run_in_process("sentiment", *flags, "--output-dir", tmp_path / "cut")
    monkeypatch.undo()
    assert not (tmp_path / "cut/result.json").exists()
    took_long(tmp_path / "cut")
    run_in_process("sentiment", *flags, "--output-dir", tmp_path / "cut", "--resume")
    whole, cut_ = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "cut")
    )
    assert all((tensor == cut_[name]).all() for name, tensor in whole.items())
    one, two = result(tmp_path / "whole"), result(tmp_path / "cut")
    assert one["metrics"] == two["metrics"] and one["history"] == two["history"]
    timing = two["timing"]
    assert timing["train_seconds"] > 1000 and timing["validation_seconds"] > 100
    speed = 4 * two["n"]["train"] / timing["train_seconds"]
    assert timing["examples_per_second"] == pytest.approx(speed, abs=0.01)


def test_resuming_a_finished_run_repeats_nothing(runs, capsys):
    directory = runs["bert", "full"]
    before = (directory / "model/model.safetensors").stat().st_mtime_ns
    run_in_process("sentiment", "--config", directory / "config.yaml", "--resume")
    assert (directory / "model/model.safetensors").stat().st_mtime_ns == before
    assert "is finished" in capsys.readouterr().out


def test_a_run_whose_model_was_not_read_back_is_not_finished(
    checkpoints, reviews, tmp_path, monkeypatch, capsys
):
    """The power fails after the figures were written, and before the model was."""
    from nlptl.runs import directory as saving

    flags = ["--model", checkpoints["bert"], "--train-file", reviews, "--epochs", 1]
    flags += ["--output-dir", tmp_path / "run"]

    def cut(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(saving, "save_pretrained", cut)
    with pytest.raises(KeyboardInterrupt):
        run_in_process("sentiment", *flags)
    monkeypatch.undo()
    half = result(tmp_path / "run")
    assert half["reload_difference"] is None and not (tmp_path / "run/model").exists()
    run_in_process("sentiment", *flags, "--resume")
    whole = result(tmp_path / "run")
    assert whole["reload_difference"] <= 1e-6 and whole["metrics"] == half["metrics"]
    assert {"model", "README.md"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert "is finished" not in capsys.readouterr().out
    run_in_process("sentiment", *flags, "--resume")
    assert "is finished" in capsys.readouterr().out


def gold(directory):
    lines = (directory / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line)["gold"] for line in lines]


def test_seeds_give_whole_runs_and_their_spread(checkpoints, reviews, tmp_path, monkeypatch):
    run_in_process(
        "sentiment",
        *("--model", checkpoints["bert"], "--train-file", reviews, "--epochs", 1),
        *("--seeds", 3, "--seed", 4, "--output-dir", tmp_path / "run"),
    )
    record = result(tmp_path / "run")
    assert record["seeds"]["seeds"] == [4, 5, 6]
    each = [result(tmp_path / "run" / d)["metrics"]["accuracy"] for d in ("", "seeds/5", "seeds/6")]
    found = record["seeds"]["metrics"]["accuracy"]
    assert found["scores"] == each
    mean = sum(each) / 3
    assert found["mean"] == pytest.approx(mean)
    assert found["sd"] == pytest.approx((sum((x - mean) ** 2 for x in each) / 2) ** 0.5)
    assert record["seeds"]["majority"] == 0.5
    own = SentimentConfig(
        **load_yaml(SentimentConfig, tmp_path / "run/seeds/5/config.yaml"),
    )
    assert (own.seed, own.seeds, own.split_seed) == (5, 1, 4)
    assert own.output_dir == tmp_path / "run/seeds/5"
    assert gold(tmp_path / "run/seeds/5") == gold(tmp_path / "run")
    run_in_process(
        *("sentiment", "--config", tmp_path / "run/seeds/5/config.yaml"),
        *("--output-dir", tmp_path / "again"),
    )
    assert gold(tmp_path / "again") == gold(
        tmp_path / "run"
    )  # carved like the first run's, not by its own seed
    again = result(tmp_path / "again")
    assert again["metrics"] == result(tmp_path / "run/seeds/5")["metrics"]
    monkeypatch.setattr(reporting, "report_run", lambda ready, *_: ready)
    ready = reporting.report_directory(tmp_path / "run/seeds/5", tier="quick")
    assert ready.task.gold(ready.splits["test"]) == gold(tmp_path / "run")
    assert record["seeds"]["failed"] == [
        s for s, x in zip([4, 5, 6], each, strict=True) if x <= 0.51
    ]


def test_balanced_weights_are_recorded(checkpoints, tmp_path):
    """20 good, 10 bad in training: 30 / (2 * 20) and 30 / (2 * 10), in the order of the classes."""
    rows = ["text,label", *["fine film,good", "great music,good", "dull plot,bad"] * 10]
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    run_in_process(
        "sentiment",
        *("--model", checkpoints["bert"], "--dataset", tmp_path, "--class-weights", "balanced"),
        *("--epochs", 1, "--output-dir", tmp_path / "run"),
    )
    data = result(tmp_path / "run")["data"]
    assert data["train_counts"] == {"bad": 10, "good": 20}
    assert data["class_weights"] == [1.5, 0.75]
    assert data["carved_from_train"] == {}


def test_a_run_of_the_library_has_no_configuration_and_its_card_names_none(
    checkpoints, reviews, tmp_path
):
    import nlptl

    _, splits, _ = nlptl.TextClassification.prepare(SentimentConfig(train_file=reviews))
    accelerator = nlptl.start_accelerator(tracker=None, output_dir=tmp_path, seed=0)
    settings = nlptl.FinetuneArgs(str(checkpoints["bert"]), nlptl.parse_mode("head-only"), 1e-3, 1)
    task = nlptl.TextClassification(("negative", "positive"))
    run = nlptl.finetune(task, splits, settings, accelerator=accelerator)
    nlptl.save_run(run, tmp_path / "run", extra={}, accelerator=accelerator)
    assert not (tmp_path / "run/config.yaml").exists()
    card = (tmp_path / "run/README.md").read_text()
    assert "The whole record is in `result.json`; one line" in card and "config.yaml" not in card
