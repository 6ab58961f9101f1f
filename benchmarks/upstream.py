"""Held-out loss of the bundled checkpoints beside that of a unigram model, on texts none of them saw.

    python benchmarks/upstream.py corpora/wikipedia_valid.parquet amazon/electronics.parquet

The first 1,000 texts of each file (column ``text``), in pieces of at most 128 tokens, masks fixed. The unigram
model is the best that there is: fitted to the very tokens that it predicts. Results:
``benchmarks/results/upstream.json``.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import nlptl
from nlptl.data.files import write_json
from nlptl.models.loading import load_tokenizer
from nlptl.pretrain.corpus import read_documents
from nlptl.pretrain.held_out import fixed_batches, objective_of

RESULT = Path(__file__).parent / "results/upstream.json"
CHECKPOINTS = ("bundled/bert", "bundled/roberta", "bundled/t5")
TEXTS, LENGTH = 1000, 128


def unigram_loss(checkpoint: str, texts: list[str]) -> float:
    """Nats a predicted token of the unigram distribution of these very tokens."""
    batches = fixed_batches(
        texts,
        load_tokenizer(checkpoint, split_special_tokens=False),
        objective_of(checkpoint),
        max_length=LENGTH,
    )
    counts: Counter[int] = Counter()
    for batch in batches.epoch(0):
        inputs: Any = batch.inputs
        found = inputs.get("targets")
        labels = inputs["labels"].flatten()[inputs["positions"]] if found is None else found
        counts.update(labels.tolist())
    shares = np.asarray(list(counts.values())) / counts.total()
    return float(-(shares * np.log(shares)).sum())


def main() -> None:
    """Score, write, print."""
    rows = []
    for name in sys.argv[1:]:
        texts = read_documents(name, "text").select(range(TEXTS))["text"][:]
        for checkpoint in CHECKPOINTS:
            loss = nlptl.upstream_loss(
                checkpoint, texts, accelerator=nlptl.new_accelerator(), max_length=LENGTH
            )
            row = {"texts": Path(name).stem, "checkpoint": checkpoint, **loss}
            rows.append({**row, "unigram": unigram_loss(checkpoint, texts)})
            print(
                "| {texts} | `{checkpoint}` | {loss:.2f} ± {se:.2f} | {unigram:.2f} |".format(
                    **rows[-1]
                )
            )
    write_json(RESULT, {"length": LENGTH, "rows": rows})


if __name__ == "__main__":
    main()
