"""One finished run for each family and mode, shared by the tests here."""

from itertools import product
from pathlib import Path

import pytest
from launching import MODES, QA_FLAGS, questions, run_in_process
from tiny import FAMILIES


@pytest.fixture(scope="session")
def runs(tmp_path_factory, checkpoints, reviews) -> dict[tuple[str, str], Path]:
    """One finished run for each family and mode, in which everything that the mode trains has moved."""
    made = {}
    base = tmp_path_factory.mktemp("runs")
    for family, checkpoint in checkpoints.items():
        for mode in MODES:
            made[family, mode] = base / f"{family}-{mode}"
            run_in_process(
                "sentiment",
                *("--model", checkpoint, "--mode", mode, "--train-file", reviews),
                *("--epochs", 2, "--batch-size", 16, "--output-dir", made[family, mode]),
                *("--head", "random"),
            )
    return made


@pytest.fixture(scope="session")
def squad(tmp_path_factory):
    return questions(tmp_path_factory.mktemp("squad") / "train.json", 40, unanswerable=0.25)


@pytest.fixture(scope="session")
def qa_runs(tmp_path_factory, checkpoints, squad):
    base, made = tmp_path_factory.mktemp("qa"), {}
    for family, mode in product(FAMILIES, MODES):
        made[family, mode] = base / f"{family}-{mode}"
        run_in_process(
            "qa",
            *("--model", checkpoints[family], "--mode", mode, "--train-file", squad, *QA_FLAGS),
            *("--epochs", 1, "--output-dir", made[family, mode]),
        )
    return made
