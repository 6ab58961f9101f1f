"""Recipes run as a user runs them: through their command line."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODES = ("head-only", "freeze-lower-2", "full", "lora")


def run_in_process(recipe: str, *argv: object) -> None:
    """Parse a command line and run a recipe here, where imports are paid once."""
    from nlptl import config

    spec = importlib.util.spec_from_file_location(f"recipe_{recipe}", ROOT / f"recipes/{recipe}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kinds = {
        "pretrain": config.PretrainConfig,
        "qa": config.QAConfig,
        "sentiment": config.SentimentConfig,
    }
    module.main(config.parse_args(kinds[recipe], [str(word) for word in argv]))


def command(*words: object, timeout: int = 240) -> subprocess.CompletedProcess:
    """Run Python with some words, offline, one thread, in a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
