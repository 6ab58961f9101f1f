"""One finished run for each family and mode, shared by the tests here and made when first asked for."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path

import pytest
from launching import MODES, QA_FLAGS, questions, run_in_process
from tiny import FAMILIES


class Runs(Mapping[tuple[str, str], Path]):
    """Directories of finished runs; the test processes of one session have them in common.

    Args:
        home: Folder of all of them.
        make: Gets family, mode and directory, and leaves a finished run there.
    """

    def __init__(self, home: Path, make: Callable[[str, str, Path], None]) -> None:
        self.home, self.make = home, make
        home.mkdir(exist_ok=True)

    def __getitem__(self, key: tuple[str, str]) -> Path:
        directory = self.home / "-".join(key)
        with open(f"{directory}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not Path(f"{directory}.made").exists():
                self.make(*key, directory)
                Path(f"{directory}.made").touch()
        return directory

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return product(FAMILIES, MODES)

    def __len__(self) -> int:
        return len(FAMILIES) * len(MODES)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder of this session, the same for each of its processes."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def runs(shared, checkpoints, reviews) -> Runs:
    """One finished run for each family and mode, in which everything that the mode trains has moved."""

    def make(family, mode, directory):
        run_in_process(
            "sentiment",
            *("--model", checkpoints[family], "--mode", mode, "--train-file", reviews),
            *("--epochs", 2, "--batch-size", 16, "--output-dir", directory),
            *("--head", "random"),
        )

    return Runs(shared / "runs", make)


@pytest.fixture(scope="session")
def squad(tmp_path_factory):
    return questions(tmp_path_factory.mktemp("squad") / "train.json", 40, unanswerable=0.25)


@pytest.fixture(scope="session")
def qa_runs(shared, checkpoints, squad) -> Runs:
    def make(family, mode, directory):
        run_in_process(
            "qa",
            *("--model", checkpoints[family], "--mode", mode, "--train-file", squad, *QA_FLAGS),
            *("--epochs", 1, "--output-dir", directory),
        )

    return Runs(shared / "qa", make)
