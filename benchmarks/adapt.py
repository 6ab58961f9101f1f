"""Adapt between all pairs of domains: features with frozen states, or training methods on some pairs.

    python benchmarks/adapt.py --model $MINILM --data amazon
    python benchmarks/adapt.py --model $MINILM --data amazon --training part
    python benchmarks/adapt.py --model $MINILM --data amazon --training whole

The first computes the states of a checkpoint once a domain, and fits heads on them: 12 pairs of books, dvd,
electronics and kitchen, six draws of 700 labels of the source (50 of the target where a method takes some),
1,000 test reviews a target. The others run recipes/adapt.py on four pairs, with three draws of the source's
labels. "part": 300 labels out of 450, 500 test reviews, 64 tokens, three epochs of the two highest blocks.
"whole": 700 labels out of 1,000, 1,000 test reviews, 128 tokens, four epochs of all blocks, and a head that
begins at random: a run may otherwise keep the fit on untouched states, which owes a method nothing. Further
flags go to the recipe (--model bundled/bert --mode freeze-lower-8 --methods udalm dapt tapt, say). What is
finished below runs/benchmarks/adapt is not computed again. Results, written after each pair, in
benchmarks/results: adapt_features.json (.md, .png), adapt_<part or whole>_<model>.json and .md.
"""

import argparse
import json
import subprocess
import sys
import time
from hashlib import sha256
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from nlptl.data.files import write_json
from nlptl.data.sampling import stratified_order
from nlptl.data.sources import read_table
from nlptl.methods.adapt.features import (
    fit_augmented,
    importance,
    proxy_a_distance,
    recolour,
)
from nlptl.methods.adapt.options import ALL, BOTH, FEW, SOURCE, TARGET, WHAT
from nlptl.methods.adapt.render import figure, markdown
from nlptl.methods.adapt.verdict import (
    TEST,
    closed_share,
    judge_all,
    overall,
    overall_words,
    row,
    sentence,
)
from nlptl.modes.base import parse_mode
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.study.arms import Arm
from nlptl.study.outcomes import Outcome
from nlptl.study.render.files import write_pictured
from nlptl.tasks.classification import TextClassification
from nlptl.train.convex import fit_linear
from nlptl.train.learner import Learner
from nlptl.train.setup import FinetuneArgs, start_accelerator

ROOT = Path(__file__).parent.parent
HOME, RESULTS = ROOT / "runs/benchmarks/adapt", ROOT / "benchmarks/results"
DOMAINS = ("books", "dvd", "electronics", "kitchen")
#: Pairs of the training methods.
FOUR = (("books", "kitchen"), ("dvd", "electronics"), ("electronics", "books"), ("kitchen", "dvd"))
LABELS, FEW_LABELS, TESTS, DRAWS = 700, 50, 1000, 6
#: Rows of a domain that are read: test examples first, then what the draws are taken from.
ROWS = 2600
#: Methods that train, the rows of a domain that they may see, by split, and the flags of their runs.
TRAINING = ("deep-coral", "mmd", "dann", "self-training")
SPLITS = {
    "part": {"test": 500, "train": 400, "validation": 50},
    "whole": {"test": 1000, "train": 900, "validation": 100},
}
FLAGS = {
    "part": {"mode": "freeze-lower-4", "max-length": 64, "max-train-examples": 300, "epochs": 3},
    "whole": {
        "mode": "full",
        "head": "random",
        "max-length": 128,
        "max-train-examples": 700,
        "epochs": 4,
    },
}
#: Inverse penalties; cross-validated on the training examples of each fit.
GRID = (1e-3, 1e-2, 1e-1)
ARMS = (SOURCE, FEW, BOTH, "coral", "importance-weighting", "easyadapt", TARGET, ALL)


