"""How commands end, and YAML that could be misread."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import ROOT

import nlptl
from nlptl.cli.config import ClassifyConfig, SentimentConfig, load_yaml, parse_args
from nlptl.cli.ending import disk_error, exit_codes
from nlptl.cli.main import main
from nlptl.errors import ConfigError, Diverged, UserError
from nlptl.runs import directory
from nlptl.runs.directory import check_free, release_on_failure, reserve
from nlptl.runs.locking import lock, locked, unlock
from nlptl.train.stopping import Stopped, _Signals, command_to_go_on, listening


class SafetensorError(Exception):
    """Named as that of safetensors, which has no number either."""


def test_a_full_disk_is_told_in_a_line(capsys, monkeypatch):
    monkeypatch.setattr(directory, "_RESERVED", [])  # what another test has left
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise OSError(errno.ENOSPC, "No space left on device", "runs/a/log.jsonl")
    assert ended.value.code == 1
    said = capsys.readouterr().err  # behind what a bar of another test may draw as it is closed
    assert said.endswith("\nerror: runs/a/log.jsonl: No space left on device.\n")
    assert disk_error(SafetensorError("I/O error: File too large (os error 27)"))
    assert disk_error(FileNotFoundError(errno.ENOENT, "No such file")) is None
    assert disk_error(ValueError("os error 28")) is None


def test_a_name_that_no_file_can_have_is_the_users(capsys):
    with pytest.raises(SystemExit) as ended, exit_codes():
        Path("x" * 5000).stat()
    assert ended.value.code == 2 and "found one of 5,000 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["run", "classify", "--train-file", "caf\udce9.csv", "--output-dir", "o"],
        ["run", "classify", "--output-dir=o_caf\udce9"],
        ["train", "--config", "caf\udce9.yaml"],
        ["predict", "caf\udce9"],
        ["predict", "r", "--file", "a.csv", "--output", "caf\udce9"],
    ],
)
def test_a_path_in_another_encoding_is_refused_before_any_work(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nlptl", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "caf\\udce9" in said and "expected characters that UTF-8 can write, found other" in said


def test_every_text_of_a_configuration_can_be_written(tmp_path):
    with pytest.raises(UserError, match=r"(?s)--train-file is caf.*2. --output-dir is o"):
        parse_args(ClassifyConfig, ["--train-file", "caf\udce9", "--output-dir", "o\udce9"])
    (tmp_path / "c.yaml").write_text('train_file: "a\\udce9"\ntext_column: ["b", "c\\udce9"]\n')
    with pytest.raises(UserError) as caught:
        load_yaml(ClassifyConfig, tmp_path / "c.yaml")
    for name in ("train_file is 'a", "text_column is ['b', 'c"):
        assert name in str(caught.value) and "UTF-8 can write" in str(caught.value)
    with pytest.raises(UserError, match=r"data is 'caf.udce9.csv'; expected characters that UTF-8"):
        nlptl.fit("caf\udce9.csv")
    with pytest.raises(UserError, match=r"output_dir is .*; expected characters that UTF-8"):
        nlptl.fit([{"text": "a", "label": "b"}], output_dir=tmp_path / "o\udce9")
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_a_loss_that_is_not_finite_is_one_paragraph(capsys):
    error = Diverged("The loss became nan by step 3. Lower --learning-rate.")
    error.add_note("Nothing was kept.")
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise error
    assert ended.value.code == 1
    expected = "error: The loss became nan by step 3. Lower --learning-rate. Nothing was kept."
    assert " ".join(capsys.readouterr().err.split()) == expected


def test_a_reader_that_has_enough_ends_the_command_quietly():
    """As ``nlptl predict … | head -1``: more than a pipe holds is printed, and nobody reads it."""
    code = "from nlptl.cli.ending import exit_codes\nwith exit_codes():\n    print('a line\\n' * 100_000)"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT}
    for words in (code, code.replace("100_000", "10")):  # too much, and what waits for the end
        with subprocess.Popen([sys.executable, "-c", words], **pipes) as made:
            made.stdout.close()
            assert made.stderr.read() == b""
        assert made.returncode == 128 + signal.SIGPIPE


def test_a_stop_has_the_exit_code_of_its_signal(capsys):
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise Stopped(15, "at step 3")
    assert ended.value.code == 143
    assert "stopped by SIGTERM at step 3" in capsys.readouterr().err


@pytest.fixture
def in_front():
    """Take Ctrl-C, which a job in the background does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Falls:
    """Ctrl-C comes while this is deleted."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)


def _work_that_a_signal_falls_into() -> None:
    Falls()
    for _ in range(500):
        time.sleep(0.01)


@pytest.mark.usefixtures("in_front")
def test_a_signal_that_falls_where_nothing_can_be_raised_is_heard(monkeypatch):
    """Python lets go of what is raised in ``__del__``; the run must end all the same."""
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)

    with pytest.raises(Stopped) as stopped, listening():
        _work_that_a_signal_falls_into()
    assert stopped.value.signum == signal.SIGINT
    assert not heard
    assert sys.unraisablehook == heard.append


@pytest.mark.usefixtures("in_front")
def test_a_signal_that_falls_while_another_is_sent_again_is_heard(monkeypatch):
    """The second one falls into the hook that looks after the first, where Python raises nothing either."""
    send, sent = _Signals.send_again, []

    def while_it_sends(self, signum):
        send(self, signum)
        sent.append(signum)
        if len(sent) == 1:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0)

    monkeypatch.setattr(_Signals, "send_again", while_it_sends)

    with pytest.raises(Stopped), listening():
        _work_that_a_signal_falls_into()
    assert sent == [signal.SIGINT, signal.SIGTERM]


def test_the_command_that_goes_on_has_resume_once():
    once = "python recipes/qa.py --model 'a b' --resume"
    for words in (
        ["recipes/qa.py", "--model", "a b"],
        ["recipes/qa.py", "--model", "a b", "--resume"],
    ):
        assert command_to_go_on(resume=True, argv=words) == once
    assert command_to_go_on(resume=False, argv=["/x/bin/nlptl", "report"]) == "nlptl report"
    assert command_to_go_on(resume=False, argv=["/x/nlptl/__main__.py"]) == "python -m nlptl"
    by_name = ["nlptl run sentiment", "--mode", "full"]
    assert command_to_go_on(resume=True, argv=by_name) == "nlptl run sentiment --mode full --resume"


@pytest.mark.parametrize(
    "text",
    [
        *("mode: full\nmode: lora", "batch-size: 8\nbatch_size: 4", "seed: 010", "seed: 1:30"),
        *("seed: !!int x", "seed: !!timestamp x", f"model: {'[' * 3000}", "? [a]\n: 3"),
    ],
)
def test_yaml_that_could_be_misread_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match="c.yaml"):
        load_yaml(SentimentConfig, tmp_path / "c.yaml")


def test_a_date_in_a_path_is_text(tmp_path):
    (tmp_path / "c.yaml").write_text("output_dir: 2001-99-99\nseed: 1_000\nlearning_rate: 1.5e-4")
    read = load_yaml(SentimentConfig, tmp_path / "c.yaml")
    assert (str(read["output_dir"]), read["seed"]) == ("2001-99-99", 1000)
    assert read["learning_rate"] == 1.5e-4


@pytest.mark.parametrize("name", ["README.md", "predictions.jsonl", "adapter", "report.html"])
def test_files_of_the_user_are_not_overwritten(tmp_path, name):
    check_free(tmp_path, resume=False)
    (tmp_path / "notes.txt").write_text("mine")
    check_free(tmp_path, resume=False)
    (tmp_path / name).write_text("mine")
    for resume in (False, True):
        with pytest.raises(ConfigError, match=name):
            check_free(tmp_path, resume=resume)


@pytest.mark.parametrize("name", ["model", "checkpoints", "result.json"])
def test_what_only_looks_like_a_run_is_not_resumed(tmp_path, name):
    """A folder of one's own may have a usual name; without a configuration nothing there can go on."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.bin").write_text("mine")
    with pytest.raises(ConfigError, match=f"holds '?{name}'? but no config.yaml"):
        check_free(tmp_path, resume=True)
    (tmp_path / "config.yaml").write_text("")
    check_free(tmp_path, resume=True)


