"""Wrong input: one clear paragraph, code 2, before any slow work, and nothing written."""

import json
import shutil

import pytest
from launching import command, run_in_process

from nlptl.cli.config import SentimentConfig
from nlptl.cli.output import reserve_output_dir
from nlptl.errors import ConfigError, UserError
from nlptl.runs.directory import release_on_failure


@pytest.fixture
def refused(checkpoints, reviews, tmp_path):
    """Run with good flags and some bad ones; return the message, and make sure nothing is there."""

    def run(*argv, model=checkpoints["bert"], data=reviews):
        good = ["--model", model, "--output-dir", tmp_path / "out"]
        good += ["--train-file", data] if data else []
        with pytest.raises(UserError) as caught:
            run_in_process("sentiment", *good, *argv)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    return run


def table(path, lines, header="text,label"):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


GOOD = ["fine film,good", "dull plot,bad"] * 10


def test_modes(refused, checkpoints):
    assert "no such mode. Did you mean 'head-only'" in refused("--mode", "head-onyl")
    message = refused("--mode", "freeze-lower-4")
    assert f"{checkpoints['bert']} has 3 blocks. Choose 0" in message
    assert "t5" in (message := refused("--mode", "freeze-lower-7", model=checkpoints["t5"]))
    assert "has 6 blocks" in message


def test_a_seed_of_the_splits_that_there_cannot_be(refused):
    assert refused("--split-seed", -1) == "--split-seed is -1; expected 0 to 4294967295."


def test_adapters_that_find_no_layer(refused, checkpoints):
    lora = ("--mode", "lora-above-1", "--lora-targets")
    message = refused(*lora, "query", "qery", "--epochs", -1)
    assert message.startswith("2 things need your attention")
    assert "--lora-targets qery: no linear layer" in message
    assert "There are: dense, key, query, value; or all-linear." in message
    assert "--lora-targets query" in refused(*lora, "query", model=checkpoints["t5"])


def test_weights_that_cannot_be_read_leave_the_directory_free(
    checkpoints, reviews, tmp_path, refused
):
    """Found only when the weights are loaded; the corrected command then finds no other run there."""
    shutil.copytree(checkpoints["bert"], tmp_path / "cut")
    weights = tmp_path / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "the checkpoint cannot be read" in refused("--epochs", 1, model=tmp_path / "cut")
    weights.write_bytes((checkpoints["bert"] / "model.safetensors").read_bytes())
    run_in_process(
        *("sentiment", "--model", tmp_path / "cut", "--train-file", reviews, "--epochs", 1),
        *("--output-dir", tmp_path / "out"),
    )
    assert (tmp_path / "out/model").exists()


def test_an_error_gives_no_directory_back_that_holds_work(tmp_path):
    for name, stays in (("config.yaml", False), ("events", False), ("log.jsonl", True)):
        directory = tmp_path / name
        directory.mkdir()
        (directory / name).write_text("")
        (directory / "config.yaml").write_text("")
        with pytest.raises(RuntimeError, match="no memory"), release_on_failure(directory):
            raise RuntimeError("no memory")
        assert (directory / "config.yaml").exists() is stays
        assert directory.exists() is (name != "config.yaml")


def test_files_and_columns(refused, tmp_path):
    assert "there is no such file. Did you mean 'a.csv'" in refused(
        "--train-file", table(tmp_path / "a.csv", GOOD).with_name("b.csv"), data=None
    )
    (tmp_path / "empty.csv").write_text("")
    assert "empty.csv: the file is empty" in refused(data=tmp_path / "empty.csv")
    assert "It has: text, label" in refused("--label-column", "stars")
    odd = table(tmp_path / "odd.csv", GOOD, header="words,mark")
    message = refused(data=odd)
    assert "Say which with --text-column" in message and "Say which with --label-column" in message


def test_labels(refused, tmp_path):
    one = table(tmp_path / "one.csv", ["a,x", "b,x"])
    assert "one class only, 'x'" in refused(data=one)
    few = table(tmp_path / "few.csv", ["a film,good", "a book,bad"])
    assert "aside leaves no training examples. Give more" in refused(data=few)
    for most, left in ((1, "no training examples"), (2, "training examples of one class only")):
        said = refused("--max-train-examples", most, data=table(tmp_path / "t.csv", GOOD))
        assert f"--max-train-examples {most} leaves {left}" in said
    other = table(tmp_path / "dev.csv", ["a film,good", "a book,ugly"])
    message = refused("--validation-file", other, data=table(tmp_path / "t.csv", GOOD))
    assert "The validation split has labels that the training set never has: ugly" in message


def test_texts(refused, tmp_path):
    holes = table(tmp_path / "holes.csv", [*GOOD, ",good", '"  ",bad'])
    assert "empty texts: 2 of 22 (rows 20, 21)" in refused(data=holes)
    numbers = table(tmp_path / "numbers.csv", ["1,a", "2,b"])
    assert "column 'text' holds numbers and no text" in refused(data=numbers)


def test_models(refused, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "notes.txt").write_text("")
    message = refused(model=tmp_path / "weights")
    assert "is not a model directory: it has no config.json (it holds notes.txt)" in message
    assert "could not be loaded from the hub" in refused(model="nobody/no-such-model")
    assert "there is no such bundled checkpoint" in refused(model="bundled/gpt")


