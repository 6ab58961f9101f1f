"""Are the defaults right on small data? Every mode against the six lines that everybody knows.

    python benchmarks/defaults.py --data DATA --models bundled/bert bundled/t5 $MINILM

Each mode is trained as the recipe trains it, with no flag but the mode, on 100, 300 and 1,000 labels (a tenth
of them for validation) of several data sets. Beside it: a standardized logistic regression on the pooled
states of the untouched checkpoint, by plain transformers and scikit-learn, strength by five-fold
cross-validation, on the same training rows; and bare class shares. Differences of accuracy are paired over
seeds and 1,500 test texts that all seeds share (joint bootstrap, 95 %). Finished cells in
``runs/benchmarks/defaults.jsonl`` are not repeated. Results: ``benchmarks/results/defaults.json`` and a table
in Markdown.
"""

import csv
import json
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from datasets import Dataset

from nlptl.cli.check import check_training, finetune_args, resolve_defaults
from nlptl.cli.config import SentimentConfig
from nlptl.data.sampling import draw_splits
from nlptl.models.loading import resolve
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.tasks.classification import TextClassification
from nlptl.train.finetune import finetune
from nlptl.train.setup import start_accelerator

ROOT = Path(__file__).parent.parent
CELLS = ROOT / "runs" / "benchmarks" / "defaults.jsonl"
TEST = 1500
#: Name of a data set to its files, the columns of its texts, and that of its labels.
SETS = {
    "sst2": (("sst2/sentences_train.tsv", "sst2/sentences_dev.tsv"), ("sentence",), "label"),
    "rotten_tomatoes": (("rotten_tomatoes/all.tsv",), ("sentence",), "label"),
    "trec": (("trec/train.tsv", "trec/test.tsv"), ("question",), "coarse"),
    "ag_news": (("ag_news/all.tsv",), ("title", "description"), "label"),
    "books": (("amazon/books.parquet",), ("text",), "label"),
    "uci": (
        tuple(f"uci_sentences/{name}.tsv" for name in ("amazon_cells", "imdb", "yelp")),
        ("sentence",),
        "label",
    ),
}


@dataclass(frozen=True)
class Options:
    """What is measured."""

    data: Path
    """Folder of the data sets."""
    models: tuple[str, ...] = ("bundled/bert",)
    """Checkpoints."""
    sets: tuple[str, ...] = ("rotten_tomatoes", "trec", "ag_news", "books")
    """Data sets."""
    labels: tuple[int, ...] = (100, 300, 1000)
    """Labels, those for validation included."""
    modes: tuple[str, ...] = ("head-only", "freeze-lower-8", "full", "lora")
    """Modes; freeze-lower-8 is freeze-lower-4 in a model of six blocks."""
    seeds: int = 3
    """Training sets of each size."""
    max_length: int = 128
    """Tokens per text."""


