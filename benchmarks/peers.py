"""The shortest way to a classifier: nlptl beside what people reach for, side by side in one run.

    pip install setfit sentence-transformers
    python benchmarks/peers.py --data DATA --model $MINILM

Each way is a function of this file, written as its own documentation writes it, with its defaults; its
statements are counted in its code, imports left out. All get the same training table of ``--labels`` rows and
the same 1,000 test texts, and each runs in a process of its own. setfit would train on every pair of rows,
so its steps are bounded by ``--setfit-steps``. Results: ``benchmarks/results/peers.json`` and a table.

    python benchmarks/peers.py --data DATA --model $MINILM --count

counts statements and names alone, also of libraries that were not run (:data:`READ`): their code here is what
their documentation shows. A name is one that is imported, or a method that is called.
"""

import ast
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro

ROOT = Path(__file__).parent.parent
TEST = 1000
#: Name of a data set to its file, the columns of its texts and that of its labels.
SETS = {
    "AG News": ("ag_news/all.tsv", ("title", "description"), "label"),
    "SST-2 sentences": ("sst2/sentences_train.tsv", ("sentence",), "label"),
}


@dataclass(frozen=True)
class Options:
    """What is measured."""

    data: Path
    """Folder of the data sets."""
    model: str
    """A sentence encoder."""
    labels: int = 300
    """Training rows; where a way needs validation rows it takes them out of these."""
    setfit_steps: int = 300
    """Steps of setfit's contrastive training."""
    count: bool = False
    """Whether only to count statements and names."""
    worker: str = ""
    """Way and data set of one measurement; used by the script itself."""


def nlptl_fit(train: pd.DataFrame, test: pd.DataFrame, model: str, steps: int) -> Any:
    """Take the recipe's defaults."""
    import nlptl

    run = nlptl.fit(train, text="text", label="label", model=model, test=test)
    return run.predict(test)["prediction"]


def nlptl_head_only(train: pd.DataFrame, test: pd.DataFrame, model: str, steps: int) -> Any:
    """Fit the head alone."""
    import nlptl

    run = nlptl.fit(train, text="text", label="label", model=model, test=test, mode="head-only")
    return run.predict(test)["prediction"]


def encode_and_regress(train: pd.DataFrame, test: pd.DataFrame, model: str, steps: int) -> Any:
    """Fit a logistic regression on sentence embeddings."""
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    encoder = SentenceTransformer(model)
    states = encoder.encode(list(train["text"]))
    head = LogisticRegression(max_iter=1000).fit(states, train["label"])
    return head.predict(encoder.encode(list(test["text"])))


def setfit(train: pd.DataFrame, test: pd.DataFrame, model: str, steps: int) -> Any:
    """Train contrastively, then fit a head."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    loaded = SetFitModel.from_pretrained(model, labels=sorted(set(train["label"])))
    args = TrainingArguments(max_steps=steps, save_strategy="no")
    trainer = Trainer(loaded, args, train_dataset=Dataset.from_pandas(train, preserve_index=False))
    trainer.train()
    return loaded.predict(list(test["text"]))


def tfidf(train: pd.DataFrame, test: pd.DataFrame, model: str, steps: int) -> Any:
    """Fit a logistic regression on a bag of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    words.fit(train["text"], train["label"])
    return words.predict(test["text"])


def autogluon(train: pd.DataFrame, test: pd.DataFrame, model: str, steps: int) -> Any:
    """Do as auto.gluon.ai/stable/tutorials/multimodal/text_prediction/beginner_text.html does; not run."""
    from autogluon.multimodal import MultiModalPredictor

    predictor = MultiModalPredictor(label="label")
    predictor.fit(train)
    return predictor.predict(test)


def fastai(train: pd.DataFrame, test: pd.DataFrame, model: str, steps: int) -> Any:
    """Do as docs.fast.ai/quick_start.html and docs.fast.ai/tutorial.text.html do; not run."""
    from fastai.text.all import AWD_LSTM, TextDataLoaders, accuracy, text_classifier_learner

    dls = TextDataLoaders.from_df(train, text_col="text", label_col="label")
    learn = text_classifier_learner(dls, AWD_LSTM, drop_mult=0.5, metrics=accuracy)
    learn.fine_tune(4, 1e-2)
    return [learn.predict(text)[0] for text in test["text"]]