def test_half_precision_that_cannot_work(refused, checkpoints, monkeypatch):
    import torch

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert "fp16 needs a GPU" in refused()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert "overflow in fp16" in refused(model=checkpoints["t5"])


def test_a_hub_name_in_the_cache_works_offline(checkpoints, reviews, tmp_path, monkeypatch):
    """A fake hub cache: what a user has who once downloaded the checkpoint."""
    import shutil

    from huggingface_hub import constants

    commit = "0" * 40
    home = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(checkpoints["bert"], home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    run_in_process(
        "sentiment",
        *("--model", "someone/tiny", "--train-file", reviews, "--epochs", 1),
        *("--output-dir", tmp_path / "out"),
    )
    assert json.loads((tmp_path / "out/result.json").read_text())["model"] == "someone/tiny"


def test_numbers_flags_and_everything_else_in_one_message(refused, tmp_path):
    message = refused(
        *("--mode", "ful", "--batch-size", 0, "--epochs", -1, "--max-length", 900),
        *("--tracker", "nothing", "--text-column", "txet", "--label-column", "lable"),
    )
    assert message.startswith("7 things need your attention:\n1. ")
    for part in (
        "--batch-size is 0; expected a number above 0",
        "--epochs is -1.0",
        "--tracker nothing: there is no such tracker",
        "Did you mean 'full'",
        "--max-length 900: the model takes at most 64 tokens",
        "Did you mean 'text'",
        "Did you mean 'label'",
    ):
        assert part in message


def test_another_runs_directory_is_never_written_over(runs, checkpoints, reviews):
    directory = runs["bert", "head-only"]
    before = {p: p.stat().st_mtime_ns for p in directory.rglob("*")}
    with pytest.raises(UserError, match="holds another run .*--resume"):
        run_in_process(
            "sentiment",
            *("--model", checkpoints["bert"], "--train-file", reviews, "--output-dir", directory),
        )
    with pytest.raises(UserError, match="--mode was head-only, is full"):
        run_in_process(
            "sentiment", "--config", directory / "config.yaml", "--mode", "full", "--resume"
        )
    assert before == {p: p.stat().st_mtime_ns for p in directory.rglob("*")}


def test_a_finished_run_is_not_passed_over_on_other_data(checkpoints, reviews, tmp_path):
    own = tmp_path / "own.csv"
    shutil.copy(reviews, own)
    words = (
        "sentiment",
        "--model",
        checkpoints["bert"],
        "--train-file",
        own,
        "--mode",
        "head-only",
    )
    words += ("--output-dir", tmp_path / "run")
    run_in_process(*words)
    run_in_process(*words, "--resume")
    own.write_text(own.read_text("utf-8").replace("good", "fine", 1), "utf-8")
    with pytest.raises(UserError, match="run is finished, and its data have changed since"):
        run_in_process(*words, "--resume")


def test_an_output_directory_that_cannot_be(refused, tmp_path, monkeypatch):
    (tmp_path / "afile").write_text("")
    message = refused("--output-dir", tmp_path / "afile/x", "--epochs", 0)
    assert f"--output-dir {tmp_path / 'afile/x'}: {tmp_path / 'afile'} is a file" in message
    assert "--epochs is 0" in message
    assert "afile is a file; expected a directory" in refused("--output-dir", tmp_path / "afile")

    def denied(self, **given):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nlptl.runs.directory.Path.mkdir", denied)
    with pytest.raises(ConfigError, match=r"cannot be written to \(Permission denied\)"):
        reserve_output_dir(SentimentConfig(output_dir=tmp_path / "out"))


def test_configuration_files(refused, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("mdoe: full\nbatch_size: 4\n")
    assert "unknown key 'mdoe'. Did you mean 'mode'" in refused("--config", path)
    assert "there is no file" in refused("--config", tmp_path / "d.yaml")


def test_the_command_line_prints_one_paragraph_and_exits_with_2(tmp_path):
    done = command(
        "recipes/sentiment.py",
        *("--mode", "freeze-lower-99", "--model", tmp_path, "--train-file", "nowhere.csv"),
        *("--output-dir", tmp_path / "out"),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error: 2 things need your attention:" in done.stderr
    assert not (tmp_path / "out").exists()


def test_literal_special_tokens_simply_work(checkpoints, tmp_path, family):
    """T5's classifier fails on a batch in which one text has more `</s>` than another."""
    lines = [f"a good </s> film {'</s> ' * (i % 3)}[SEP] <pad>,{'ab'[i % 2]}" for i in range(30)]
    run_in_process(
        "sentiment",
        *("--model", checkpoints[family], "--train-file", table(tmp_path / "t.csv", lines)),
        *("--epochs", 1, "--output-dir", tmp_path / "out"),
    )
    assert (tmp_path / "out" / "model").exists()


def test_long_texts_are_cut_counted_and_said(checkpoints, tmp_path, capsys):
    lines = [f"{'good film ' * (60 if i < 5 else 2)},{'ab'[i % 2]}" for i in range(30)]
    run_in_process(
        "sentiment",
        *("--model", checkpoints["bert"], "--train-file", table(tmp_path / "t.csv", lines)),
        *("--epochs", 1, "--output-dir", tmp_path / "out"),
    )
    record = json.loads((tmp_path / "out/result.json").read_text())
    assert sum(record["truncated"].values()) == 5
    assert "Texts longer than 64 tokens were cut" in capsys.readouterr().out