def test_a_failed_preparation_leaves_files_that_are_not_a_checkpoints(tmp_path):
    home, mine = tmp_path / "run", tmp_path / "run/checkpoints/mine.bin"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    (mine.parent / ".partial-0000001").mkdir()
    reserve(home, "seed: 0")
    with pytest.raises(ConfigError, match="wrong"), release_on_failure(home):
        raise ConfigError("wrong")
    assert [path.name for path in home.rglob("*")] == ["checkpoints", "mine.bin"]


def test_two_sessions_exclude_each_other(tmp_path):
    from filelock import FileLock

    other = FileLock(tmp_path / ".lock")
    other.acquire()
    with pytest.raises(ConfigError, match="another session"):
        lock(tmp_path)
    other.release()
    lock(tmp_path)
    unlock(tmp_path)
    assert not (tmp_path / ".lock").exists()


def test_a_report_locks_its_run_and_nothing_is_left(tmp_path):
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()
        with locked(tmp_path / "seeds"):  # lies within
            assert not (tmp_path / "seeds").exists()
    assert not (tmp_path / ".lock").exists()
    lock(tmp_path)
    with locked(tmp_path):
        pass
    assert (tmp_path / ".lock").exists()  # whoever had it keeps it
    unlock(tmp_path)


DEAF = """
import ctypes, os, sys
from nlptl.cli.ending import exit_codes
from nlptl.train import stopping
stopping.DEAF = 0.5
lock, c = ctypes.create_string_buffer(64), ctypes.CDLL(None)
with exit_codes():
    if os.fork() == 0:  # its signals are not this one's
        os.kill(os.getpid(), 15)
        os._exit(9)
    print("child", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    for _ in range(2):  # the second time it waits for ever, and no signal wakes it
        print("waits", flush=True)
        c.pthread_mutex_lock(lock)
"""


def test_one_of_several_that_waits_in_code_that_hears_nothing_ends_at_a_signal():
    """torchrun would kill it after half a minute, without a word."""
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert [process.stdout.readline() for _ in range(3)] == ["child -15\n", *["waits\n"] * 2]
        time.sleep(0.7)  # the child's signal ends nothing
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 143
    assert said.strip() == "stopped by SIGTERM while it waited for another process"