def states_of(model: str, data: Path, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Compute the states and classes of a domain's rows, once."""
    file = HOME / f"{domain}.npz"
    if not file.exists():
        table = read_table(data / f"{domain}.parquet", "--data")
        table = table.select(np.sort(stratified_order(table["label"][:], 0)[:ROWS]))
        names = tuple(sorted({str(name) for name in table["label"][:]}))
        task = TextClassification(names)
        args = FinetuneArgs(model, parse_mode("head-only"), 1e-3, 1.0, max_length=128)
        accelerator = start_accelerator(tracker=None, output_dir=HOME, seed=0)
        learner = Learner(task, args, accelerator).mode(args.mode)
        gold = np.asarray([names.index(name) for name in task.gold(table)])
        HOME.mkdir(parents=True, exist_ok=True)
        np.savez(file, states=learner.features(table.select_columns(["text"])), gold=gold)
    found = np.load(file)
    order = stratified_order(found["gold"].tolist(), 1)
    return found["states"][order].astype(np.float64), found["gold"][order]


class Bench:
    """States of all domains, and fits on draws of them; a fit that two pairs share is made once."""

    def __init__(self, model: str, data: Path) -> None:
        self.found = {name: states_of(model, data, name) for name in DOMAINS}
        self.fits: dict[Any, Any] = {}

    def test(self, domain: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the test examples."""
        states, gold = self.found[domain]
        return states[:TESTS], gold[:TESTS]

    def train(self, domain: str, draw: int, most: int = LABELS) -> tuple[np.ndarray, np.ndarray]:
        """Return a draw of training examples; the smaller lies in the larger."""
        states, gold = (part[TESTS:] for part in self.found[domain])
        rows = stratified_order(gold.tolist(), 100 + draw)[:most]
        return states[rows], gold[rows]

    def fit(self, name: str, source: str, target: str, draw: int) -> Any:
        """Fit the head of an arm."""
        key = {SOURCE: (SOURCE, source, draw), TARGET: (SOURCE, target, draw)}.get(
            name, (FEW, target, draw) if name == FEW else (name, source, target, draw)
        )
        if key not in self.fits:
            self.fits[key] = self._fit(name, source, target, draw)
        return self.fits[key]

    def _fit(self, name: str, source: str, target: str, draw: int) -> Any:
        own, texts = self.train(source, draw), self.train(target, draw)
        few = self.train(target, draw, FEW_LABELS)
        about: dict[str, Any] = {"outputs": 2, "grid": GRID}
        joined = {BOTH: (own, few), "easyadapt": (own, few), ALL: (own, texts)}
        one = {TARGET: texts, FEW: few}.get(name, own)
        states, gold = (
            np.concatenate(parts) for parts in zip(*joined.get(name, (one,)), strict=True)
        )
        if name == "coral":
            states = recolour(states, texts[0])
        if name == "importance-weighting":
            about["sizes"] = importance(states, texts[0], grid=GRID)
        if name == "easyadapt":
            domains = np.repeat([0, 1], [len(own[0]), len(few[0])])
            return fit_augmented(states, gold, "classes", domains=domains, read=1, **about)
        return fit_linear(states, gold, "classes", **about)


def arm(bench: Bench, name: str, source: str, target: str) -> Arm:
    """Fit and score an arm under each draw."""
    outcomes = []
    for draw in range(DRAWS):
        began = time.perf_counter()
        fit = bench.fit(name, source, target, draw)
        seconds = time.perf_counter() - began
        right = [
            (fit.outputs(states).argmax(1) == gold).astype(float)
            for states, gold in (bench.test(target), bench.test(source))
        ]
        measured: dict[str, Any] = {
            "source": right[1][:, None].tolist(),
            "source_score": float(right[1].mean()),
        }
        if name in (SOURCE, "coral") and draw == 0:
            states, texts = bench.train(source, draw)[0], bench.train(target, draw)[0]
            moved = recolour(states, texts) if name == "coral" else states
            measured["proxy_a_distance"] = proxy_a_distance(moved, texts)
        outcomes.append(
            Outcome(
                seed=draw,
                learning_rate=0.0,
                score=float(right[0].mean()),
                statistics=tuple((value,) for value in right[0].tolist()),
                validation=(0.0,),
                best=0,
                epochs=0.0,
                seconds=seconds,
                flops=0.0,
                peak_memory=0.0,
                trainable=0,
                total=1,
                measured=measured,
            )
        )
    return Arm(tuple(outcomes), SimpleNamespace(learning_rate=0.0, epochs=0.0))  # type: ignore[arg-type]


def features(model: str, data: Path) -> dict[str, Any]:
    """Run the feature methods on all pairs, and make the record that recipes/adapt.py would."""
    bench = Bench(model, data)
    records, tables = [], []
    for source, target in permutations(DOMAINS, 2):
        arms = {name: arm(bench, name, source, target) for name in ARMS}
        gap = joint_bootstrap(arms[TARGET].statistics, arms[SOURCE].statistics)
        shown = gap.p < 0.05 and gap.mean >= gap.threshold()
        rows = {
            name: row(name, one, arms[SOURCE], "accuracy", None, None) for name, one in arms.items()
        }
        for name in ("coral", "importance-weighting", "easyadapt"):
            if shown:
                three = [arms[each].statistics for each in (name, SOURCE, TARGET)]
                rows[name]["share"] = closed_share(three, None, None)
        n = {"train": LABELS, "validation": 0, "target": LABELS, "test": TESTS}
        records.append(
            {
                "pair": f"{source} to {target}",
                "target": target,
                "n": n,
                "floors": {"majority": 0.5, "bag_of_words": None},
                "rows": rows,
                "gap": {**vars(gap), "shown": bool(shown)},
                "distance_before": rows[SOURCE]["distance"],
                "tried": {},
                "warnings": [],
            }
        )
        tables.append(arms)
        print(
            records[-1]["pair"],
            {name: round(one["mean"], 4) for name, one in rows.items()},
            flush=True,
        )
    judge_all(records)
    summary = overall(records, tables, None)
    overall_words(summary)
    return {
        "model": Path(model).name,
        "mode": "head-only",
        "metric": "accuracy",
        "seeds": list(range(DRAWS)),
        "selection": {"weight": None},
        "target_labels": FEW_LABELS,
        "methods": {name: WHAT[name] for name in ARMS},
        "pairs": records,
        "overall": summary,
        "sentence": sentence(records, summary, "accuracy"),
        "test": TEST,
        "versions": versions(),
    }


def cut(data: Path, domain: str, part: str) -> Path:
    """Write a domain's rows to a folder of three files, once: what the runs of the training methods read."""
    folder = HOME / "cut" / part / domain
    if not (folder / "test.parquet").exists():
        table = read_table(data / f"{domain}.parquet", "--data")
        order = stratified_order(table["label"][:], 0)
        folder.mkdir(parents=True, exist_ok=True)
        first = 0
        for split, number in SPLITS[part].items():
            rows = np.sort(order[first : first + number])
            table.select(rows).to_parquet(folder / f"{split}.parquet")
            first += number
    return folder


def training(model: str, data: Path, part: str, more: list[str]) -> dict[str, Any]:
    """Run recipes/adapt.py on four pairs, three seeds, and put the records side by side.

    Args:
        model: Checkpoint.
        data: Folder with a file a domain.
        part: How much is trained: a key of :data:`FLAGS`.
        more: Further flags of the recipe; they win over those of the benchmark.
    """
    found = {}
    # A study's folder takes the flags that it began with; runs are kept elsewhere, whatever the folder.
    flagged = sha256(json.dumps([model, TRAINING, part, more]).encode()).hexdigest()[:8]
    for source, target in FOUR:
        home = HOME / "training" / flagged / f"{source}-{target}"
        flags = {
            "model": model,
            "source": cut(data, source, part),
            "target": cut(data, target, part),
            **FLAGS[part],
            "batch-size": 16,
            "seeds": 3,
            "precision": "auto",
            "output-dir": home,
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        words += ["--methods", *TRAINING]
        subprocess.run([sys.executable, "recipes/adapt.py", *words, *more], cwd=ROOT, check=True)
        record = json.loads((home / "adapt.json").read_text("utf-8"))
        record["model"] = Path(model).name
        for one in record["domains"].values():  # folders of this machine
            one["dataset"] = Path(one["dataset"]).name
        found[record["pairs"][0]["pair"]] = record
        name = f"adapt_{part}_{Path(model).name}"
        write_json(RESULTS / f"{name}.json", found)
        pages = [markdown(one) for one in found.values()]
        (RESULTS / f"{name}.md").write_text("\n".join([compact(found), *pages]), "utf-8")
    return found


def compact(found: dict[str, Any]) -> str:
    """Write one table over the pairs: scores of the bounds, differences of the methods and their verdicts."""
    rows = {pair: record["pairs"][0]["rows"] for pair, record in found.items()}
    lines = [f"| | {' | '.join(rows)} |", "|---|" + "---:|" * len(rows)]
    for name in next(iter(rows.values())):
        cells = []
        for each in rows.values():
            one, more = each[name], each[name]["difference"]
            cell = f"{100 * one['mean']:.1f}"
            if more:
                low, high = 100 * more["low"], 100 * more["high"]
                cell += f", {100 * more['mean']:+.1f} [{low:+.1f}, {high:+.1f}]"
            cells.append(cell + (f", {one['word']}" if one.get("word") else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run one of the two parts, write its JSON, print its tables."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--training", choices=sorted(FLAGS))
    given, more = parser.parse_known_args()
    if given.training:
        print(compact(training(given.model, given.data.resolve(), given.training, more)))
        return
    record = features(given.model, given.data)
    write_pictured(
        record,
        "adapt_features",
        markdown(record),
        figure(record),
        "differences to source-only",
        RESULTS,
    )
    print(markdown(record))


if __name__ == "__main__":
    main()
