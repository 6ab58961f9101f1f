"""Does another rate suit a mode better on little data? Multiples of the default, by data set and seed.

    python benchmarks/rates.py --data DATA

Each run is a fine-tuning with no flag but the mode and the rate, on few labels (a tenth of them for
validation); the test texts are shared by all seeds. Printed for each data set and rate: accuracy, its
difference to the default rate (joint bootstrap over seeds and texts, 95 %), log loss, and how many runs kept
the fit of the head, epoch 0. Finished cells in ``runs/benchmarks/rates.jsonl`` are not repeated. Result:
``benchmarks/results/rates.json``.
"""

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from defaults import splits_of

from nlptl.cli.check import check_training, finetune_args, resolve_defaults
from nlptl.cli.config import SentimentConfig
from nlptl.data.files import write_json
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.tasks.classification import TextClassification
from nlptl.train.finetune import finetune
from nlptl.train.setup import start_accelerator

ROOT = Path(__file__).parent.parent
CELLS = ROOT / "runs" / "benchmarks" / "rates.jsonl"
TEST = 600


@dataclass(frozen=True)
class Options:
    """What is measured."""

    data: Path
    """Folder of the data sets."""
    model: str = "bundled/bert"
    """Checkpoint."""
    mode: str = "freeze-lower-8"
    """What trains."""
    sets: tuple[str, ...] = ("remarks", "rotten_tomatoes", "sst2", "trec")
    """Data sets: remarks is bundled/remarks with its own splits, the others are in the folder."""
    times: tuple[float, ...] = (1.0, 0.3, 0.1)
    """Multiples of the default rate; the first is 1."""
    labels: int = 300
    """Labels, those for validation included."""
    seeds: int = 3
    """Runs at each rate."""


def data_of(options: Options, name: str, seed: int) -> dict[str, Any]:
    """Return a data set's splits."""
    if name == "remarks":
        config: Any = SentimentConfig(dataset="bundled/remarks")
        return TextClassification.prepare(config)[1]
    splits = splits_of(options, name, options.labels, seed)  # type: ignore[arg-type]
    return {**splits, "test": splits["test"].select(range(TEST))}


def run(options: Options, splits: dict[str, Any], times: float, seed: int) -> dict[str, Any]:
    """Train as the recipe does, at a multiple of the default rate."""
    labels = tuple(sorted({str(y) for split in splits.values() for y in split["label"]}))
    task = TextClassification(labels)
    config = SentimentConfig(model=options.model, mode=options.mode, seed=seed, max_length=128)
    mode, found = check_training(config)
    filled = resolve_defaults(config, mode, found, len(splits["train"]), task)
    rate = times * filled.learning_rate  # type: ignore[operator]
    args = finetune_args(SentimentConfig(**{**vars(filled), "learning_rate": rate}), mode, seed)
    accelerator = start_accelerator(tracker=None, output_dir=CELLS.parent, seed=seed)
    made = finetune(task, splits, args, accelerator=accelerator)
    return {
        "right": [int(p["prediction"] == p["gold"]) for p in made.predictions or []],
        "loss": made.metrics["loss"],
        "rate": rate,
        "kept": made.history[made.best or 0]["epoch"],
        "validation_losses": [one["validation_loss"] for one in made.history],
    }


def summary(found: dict[tuple, dict[str, Any]], options: Options) -> list[dict[str, Any]]:
    """Compare each rate with the default one, by data set."""
    rows = []
    for name, times in product(options.sets, options.times):
        own, base = (
            [found[(name, each, seed)] for seed in range(options.seeds)]
            for each in (times, options.times[0])
        )
        right, first = (np.asarray([cell["right"] for cell in cells]) for cells in (own, base))
        row = {
            "set": name,
            "rate": own[0]["rate"],
            "accuracy": 100 * float(right.mean()),
            "log_loss": float(np.mean([cell["loss"] for cell in own])),
            "kept_the_fit": sum(cell["kept"] == 0 for cell in own),
        }
        if times != options.times[0]:
            about = joint_bootstrap(right.astype(float), first.astype(float))
            row["difference"] = [100 * about.mean, 100 * about.low, 100 * about.high]
        rows.append(row)
    return rows


def main(options: Options) -> None:
    """Run what is missing, and compare."""
    CELLS.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in CELLS.open()] if CELLS.exists() else []
    known = {json.dumps(cell["key"]): cell for cell in done}
    found = {}
    for seed, name in product(range(options.seeds), options.sets):
        splits = None
        for times in options.times:
            key = [options.model, options.mode, name, options.labels, times, seed]
            if json.dumps(key) not in known:
                splits = splits or data_of(options, name, seed)
                cell = {"key": key, **run(options, splits, times, seed)}
                with CELLS.open("a") as file:
                    file.write(json.dumps(cell) + "\n")
                known[json.dumps(key)] = cell
            found[(name, times, seed)] = known[json.dumps(key)]
    rows = summary(found, options)
    write_json(ROOT / "benchmarks" / "results" / "rates.json", {"rows": rows})
    for row in rows:
        print(row)


if __name__ == "__main__":
    main(tyro.cli(Options))
