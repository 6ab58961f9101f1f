"""--cache and nlptl cache, as a user meets them."""

import pytest
from launching import command, result, run_in_process

from nlptl.errors import UserError


def test_the_command_lists_and_removes(checkpoints, reviews, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "states"))
    flags = ["--model", checkpoints["bert"], "--train-file", reviews, "--mode", "head-only"]
    run_in_process("sentiment", *flags, "--cache", "disk", "--output-dir", tmp_path / "run")
    assert result(tmp_path / "run")["cache"]["blocks"] == 3
    assert "cache: the token that the head reads above block 3" in capsys.readouterr().out
    shown = command("-m", "nlptl", "cache")
    assert "3 entries" in shown.stdout and "texts above block 3, float32" in shown.stdout
    gone = command("-m", "nlptl", "cache", "--clear")
    assert "removed 3 entries" in gone.stdout and "0 entries, 0.0 MB" in gone.stdout
    assert not list((tmp_path / "states/prefix").iterdir())


def test_a_cache_without_frozen_blocks_is_refused(checkpoints, reviews, tmp_path):
    flags = [
        "--model",
        checkpoints["bert"],
        "--train-file",
        reviews,
        "--output-dir",
        tmp_path / "x",
    ]
    for mode in ("full", "lora", "freeze-lower-0"):
        with pytest.raises(UserError, match=f"--cache disk: under --mode {mode} every block"):
            run_in_process("sentiment", *flags, "--mode", mode, "--cache", "disk")
    assert not (tmp_path / "x").exists()
