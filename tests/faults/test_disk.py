"""Disks that are full, files that may not grow, folders that cannot be written: for real, on a small tmpfs."""

import os
import signal
import subprocess
import time

import pytest
from faulty import essence, recipe_of, tell
from sessions import Session

KINDS = ("sentiment", "qa", "pretrain")


def mount(*words) -> bool:
    return subprocess.run(["mount", *map(str, words)], capture_output=True).returncode == 0


@pytest.fixture
def small(tmp_path):
    """A function that gives a file system of so many kilobytes, where the system lets us mount one."""
    made = []

    def make(kilobytes):
        home = tmp_path / f"small-{kilobytes}"
        home.mkdir()
        if not mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", home):
            pytest.skip("mounting a tmpfs takes rights that this user has not")
        made.append(home)
        return home

    yield make
    for home in made:
        subprocess.run(["umount", "-l", str(home)], check=True)


def ended_in_words(session, codes, part) -> list[str]:
    """What is wrong with how a session ended that the disk refused something."""
    said, wrong = session.said, []
    if codes != [1] * len(codes):
        wrong.append(f"exit codes {codes}")
    if "Traceback" in said:
        wrong.append("a traceback")
    if part not in said:
        wrong.append(f"nothing about {part!r}")
    if "tart again with" not in said and "o on with" not in said:
        wrong.append("not how to go on")
    return wrong


def goes_on(kind, words, home, environment, whole) -> list[str]:
    resume = ["--resume"] if (home / "config.yaml").exists() else []
    session = Session(recipe_of(kind), [*words, *resume], home.with_name("log-2"), **environment)
    codes = session.wait()
    if codes != [0]:
        return [f"did not go on: {codes}: {session.said[-1000:]}"]
    return [] if essence(kind, home) == whole else ["other values in the end"]


def counted(what, wrong, session) -> None:
    tell(what, wrong[0].splitlines()[0][:60] if wrong else "survived")
    assert not wrong, f"{wrong}\n{session.said[-3000:]}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kilobytes", [4, 300, 900])
def test_a_full_disk(flags, unbroken, small, tmp_path, kind, kilobytes):
    """From a disk that has not even room for the configuration to one that the second checkpoint fills."""
    whole, _ = unbroken(kind)
    disk = small(kilobytes)
    given = {"NLPTL_CACHE": str(tmp_path / "c"), "HF_DATASETS_CACHE": str(tmp_path / "d")}
    words = [*flags[kind], "--output-dir", disk / "run"]
    session = Session(recipe_of(kind), words, tmp_path / "log", **given)
    codes = session.wait()
    wrong = ended_in_words(session, codes, "No space left")
    if codes == [2] and kilobytes == 4:  # nothing could be begun: the flag is wrong
        wrong = [] if "No space left" in session.said else wrong
    assert mount("-o", "remount,size=100m", disk)
    wrong += goes_on(kind, words, disk / "run", given, whole)
    counted(f"full disk: {kind}, {kilobytes} kB", wrong, session)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kilobytes", [20, 120, 250])
def test_files_that_may_not_grow(flags, unbroken, tmp_path, kind, kilobytes):
    """``ulimit -f``: caches, checkpoints and weights hit it, each in another library."""
    whole, _ = unbroken(kind)
    given = {"NLPTL_CACHE": str(tmp_path / "c"), "HF_DATASETS_CACHE": str(tmp_path / "d")}
    words = [*flags[kind], "--output-dir", tmp_path / "run"]
    limited = {**given, "LARGEST_FILE": str(1024 * kilobytes)}
    session = Session(recipe_of(kind), words, tmp_path / "log", **limited)
    codes = session.wait()
    wrong = [] if codes == [0] else ended_in_words(session, codes, "File too large")
    wrong += goes_on(kind, words, tmp_path / "run", given, whole)
    counted(f"ulimit -f: {kind}, {kilobytes} kB", wrong, session)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_becomes_read_only(flags, unbroken, small, tmp_path, kind):
    """As a file system does that finds an error in itself; of an open lock mount would say that it is busy."""
    whole, _ = unbroken(kind)
    disk = small(102400)
    given = {"WITHOUT_LOCKS": "1"}
    given |= {"NLPTL_CACHE": str(tmp_path / "c"), "HF_DATASETS_CACHE": str(tmp_path / "d")}
    words = [*flags[kind], "--output-dir", disk / "run"]
    session = Session(recipe_of(kind), words, tmp_path / "log", **given)
    until, closed = time.monotonic() + 120, False
    while time.monotonic() < until and session.each[0].is_alive() and not closed:
        if list((disk / "run").glob("checkpoints/**/step-*/files.json")):
            session.kill(signal.SIGSTOP)
            closed = mount("-o", "remount,ro", disk)  # not while a file is being written
            session.kill(signal.SIGCONT)
        time.sleep(0.01)
    codes = session.wait()
    assert closed and mount("-o", "remount,rw", disk)
    wrong = ended_in_words(session, codes, "Read-only file system")
    wrong += goes_on(kind, words, disk / "run", given, whole)
    counted(f"read-only: {kind}", wrong, session)


@pytest.mark.slow
def test_folders_that_cannot_be_written(flags, tmp_path):
    """Refused before any work, with the path; of the superuser's rights nothing is closed."""
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    (tmp_path / "closed").mkdir(mode=0o500)
    for name, given in (
        ("closed/run", {}),
        ("run", {"HF_DATASETS_CACHE": str(tmp_path / "closed/data")}),
    ):
        session = Session(
            "sentiment",
            [*flags["sentiment"], "--output-dir", tmp_path / name],
            tmp_path / "log",
            **given,
        )
        assert session.wait() == [2] and "closed" in session.said
        assert "Traceback" not in session.said
