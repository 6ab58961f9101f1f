"""The long tests of what goes wrong; at the end a table of what was tried, survived and lost."""

import os
import random
import sys
import time
from pathlib import Path

import pytest
from faulty import TABLE, essence, recipe_of
from launching import questions
from sessions import Session
from tiny import sentences


def pytest_terminal_summary(terminalreporter):
    if not TABLE:
        return
    terminalreporter.section("faults: tried, survived, lost")
    for what, outcomes in sorted(TABLE.items()):
        survived = outcomes.count("survived")
        lost = "; ".join(sorted({one for one in outcomes if one != "survived"}))
        line = f"{what:<44} {len(outcomes):>4} {survived:>4} {len(outcomes) - survived:>4}  {lost}"
        terminalreporter.write_line(line)
    every = [one for outcomes in TABLE.values() for one in outcomes]
    survived = every.count("survived")
    terminalreporter.write_line(
        f"{'all':<44} {len(every):>4} {survived:>4} {len(every) - survived:>4}"
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "texts.txt"
    path.write_text("\n".join(sentences(400, seed=9)) + "\n")
    return path


@pytest.fixture(scope="session")
def flags(checkpoints, masked_lm_checkpoint, reviews, corpus, tmp_path_factory):
    """The words of a small run of each recipe, without its directory."""
    home = tmp_path_factory.mktemp("questions")
    asked = questions(home / "train.json", 40)
    others = sentences(120, seed=4)
    rows = [f"{text},{'positive' if 'good' in text else 'negative'}" for text in others]
    (home / "target.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (home / "other.txt").write_text("\n".join(others) + "\n")
    bert = ("--model", checkpoints["bert"])
    data = ("--train-file", reviews, "--batch-size", 8)
    few = ("--batch-size", 8, "--seeds", 2, "--epochs", 2, "--mode", "full")
    masked = ("--model", masked_lm_checkpoint)
    return {
        "sentiment": (*bert, *data, "--mode", "full", "--epochs", 3, "--save-every", 2),
        "sentiment gradual": (*bert, *data, "--mode", "gradual", "--epochs", 3, "--save-every", 2),
        "sentiment lora, two seeds": (
            *(*bert, *data, "--mode", "lora", "--seeds", 2, "--epochs", 2, "--save-every", 3),
        ),
        "sentiment copies": (
            *(*bert, *data, "--mode", "freeze-lower-1", "--epochs", 3, "--save-every", 2),
            *("--augment", "typos", "--augment-copies", 1),
        ),
        "qa": (
            *(*bert, "--train-file", asked, "--max-length", 48, "--stride", 8, "--batch-size", 8),
            *("--epochs", 3, "--save-every", 2),
        ),
        "pretrain": (
            *("--corpus", corpus, "--held-out", 40, "--steps", 30, "--depth", 2, "--width", 32),
            *("--positions", 64, "--vocab-size", 300, "--eval-every", 10, "--save-every", 5),
        ),
        "compare": (*bert, *data, "--mode", "head-only", "full", "--seeds", 2, "--epochs", 2),
        "adapt": (
            *(*masked, "--source", reviews, "--target", home / "target.csv", *few),
            *("--methods", "coral", "dann", "self-training", "tapt", "udalm"),
        ),
        "few_shot": (
            *(*masked, *data, "--shots", 0, 1, 8, "--seeds", 2, "--epochs", 2, "--pairs", 4),
            *("--label-words", "positive=good", "negative=bad"),
            *("--methods", "label-names", "prompt", "probe", "full", "contrastive"),
        ),
        "multi_task": (*bert, "--tasks", f"a:{reviews}", f"b:{reviews}", *few),
        "self_taught": (
            *(*masked, *few, "--train-file", reviews, "--unlabelled", corpus),
            *("--other", home / "other.txt"),
            *("--first-steps", 12, "--first-batch-size", 8),
        ),
    }


@pytest.fixture(scope="session")
def unbroken(flags, tmp_path_factory):
    """What a kind of run ends with if nothing happens, and how many seconds it takes; made once."""
    made = {}

    def get(kind, processes=1):
        if (kind, processes) not in made:
            home = tmp_path_factory.mktemp("whole")
            given = {"NLPTL_CACHE": str(home / "cache"), "HF_DATASETS_CACHE": str(home / "data")}
            words = (*flags[kind], "--output-dir", home / "run")
            session = Session(recipe_of(kind), words, home / "log", processes=processes, **given)
            codes = session.wait()
            assert codes == [0] * processes, session.said[-3000:]
            made[kind, processes] = essence(kind, home / "run"), time.monotonic() - session.began
        return made[kind, processes]

    return get


@pytest.fixture
def draws():
    """Random numbers, other ones each time; the seed is printed."""
    seed = int(os.environ.get("NLPTL_FAULT_SEED", random.SystemRandom().randrange(10**6)))
    sys.stderr.write(f"NLPTL_FAULT_SEED={seed}\n")
    return random.Random(seed)
