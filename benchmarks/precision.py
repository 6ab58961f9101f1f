"""Does bfloat16 change the scores? Each mode in bfloat16 autocast and in float32, on the same labels.

    python benchmarks/precision.py --data DATA

Each run is made as ``nlptl run classify`` makes it, with no flag but the mode, once with ``--precision bf16``
and once with ``fp32``: on the bundled remarks (400 labels; a seed changes the order of the data and dropout)
and on TREC (500 labels, those for validation included, drawn by seed). Differences of accuracy are paired over
seeds and test texts (joint bootstrap, 95 %); beside them the p of their being less than a point. Finished runs
in ``runs/benchmarks/precision.jsonl`` are not repeated. Results: ``benchmarks/results/precision.json`` and a
table in Markdown. Seconds are those of training, without the pass through frozen blocks.
"""

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import tyro

from nlptl.cli.check import prepare_run
from nlptl.cli.config import ClassifyConfig
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.stats.multiple import equivalence_p
from nlptl.tasks import get_task
from nlptl.tasks.kinds import chosen_kind
from nlptl.train.finetune import finetune
from nlptl.train.precision import use_precision
from nlptl.train.setup import start_accelerator

ROOT = Path(__file__).parent.parent
CELLS = ROOT / "runs" / "benchmarks" / "precision.jsonl"
RESULTS = ROOT / "benchmarks" / "results" / "precision.json"
#: Differences below this many points do not matter here.
MARGIN = 1.0


@dataclass(frozen=True)
class Options:
    """What is measured."""

    data: Path
    """Folder of the data sets."""
    sets: tuple[str, ...] = ("remarks", "trec")
    """Data sets."""
    modes: tuple[str, ...] = ("freeze-lower-8", "full")
    """Modes."""
    seeds: int = 6
    """Runs of each mode in each precision."""
    labels: int = 500
    """Labels of TREC, those for validation included."""
    measure: bool = True
    """Whether to make runs that are not there yet; else the table has those seeds that are complete."""
    head: Literal["fit", "random"] = "fit"
    """How the head starts; from random weights no epoch 0 can be kept."""


def flags_of(options: Options, name: str) -> dict[str, Any]:
    """Return the flags that name the data."""
    if name == "remarks":
        return {"dataset": "bundled/remarks"}
    folder = options.data / "trec"
    files = {"train_file": folder / "train.tsv", "test_file": folder / "test.tsv"}
    return {**files, "label_column": ("coarse",), "max_train_examples": options.labels}


def measure(options: Options, name: str, mode: str, precision: Any, seed: int) -> dict[str, Any]:
    """Make one run; return which test texts were answered rightly."""
    use_precision(precision)
    with TemporaryDirectory() as home:
        config = ClassifyConfig(
            mode=mode,
            seed=seed,
            precision=precision,
            head=options.head,
            output_dir=Path(home) / "run",
            **flags_of(options, name),
        )
        ready = prepare_run(config, get_task(chosen_kind(config)))
        accelerator = start_accelerator(tracker=None, output_dir=Path(home), seed=seed)
        assert accelerator.mixed_precision == {"bf16": "bf16", "fp32": "no"}[precision]
        run = finetune(ready.task, ready.splits, ready.args(seed), accelerator=accelerator)
    return {
        "right": [int(p["prediction"] == p["gold"]) for p in run.predictions or []],
        "loss": run.metrics["loss"],
        "kept": run.history[run.best or 0]["epoch"],
        "seconds": run.timing["train_seconds"],
    }


def row_of(name: str, mode: str, cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Compare the two precisions."""
    right = {key: np.asarray([cell["right"] for cell in own], float) for key, own in cells.items()}
    apart = joint_bootstrap(100 * right["bf16"], 100 * right["fp32"])
    numbers = {
        key: {
            "accuracy": 100 * float(right[key].mean()),
            "each": [round(100 * float(row.mean()), 2) for row in right[key]],
            "log_loss": float(np.mean([cell["loss"] for cell in own])),
            "seconds": float(np.median([cell["seconds"] for cell in own])),
            "kept": [cell["kept"] for cell in own],
        }
        for key, own in cells.items()
    }
    return {
        "set": name,
        "mode": mode,
        "seeds": len(right["bf16"]),
        **numbers,
        "difference": apart.mean,
        "low": apart.low,
        "high": apart.high,
        "alike_p": equivalence_p(apart, MARGIN),
        "same_answers": 100 * float((right["bf16"] == right["fp32"]).mean()),
    }


def main(options: Options) -> None:
    """Measure what is not there yet; write the JSON and print the table of what is complete."""
    CELLS.parent.mkdir(parents=True, exist_ok=True)
    lines = CELLS.read_text("utf-8").splitlines() if CELLS.is_file() else []
    done = {json.dumps(cell["key"]): cell for cell in map(json.loads, lines)}
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for name, mode, seed in product(options.sets, options.modes, range(options.seeds)):
        pair = {}
        for precision in ("bf16", "fp32"):
            key = [name, mode, precision, seed, options.labels, options.head]
            if json.dumps(key) not in done and options.measure:
                cell = {**measure(options, name, mode, precision, seed), "key": key}
                with CELLS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(cell) + "\n")
                done[json.dumps(key)] = cell
            pair[precision] = done.get(json.dumps(key))
        for precision, cell in pair.items() if all(pair.values()) else ():
            groups.setdefault((name, mode), {}).setdefault(precision, []).append(cell)
    rows = [row_of(*which, cells) for which, cells in groups.items()]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(
        "| data | mode | runs | bf16 | float32 | difference (95 %) | equal within a point, p | same answers |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['set']} | {row['mode']} | {row['seeds']} | {row['bf16']['accuracy']:.1f} | "
            f"{row['fp32']['accuracy']:.1f} | {row['difference']:+.2f} [{row['low']:+.2f}, "
            f"{row['high']:+.2f}] | {row['alike_p']:.3f} | {row['same_answers']:.1f} % |"
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