WAYS: dict[str, Callable[..., Any]] = {
    "bag of words, logistic regression": tfidf,
    "sentence-transformers, logistic regression": encode_and_regress,
    "setfit": setfit,
    "nlptl.fit, mode='head-only'": nlptl_head_only,
    "nlptl.fit": nlptl_fit,
}


#: Ways that were read about and not run.
READ: dict[str, Callable[..., Any]] = {
    "AutoGluon (from its documentation)": autogluon,
    "fastai (from its documentation)": fastai,
}


def statements(way: Callable[..., Any]) -> int:
    """Count the statements of a way; imports and docstring are left out."""
    (function,) = ast.parse(inspect.getsource(way)).body
    assert isinstance(function, ast.FunctionDef)
    kinds = (ast.Import, ast.ImportFrom)
    return sum(not isinstance(line, kinds) for line in function.body[1:])


def names(way: Callable[..., Any]) -> list[str]:
    """List the names that a way needs: what it imports by name, and the methods that it calls."""
    tree = ast.parse(inspect.getsource(way))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return sorted(imported | {call.attr for call in calls if isinstance(call, ast.Attribute)})


def print_counts() -> None:
    """Print how many statements and names each way takes from tables in memory to predictions."""
    print("| way | statements | names | which |\n|---|--:|--:|---|")
    for way, function in {**WAYS, **READ}.items():
        known = names(function)
        which = ", ".join(f"`{name}`" for name in known)
        print(f"| {way} | {statements(function)} | {len(known)} | {which} |")


def tables(options: Options, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw the training rows and the test rows."""
    file, columns, label = SETS[name]
    raw = pd.read_csv(options.data / file, sep="\t", quoting=3, dtype=str, keep_default_na=False)
    joined = raw[list(columns)].agg(". ".join, axis=1)
    table = pd.DataFrame({"text": joined, "label": raw[label]})
    order = np.random.default_rng(0).permutation(len(table))
    cut = TEST + options.labels
    return table.iloc[order[TEST:cut]].reset_index(drop=True), table.iloc[order[:TEST]].reset_index(
        drop=True
    )


def work(options: Options) -> None:
    """Make one measurement; its figures are the last line of the output."""
    way, name = options.worker.split("/")
    train, test = tables(options, name)
    began = time.perf_counter()
    found = WAYS[way](train, test, options.model, options.setfit_steps)
    seconds = time.perf_counter() - began
    right = np.asarray([str(one) for one in found]) == test["label"].to_numpy()
    figures = {"accuracy": 100 * right.mean(), "se": 100 * right.std(ddof=1) / len(right) ** 0.5}
    sys.stdout.write("\n" + json.dumps({**figures, "seconds": seconds}) + "\n")


def main(options: Options) -> None:
    """Run every way on every data set, write the JSON, print the table."""
    if options.count:
        return print_counts()
    if options.worker:
        return work(options)
    rows = []
    for name in SETS:
        for way in WAYS:
            given = [f"--{k}={getattr(options, k)}" for k in ("data", "model", "labels")]
            given += [f"--setfit-steps={options.setfit_steps}", f"--worker={way}/{name}"]
            words = [sys.executable, __file__, *given]
            done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ))
            if done.returncode:
                sys.exit(done.stderr[-3000:])
            figures = json.loads(done.stdout.strip().splitlines()[-1])
            rows.append({"set": name, "way": way, "statements": statements(WAYS[way]), **figures})
    path = ROOT / "benchmarks" / "results" / "peers.json"
    path.write_text(json.dumps(rows, indent=1) + "\n")
    print("| data | way | statements | accuracy | s |\n|---|---|--:|--:|--:|")
    for row in rows:
        score = f"{row['accuracy']:.1f} ± {row['se']:.1f}"
        print(
            f"| {row['set']} | {row['way']} | {row['statements']} | {score} | {row['seconds']:.0f} |"
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
