"""One finished run for each family and mode, shared by the tests here."""

from pathlib import Path

import pytest
from launching import MODES, run_in_process


@pytest.fixture(scope="session")
def runs(tmp_path_factory, checkpoints, reviews) -> dict[tuple[str, str], Path]:
    """One finished run for each family and mode."""
    made = {}
    base = tmp_path_factory.mktemp("runs")
    for family, checkpoint in checkpoints.items():
        for mode in MODES:
            made[family, mode] = base / f"{family}-{mode}"
            run_in_process(
                "sentiment",
                *("--model", checkpoint, "--mode", mode, "--train-file", reviews),
                *("--epochs", 2, "--batch-size", 16, "--output-dir", made[family, mode]),
            )
    return made
