"""Head-only on a sentence encoder, against ``SentenceTransformer.encode`` and a logistic regression.

    python benchmarks/encoder.py --data DATA --model $MINILM

Both get the same labels: the recipe carves its validation set out of them, the regression (scikit-learn's
defaults but for the number of iterations) trains on all. Accuracies are paired over seeds and the test texts
that all seeds share (joint bootstrap, 95 %); seconds are those from texts to a trained classifier, tokens
included, in one process that has loaded both. Results: ``benchmarks/results/encoder.json`` and a table in
Markdown.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from datasets import concatenate_datasets
from defaults import ROOT, Options, splits_of

from nlptl.modes.base import parse_mode
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.tasks.classification import TextClassification
from nlptl.train.learner import Learner
from nlptl.train.setup import FinetuneArgs, start_accelerator

#: Data sets with their numbers of labels.
CASES = (("sst2", 1500), ("ag_news", 1000), ("trec", 1000), ("uci", 1000))


@dataclass(frozen=True)
class Encoders:
    """What is measured."""

    data: Path
    """Folder of the data sets."""
    model: str
    """A sentence-transformers directory."""
    seeds: int = 5
    """Training sets of each data set."""
    max_length: int = 256
    """Tokens per text."""
    cases: tuple[str, ...] = field(default=tuple(name for name, _ in CASES))
    """Data sets."""


def six_lines(encoder: Any, splits: dict[str, Any]) -> dict[str, Any]:
    """Do what everybody does."""
    from sklearn.linear_model import LogisticRegression

    labelled = concatenate_datasets([splits["train"], splits["validation"]])
    began = time.perf_counter()
    states = encoder.encode(labelled["text"][:], show_progress_bar=False)
    fitted = LogisticRegression(max_iter=1000).fit(states, labelled["label"][:])
    seconds = time.perf_counter() - began
    found = fitted.predict(encoder.encode(splits["test"]["text"][:], show_progress_bar=False))
    gold = splits["test"]["label"][:]
    return {
        "right": [int(p == g) for p, g in zip(found, gold, strict=True)],
        "seconds": seconds,
    }


def ours_of(splits: dict[str, Any], model: str, seed: int, length: int) -> dict[str, Any]:
    """Fit the head alone, tokens included, and score it."""
    labels = tuple(sorted({*splits["train"]["label"], *splits["test"]["label"]}))
    args = FinetuneArgs(model, parse_mode("head-only"), 1e-3, 1.0, seed=seed, max_length=length)
    accelerator = start_accelerator(tracker=None, output_dir=ROOT, seed=seed)
    learner = Learner(TextClassification(labels), args, accelerator).mode(args.mode)
    began = time.perf_counter()
    learner.fit(splits["train"])
    seconds = time.perf_counter() - began
    found = learner.predict(splits["test"])
    return {"right": [int(p["prediction"] == p["gold"]) for p in found], "seconds": seconds}


def main(asked: Encoders) -> None:
    """Measure, write the JSON, print the table."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(asked.model, device="cpu")
    options, rows = Options(data=asked.data, max_length=asked.max_length), []
    for name, labels in CASES:
        if name not in asked.cases:
            continue
        ours, theirs = [], []
        for seed in range(asked.seeds):
            splits = splits_of(options, name, labels, seed)
            theirs.append(six_lines(encoder, splits))
            ours.append(ours_of(splits, asked.model, seed, asked.max_length))
        right = [np.asarray([run["right"] for run in runs], float) for runs in (ours, theirs)]
        apart = joint_bootstrap(*right)
        times = [float(np.median([run["seconds"] for run in runs])) for runs in (ours, theirs)]
        row = {"set": name, "labels": labels, "seeds": asked.seeds}
        row |= {"nlptl": 100 * right[0].mean(), "encode": 100 * right[1].mean()}
        row |= {"difference": 100 * apart.mean, "low": 100 * apart.low, "high": 100 * apart.high}
        rows.append({**row, "nlptl_seconds": times[0], "encode_seconds": times[1]})
    path = ROOT / "benchmarks" / "results" / "encoder.json"
    path.write_text(json.dumps(rows, indent=1) + "\n")
    print("| data | labels | head-only | encode + LogisticRegression | difference (95 %) | s | s |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        apart = f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
        print(
            f"| {row['set']} | {row['labels']} | {row['nlptl']:.1f} | {row['encode']:.1f} | {apart} "
            f"| {row['nlptl_seconds']:.1f} | {row['encode_seconds']:.1f} |"
        )


if __name__ == "__main__":
    main(tyro.cli(Encoders))
