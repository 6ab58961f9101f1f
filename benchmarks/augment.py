"""Do changed copies of the training texts help a pretrained model? SST-2 sentences, few labels.

    python benchmarks/augment.py --data DATA --models $MINILM bundled/bert

For 100 and 1,000 labels (a tenth of them for validation), for two modes and five seeds, each with labels of
its own: plain fine-tuning, plain fine-tuning of as many steps as with copies, and --augment eda, typos and mlm
with their defaults. Test set: the 872 sentences of the development set. Each arm is compared with plain, and
with plain of as many steps, seed by seed and sentence by sentence (joint bootstrap, p corrected for all
comparisons of a model and a number of labels, Holm). Finished runs are kept as those of any study and are not
repeated. Also measured: copies in a second of one core. Results: benchmarks/results/augment.json and tables in
Markdown.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.augment.options import ALPHA, COPIES
from nlptl.data.files import write_json
from nlptl.data.sampling import stratified_order
from nlptl.data.sources import read_table
from nlptl.models.layer_map import depth
from nlptl.models.loading import trained_config
from nlptl.modes.base import parse_mode
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.stats.multiple import holm
from nlptl.stats.verdict import MARGIN
from nlptl.study.arms import Arm, ArmSpec
from nlptl.study.study import Study
from nlptl.tasks.base import Task
from nlptl.tasks.classification import TextClassification
from nlptl.train.augmenting import change_of, copies_of
from nlptl.train.defaults import fill_defaults
from nlptl.train.setup import FinetuneArgs

RESULTS = Path(__file__).parent / "results" / "augment.json"
WAYS = ("eda", "typos", "mlm")
SEEDS = 5
#: Sentences that the speed of each way is measured on.
TIMED = 500


@dataclass(frozen=True)
class Draw:
    """So many labels, other ones each seed: a tenth of them for validation; the smaller lie in the larger.

    Attributes:
        labels: Number of labels.
    """

    labels: int

    def __call__(self, task: Task, splits: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Return the splits that a seed sees."""
        whole = splits["train"]
        order = stratified_order(task.classes(whole) or [], seed)[: self.labels]
        share = max(1, self.labels // 10)
        # Every tenth, so that both parts hold the classes in nearly equal shares.
        chosen = order[:: len(order) // share][:share]
        rest = order[~np.isin(order, chosen)]
        return {
            **splits,
            "train": whole.select(np.sort(rest)),
            "validation": whole.select(np.sort(chosen)),
        }


def read(data: Path) -> tuple[Task, dict[str, Any]]:
    """Read the sentences; validation is taken from training by each draw."""
    tables = {}
    for split, name in (("train", "sentences_train"), ("test", "sentences_dev")):
        table = read_table(data / "sst2" / f"{name}.tsv", "--data")
        tables[split] = table.rename_column("sentence", "text").select_columns(["text", "label"])
    names = tuple(sorted({str(label) for label in tables["train"]["label"][:]}))
    return TextClassification(names), {**tables, "validation": tables["test"]}


def arms_of(args: FinetuneArgs, task: Task, labels: int) -> dict[str, ArmSpec]:
    """Return the arms of a checkpoint, a mode and a number of labels."""
    args = fill_defaults(args, task, labels - max(1, labels // 10))
    view = Draw(labels)
    made = {"plain": ArmSpec(args, view=view)}
    if args.mode.trains_blocks:  # a convex fit has no steps
        longer = replace(args, epochs=args.epochs * (1 + COPIES))
        made["plain, longer"] = ArmSpec(longer, view=view)
    for way in WAYS:
        made[way] = ArmSpec(replace(args, augment=way), view=view)
    return made


def cell(task: Task, splits: Mapping[str, Any], args: FinetuneArgs, labels: int) -> dict[str, Arm]:
    """Run the arms, as far as they are not kept from before."""
    return Study(task, splits, arms_of(args, task, labels), range(SEEDS)).run()


def compared(found: Mapping[str, Mapping[str, Arm]]) -> list[dict[str, Any]]:
    """Compare each way with plain, and with plain of as many steps, under each mode.

    Args:
        found: Arms of each mode, of one checkpoint and number of labels.
    """
    pairs = []
    for mode, arms in found.items():
        for way in WAYS:
            for other in ("plain", "plain, longer"):
                if other in arms:
                    change = joint_bootstrap(arms[way].statistics, arms[other].statistics)
                    pairs.append((mode, way, other, change))
    adjusted = holm([change.p for *_, change in pairs])
    return [
        {
            "mode": mode,
            "way": way,
            "than": other,
            "mean": change.mean,
            "ci95": [change.low, change.high],
            "p": p,
            "verdict": word(change, p),
        }
        for (mode, way, other, change), p in zip(pairs, adjusted, strict=True)
    ]


def word(change: Any, p: float) -> str:
    """Judge a difference in a word."""
    if p < 0.05 and abs(change.mean) >= change.threshold():
        return "helped" if change.mean > 0 else "hurt"
    return "alike" if change.low >= -MARGIN and change.high <= MARGIN else "cannot tell"


def speed(task: Task, splits: Mapping[str, Any], model: str) -> dict[str, float]:
    """Measure the copies of each way in a second of one core's time, with loading left out."""
    table = splits["train"].select(range(TIMED))
    found = {}
    for way in WAYS:
        args = FinetuneArgs(model, augment=way, augment_copies=1)
        change, _ = change_of(table, task, args, "cpu")
        began = time.process_time()  # other programs do not count
        copies_of(table, task, change, args)
        found[way] = round(TIMED / (time.process_time() - began), 1)
    return found


def table_of(record: Mapping[str, Any]) -> str:
    """Write the record as tables in Markdown."""
    lines = []
    for part in record["parts"]:
        lines += [
            "",
            f"{part['model']}, {part['labels']:,} labels",
            "",
            "| mode | arm | accuracy | than plain | than plain, longer | verdict |",
            "|---|---|---|---|---|---|",
        ]
        for one in part["rows"]:
            own = {
                pair["than"]: pair
                for pair in part["pairs"]
                if (pair["mode"], pair["way"]) == (one["mode"], one["arm"])
            }
            cells = [points(own.get(name)) for name in ("plain", "plain, longer")]
            said = "; ".join(dict.fromkeys(pair["verdict"] for pair in own.values()))
            score = f"{100 * one['mean']:.1f} ± {100 * one['sd']:.1f}"
            lines.append(
                f"| {one['mode']} | {one['arm']} | {score} | {' | '.join(cells)} | {said} |"
            )
    return "\n".join(lines)


def points(pair: Mapping[str, Any] | None) -> str:
    """Write a difference with its interval, in points."""
    if pair is None:
        return ""
    low, high = pair["ci95"]
    return f"{100 * pair['mean']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def part(
    task: Task, splits: Mapping[str, Any], model: str, modes: Sequence[str], labels: int
) -> dict[str, Any]:
    """Measure a checkpoint with a number of labels."""
    found = {}
    for mode in modes:
        args = FinetuneArgs(model, parse_mode(mode), max_length=128)
        found[mode] = cell(task, splits, args, labels)
    return {
        "model": Path(model).name if Path(model).exists() else model,
        "labels": labels,
        "rows": [
            {
                "mode": mode,
                "arm": name,
                "mean": float(arm.scores.mean()),
                "sd": float(arm.scores.std(ddof=1)),
                "scores": arm.scores.tolist(),
                "epochs": arm.args.epochs,
                "seconds": float(np.mean([one.seconds for one in arm.outcomes])),
            }
            for mode, arms in found.items()
            for name, arm in arms.items()
        ],
        "pairs": compared(found),
    }


def main() -> None:
    """Measure, and write what is there after each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["bundled/bert"])
    parser.add_argument("--labels", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--head-only", action="store_true", help="leave out freeze-lower-N")
    given = parser.parse_args()
    task, splits = read(given.data)
    record: dict[str, Any] = {
        "seeds": SEEDS,
        "alpha": ALPHA,
        "copies": COPIES,
        "test": len(splits["test"]),
        "copies_per_core_second": speed(task, splits, "bundled/bert"),
        "parts": [],
        "versions": versions(),
    }
    for labels in given.labels:
        for model in given.models:
            blocks = sum(depth(trained_config(model, "auto")))
            modes = ("head-only", f"freeze-lower-{2 * blocks // 3}")[: 1 if given.head_only else 2]
            record["parts"].append(part(task, splits, model, modes, labels))
            write_json(RESULTS, record)
            print(table_of({"parts": record["parts"][-1:]}), flush=True)
    print(json.dumps(record["copies_per_core_second"]))
    print(table_of(record))


if __name__ == "__main__":
    main()
