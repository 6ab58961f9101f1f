"""Ctrl-C and SIGTERM, sent to a recipe as a terminal and a scheduler send them."""

import os
import re
import shlex
import signal
import time
from collections.abc import Sequence

import pytest
from faulty import tell
from interrupting import start, wait_for
from launching import command, result


def flags(checkpoints, reviews, epochs: int) -> list[object]:
    return [
        *("recipes/sentiment.py", "--model", checkpoints["bert"], "--train-file", reviews),
        *("--mode", "full", "--epochs", epochs, "--batch-size", 8, "--save-every", 1),
    ]


def go_on(stderr: str) -> Sequence[str]:
    """The command in the message, as words."""
    return shlex.split(stderr.strip().split("Go on with: ")[-1])


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_a_signal_ends_a_run_with_a_checkpoint_and_the_way_on(
    checkpoints, reviews, tmp_path, number
):
    """Stopped in the middle and resumed by the command of the message, the weights are the same bytes."""
    words = flags(checkpoints, reviews, 3)
    process = start(*words, "--output-dir", tmp_path / "run")
    wait_for(process, tmp_path, "run/checkpoints/step-*")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stderr
    assert "Traceback" not in stderr
    said = re.search(
        r"stopped by (Ctrl-C|SIGTERM) at step (\d+); the checkpoint of step (\d+) is", stderr
    )
    assert said and said[2] == said[3], stderr
    assert [*tmp_path.glob(f"run/checkpoints/step-*{said[2]}")]
    first, *rest = go_on(stderr)
    assert (first, rest[0], rest[-1]) == ("python", "recipes/sentiment.py", "--resume")
    if number == signal.SIGINT:  # once is enough
        assert command(*rest).returncode == 0
        whole = command(*words, "--output-dir", tmp_path / "whole")
        assert whole.returncode == 0, whole.stderr
        one, other = (tmp_path / name / "model/model.safetensors" for name in ("run", "whole"))
        assert one.read_bytes() == other.read_bytes()
        assert result(tmp_path / "run")["history"] == result(tmp_path / "whole")["history"]


def test_a_signal_before_the_first_step_gives_the_directory_back(checkpoints, reviews, tmp_path):
    process = start(*flags(checkpoints, reviews, 6), "--output-dir", tmp_path / "run")
    wait_for(process, tmp_path, "run/config.yaml")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    if "at step" not in stderr:  # it may have been quick
        assert "nothing was kept" in stderr
        assert not (tmp_path / "run").exists()
        assert "--resume" not in stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("terminal", signal.SIGINT),  # to torchrun and to all that it has started
        ("scheduler", signal.SIGTERM),  # to torchrun, which passes it on
        ("early", signal.SIGTERM),  # while a process may still wait for the other one to begin
        ("nlptl", signal.SIGTERM),  # nlptl run --processes 2
    ],
)
def test_under_torchrun_too(checkpoints, reviews, tmp_path, how, number):
    """The launcher ends within the half minute after which it would kill; what is kept is said once."""
    recipe, *words = [*flags(checkpoints, reviews, 20), "--output-dir", tmp_path / "run"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, recipe]
    if how == "nlptl":
        launch = ["-m", "nlptl", "run", "sentiment", "--processes", 2]
    process = start(*launch, *words)
    wait_for(process, tmp_path, "run/config.yaml" if how == "early" else "run/checkpoints/step-*")
    began = time.monotonic()
    if how == "terminal":
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    outcome, kept = "survived", [*tmp_path.glob("run/checkpoints/step-*")]
    if how == "early" and not kept:
        outcome = "the directory is not free" if (tmp_path / "run").exists() else outcome
    elif stderr.count("Go on with: ") != 1 or "--resume" not in stderr:
        outcome = "not said once how to go on"
    elif how == "nlptl" and (process.returncode, "nlptl run sentiment --processes 2" in stderr) != (
        143,
        True,
    ):
        outcome = f"exit code {process.returncode}, or another command"
    outcome = outcome if time.monotonic() - began < 30 else "it took half a minute"
    tell(f"torchrun: {how}", outcome)
    assert outcome == "survived", stderr[-3000:]