def read(options: Options, name: str) -> tuple[list[str], list[str]]:
    """Read texts and labels of a data set."""
    files, columns, label = SETS[name]
    rows: list[dict[str, Any]] = []
    for file in files:
        path = options.data / file
        if path.suffix == ".parquet":
            rows += Dataset.from_parquet(str(path)).to_list()  # type: ignore[union-attr]
        else:
            with path.open(newline="", encoding="utf-8") as open_file:
                rows += csv.DictReader(open_file, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [". ".join(row[c] for c in columns) for row in rows], [str(row[label]) for row in rows]


def splits_of(options: Options, name: str, labels: int, seed: int) -> dict[str, Any]:
    """Draw training rows by seed, and test rows that all seeds share."""
    texts, golds = read(options, name)
    order = np.random.default_rng(0).permutation(len(texts))
    test, rest = order[:TEST], order[TEST:]
    train = np.random.default_rng(1 + seed).permutation(rest)[:labels]

    def table(rows: Iterable[int]) -> Any:
        chosen = list(rows)
        return Dataset.from_dict(
            {"text": [texts[i] for i in chosen], "label": [golds[i] for i in chosen]}
        )

    tables = {"train": table(train), "test": table(test)}
    return draw_splits(tables, lambda table: table["label"], seed=seed)[0]


def states_of(model: str, texts: list[str], length: int) -> np.ndarray:
    """Compute what the heads read of the untouched checkpoint, by plain transformers."""
    from transformers import AutoModel, AutoTokenizer

    path = resolve(model)
    body = AutoModel.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    mean = (Path(path) / "1_Pooling").exists()
    found = []
    for start in range(0, len(texts), 50):
        given = tokenizer(
            texts[start : start + 50],
            padding=True,
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        if body.config.is_encoder_decoder:
            shifted = body._shift_right(given["input_ids"])
            given = {**given, "decoder_input_ids": shifted}
            given.pop("token_type_ids", None)
        with torch.no_grad():
            states = body(**given).last_hidden_state
        mask = given["attention_mask"]
        if mean:
            pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        elif body.config.is_encoder_decoder:
            pooled = states[torch.arange(len(states)), mask.sum(1) - 1]
        else:
            pooled = states[:, 0]
        found.append(pooled.numpy())
    return np.concatenate(found)


def reference(splits: dict[str, Any], model: str, length: int) -> dict[str, Any]:
    """Fit the logistic regression that everybody knows."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    began = time.perf_counter()
    train = states_of(model, splits["train"]["text"], length)
    regression = LogisticRegressionCV(
        Cs=10, cv=5, scoring="neg_log_loss", max_iter=1000, use_legacy_attributes=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that a fold lacks
        fitted = make_pipeline(StandardScaler(), regression).fit(train, splits["train"]["label"])
    seconds = time.perf_counter() - began
    test = states_of(model, splits["test"]["text"], length)
    shares = dict(zip(fitted.classes_, fitted.predict_proba(test).T, strict=True))
    gold = splits["test"]["label"]
    at_gold = [shares[g][i] if g in shares else 0.0 for i, g in enumerate(gold)]
    return {
        "right": [int(p == g) for p, g in zip(fitted.predict(test), gold, strict=True)],
        "loss": float(-np.log(np.maximum(at_gold, 1e-6)).mean()),
        "seconds": seconds,
    }


def by_mode(
    splits: dict[str, Any], model: str, mode: str, seed: int, length: int
) -> dict[str, Any]:
    """Train as the recipe does, with no flag but the mode."""
    labels = tuple(sorted({*splits["train"]["label"], *splits["test"]["label"]}))
    task = TextClassification(labels)
    config = SentimentConfig(model=model, mode=mode, seed=seed, max_length=length)
    parsed, found = check_training(config)
    filled = resolve_defaults(config, parsed, found, len(splits["train"]), task)
    accelerator = start_accelerator(tracker=None, output_dir=CELLS.parent, seed=seed)
    run = finetune(task, splits, finetune_args(filled, parsed, seed), accelerator=accelerator)
    return {
        "right": [int(p["prediction"] == p["gold"]) for p in run.predictions or []],
        "loss": run.metrics["loss"],
        "seconds": run.timing["train_seconds"] + run.timing["validation_seconds"],
        "rate": filled.learning_rate,
        "epochs": filled.epochs,
        "kept": run.history[run.best or 0]["epoch"],
        "temperature": run.temperature,
        "head": run.head,
    }


def cells(options: Options) -> list[dict[str, Any]]:
    """Measure every cell that is not there yet."""
    CELLS.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in CELLS.open()] if CELLS.exists() else []
    known = {json.dumps(cell["key"]): cell for cell in done}
    found = []
    ways = product(options.models, options.sets, options.labels, range(options.seeds))
    for model, name, labels, seed in ways:
        splits = splits_of(options, name, labels, seed)
        for mode in ("regression", *options.modes):
            if mode == "freeze-lower-8" and "inilm" in model.lower():
                mode = "freeze-lower-4"
            key = [model, name, labels, seed, mode]
            if json.dumps(key) not in known:
                length = options.max_length
                made = (
                    reference(splits, model, length)
                    if mode == "regression"
                    else by_mode(splits, model, mode, seed, length)
                )
                golds = splits["test"]["label"]
                shares = np.asarray([golds.count(g) for g in sorted(set(golds))]) / len(golds)
                made |= {"key": key, "shares": float(-(shares * np.log(shares)).sum())}
                with CELLS.open("a") as file:
                    file.write(json.dumps(made) + "\n")
                known[json.dumps(key)] = made
            found.append(known[json.dumps(key)])
    return found


def summary(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare each mode with the regression, by checkpoint, data set and number of labels."""
    groups: dict[tuple, dict[str, list[dict[str, Any]]]] = {}
    for cell in found:
        model, name, labels, _, mode = cell["key"]
        groups.setdefault((model, name, labels), {}).setdefault(mode, []).append(cell)
    rows = []
    for (model, name, labels), modes in groups.items():
        base = np.asarray([cell["right"] for cell in modes["regression"]], float)
        for mode, own in modes.items():
            right = np.asarray([cell["right"] for cell in own], float)
            row = {
                "model": Path(model).name if "/" in model else model,
                "set": name,
                "labels": labels,
                "mode": mode,
                "accuracy": 100 * right.mean(),
                "log_loss": float(np.mean([cell["loss"] for cell in own])),
                "class_shares": own[0]["shares"],
                "seconds": float(np.median([cell["seconds"] for cell in own])),
            }
            if mode != "regression":
                apart = joint_bootstrap(right, base)
                row |= {"difference": 100 * apart.mean, "low": 100 * apart.low}
                row |= {"high": 100 * apart.high, "kept": [cell["kept"] for cell in own]}
            rows.append(row)
    return rows


def main(options: Options) -> None:
    """Measure, write the JSON, print the table."""
    rows = summary(cells(options))
    path = ROOT / "benchmarks" / "results" / "defaults.json"
    path.write_text(json.dumps(rows, indent=1) + "\n")
    print(
        "| checkpoint | data | labels | mode | accuracy | against the regression (95 %) | log loss | s |"
    )
    print("|---|---|--:|---|--:|--:|--:|--:|")
    for row in rows:
        apart = ""
        if "low" in row:
            apart = f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
        loss = f"{row['log_loss']:.3f} ({row['class_shares']:.3f})"
        print(
            f"| {row['model']} | {row['set']} | {row['labels']} | {row['mode']} "
            f"| {row['accuracy']:.1f} | {apart} | {loss} | {row['seconds']:.1f} |"
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
