"""How do the seconds and the memory of preparing data grow with the rows?

    python benchmarks/growth.py --rows 10000 100000 1000000

Tables of generated reviews (about 20 words, two classes) as csv, each size in a process of its own: the file
is read for the first time, opened again from the cache, its texts and labels are checked, its content is
hashed, and its texts are encoded by the tokenizer of ``bundled/bert``. In another process the same file is
prepared for a run with ``--max-train-examples 100``, where only the drawn rows are hashed and encoded.
Results: ``benchmarks/results/growth.json``.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tyro

from nlptl.data.files import write_json

OUTPUT = Path(__file__).parent / "results" / "growth.json"
WORDS = [
    "a",
    "the",
    "film",
    "book",
    "plot",
    "was",
    "is",
    "very",
    "not",
    "good",
    "bad",
    "fine",
    "dull",
    "warm",
    "cold",
    "long",
    "short",
    "story",
    "end",
    "actor",
]


@dataclass(frozen=True)
class Options:
    """What is measured."""

    rows: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Numbers of rows."""
    words: int = 20
    """Words of a text."""
    encode_most: int = 100_000
    """Most rows of which all are encoded."""


@dataclass
class Clock:
    """Seconds of each stage, and the most memory that the process had by its end.

    Attributes:
        stages: Mapping from stages to seconds and megabytes.
    """

    stages: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        begun = time.perf_counter()
        yield
        self.stages[name] = {
            "seconds": round(time.perf_counter() - begun, 2),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }


def write_reviews(path: Path, rows: int, words: int) -> None:
    """Write a csv of texts and labels; every tenth text has a comma and quotation marks."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for row in range(rows):
            text = " ".join(draw.choices(WORDS, k=words))
            text = f'"{text}, ""so"" {row}"' if row % 10 == 0 else f"{text} {row}"
            file.write(f"{text},{('bad', 'good')[row % 2]}\n")


def whole(path: Path, encode_most: int) -> dict[str, Any]:
    """Read, check, hash and encode all rows, at most so many of them."""
    from nlptl.data.columns import check_texts
    from nlptl.data.encoding import content_hash
    from nlptl.data.labels import check_labels
    from nlptl.data.sources import read_table
    from nlptl.models.loading import load_tokenizer
    from nlptl.tasks.classification import TextClassification

    clock = Clock()
    with clock.stage("start"):
        tokenizer = load_tokenizer("bundled/bert")
        import datasets

        datasets.disable_progress_bar()
    with clock.stage("read"):
        read_table(path, "--train-file")
    with clock.stage("open again"):
        table = read_table(path, "--train-file")
    with clock.stage("check"):
        check_texts({"train": table}, "text")
        labels, _ = check_labels({"train": table}, "label")
    with clock.stage("hash"):
        content_hash(table)
    with clock.stage("encode"):
        task, most = TextClassification(tuple(labels)), min(len(table), encode_most)
        task.encode(table.select(range(most)), tokenizer, 64)
    clock.stages["encode"]["rows"] = most
    return clock.stages


def few(path: Path, encode_most: int) -> dict[str, Any]:
    """Prepare the data of a run with ``--max-train-examples 100``, from a table that was read before."""
    from nlptl.data.encoding import splits_hash
    from nlptl.models.loading import load_tokenizer
    from nlptl.tasks.classification import TextClassification

    clock, none = Clock(), dict.fromkeys(("dataset", "validation_file", "test_file"))
    asked = {"max_train_examples": 100, "max_eval_examples": 100, "class_weights": "none"}
    request: Any = SimpleNamespace(**none, **asked, train_file=path, column=(), seed=0)
    with clock.stage("start"):
        tokenizer = load_tokenizer("bundled/bert")
        import datasets

        datasets.disable_progress_bar()
    with clock.stage("prepare"):
        task, splits, _ = TextClassification.prepare(request)
    with clock.stage("hash"):
        splits_hash(splits)
    with clock.stage("encode"):
        for table in splits.values():
            task.encode(table, tokenizer, 64)
    return {**clock.stages, "rows": {name: len(table) for name, table in splits.items()}}


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {"whole": whole, "few": few}


def main(options: Options) -> None:
    """Measure each size, and write the results."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        for rows in options.rows:
            environment = {**os.environ, "HF_HOME": f"{home}/{rows}", "HF_HUB_OFFLINE": "1"}
            path = Path(home) / f"{rows}.csv"
            write_reviews(path, rows, options.words)
            found[str(rows)] = {"megabytes": round(path.stat().st_size / 1e6, 1)}
            for part in PARTS:
                done = subprocess.run(
                    [sys.executable, __file__, part, str(path), str(options.encode_most)],
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                found[str(rows)][part] = json.loads(done.stdout.splitlines()[-1])
            print(rows, json.dumps(found[str(rows)]))
    write_json(OUTPUT, {"command": " ".join(sys.argv), "words": options.words, "sizes": found})


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in PARTS:
        print(json.dumps(PARTS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main(tyro.cli(Options))
