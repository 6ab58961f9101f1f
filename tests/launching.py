"""Recipes run as a user runs them: through their command line."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from tiny import sentences

from nlptl.data.files import seal_folder
from nlptl.train.hooks import Quiet

ROOT = Path(__file__).parent.parent
#: One mode of each kind that leaves something else behind; tests/modes has all of them.
MODES = ("head-only", "freeze-lower-2", "full", "lora")


class Killed(Exception):
    """What a hook raises in place of a power cut."""


class KillAt(Quiet):
    """Ends a run after a step."""

    def __init__(self, step):
        self.step = step

    def on_step(self, state):
        if state.step == self.step:
            raise Killed
        return False


def run_in_process(recipe: str, *argv: object) -> None:
    """Parse a command line and run a recipe here, where imports are paid once."""
    from nlptl.cli import config

    spec = importlib.util.spec_from_file_location(f"recipe_{recipe}", ROOT / f"recipes/{recipe}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kinds = {
        "classify": config.ClassifyConfig,
        "pretrain": config.PretrainConfig,
        "qa": config.QAConfig,
        "sentiment": config.SentimentConfig,
        "compare": config.CompareConfig,
        "upstream_curve": config.UpstreamCurveConfig,
    }
    module.main(config.parse_args(kinds[recipe], [str(word) for word in argv]))


def result(directory: Path) -> dict:
    """A run's record."""
    return json.loads((directory / "result.json").read_text())


def took_long(directory: Path) -> None:
    """Let a run's newest checkpoint say that 1,000 seconds of training and 100 of scoring lie before it."""
    file = max(directory.glob("checkpoints/step-*")) / "state.json"
    record = json.loads(file.read_text())
    assert record["seconds"]["training"] > 0
    record["seconds"] = {"training": 1000.0, "scoring": 100.0}
    file.write_text(json.dumps(record))
    seal_folder(file.parent)


#: Environment of a process of its own: offline, one thread, no GPU.
ALONE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def command(*words: object, timeout: int = 240) -> subprocess.CompletedProcess:
    """Run Python with some words, offline, one thread, in a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **ALONE},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


QA_FLAGS = ("--max-length", 48, "--stride", 8, "--batch-size", 8)


def questions(path, count, *, seed=0, unanswerable=0.0, length=3):
    """A SQuAD file: "who kept this book ?" asks for the name that stands in front of these words.

    Of each four questions, the last ``4 * unanswerable`` ask for what the passage does not say.
    """
    names = ["Ada", "Bob", "Cleo", "Dan"]
    paragraphs = []
    for number in range(count):
        before, after = (" ".join(sentences(length, 97 * seed + 2 * number + i)) for i in (0, 1))
        name = names[(number + seed) % 4]
        context = f"{before} {name} kept this book . {after}"
        none = number % 4 >= 4 - 4 * unanswerable
        qa = {
            "id": f"q{seed}-{number}",
            "question": f"who {'broke' if none else 'kept'} this book ?",
            "answers": [] if none else [{"text": name, "answer_start": len(before) + 1}],
            "is_impossible": none,
        }
        paragraphs.append({"context": context, "qas": [qa]})
    path.write_text(
        json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]})
    )
    return path
