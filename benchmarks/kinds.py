"""Each kind of task on data that everybody knows, beside the cheapest answers.

    python benchmarks/kinds.py --data DATA --model $MINILM

Each case is trained as ``recipes/classify.py`` trains it with ``--kind auto``, ``--mode`` and as many labels
as ``--labels`` says (those for validation included), and scored on its own test set (AG News: a fifth of the
file). Beside it stand the floors that each run has in its record (:mod:`nlptl.train.floors`): always one
answer, and a bag of words on the same training rows; for tags the most frequent tag of each word. For pairs
with a number there is the cosine of the checkpoint's mean states too, without any training. Finished cases in
``runs/benchmarks/kinds.jsonl`` are not repeated. Results: ``benchmarks/results/kinds.json`` and a table.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tyro

from nlptl.cli.check import prepare_run
from nlptl.cli.config import ClassifyConfig
from nlptl.tasks import get_task
from nlptl.tasks.kinds import chosen_kind
from nlptl.train.finetune import finetune
from nlptl.train.floors import floors
from nlptl.train.setup import new_accelerator, start_accelerator

ROOT = Path(__file__).parent.parent
CELLS = ROOT / "runs" / "benchmarks" / "kinds.jsonl"
#: Name of a case to the files of its splits and the columns that it names.
CASES: dict[str, dict[str, Any]] = {
    "AG News": {
        "files": {"train": "ag_news/all.tsv"},
        "text_column": ("title", "description"),
    },
    "TREC": {
        "files": {"train": "trec/train.tsv", "test": "trec/test.tsv"},
        "label_column": ("coarse",),
    },
    "SICK entailment": {
        "files": {"train": "sick/train.tsv", "validation": "sick/dev.tsv", "test": "sick/test.tsv"},
    },
    "SICK relatedness": {
        "files": {"train": "sick/train.tsv", "validation": "sick/dev.tsv", "test": "sick/test.tsv"},
        "label_column": ("relatedness",),
    },
    "WNUT-17": {
        "files": {
            "train": "wnut17/wnut17train.conll",
            "validation": "wnut17/emerging.dev.conll",
            "test": "wnut17/emerging.test.annotated",
        },
    },
}


@dataclass(frozen=True)
class Options:
    """What is measured."""

    data: Path
    """Folder of the data sets."""
    model: str = "bundled/bert"
    """Checkpoint."""
    mode: str = "freeze-lower-4"
    """What trains."""
    labels: int = 1000
    """Labels, those for validation included."""
    tests: int | None = None
    """Most test examples; by default all."""
    epochs: float | None = None
    """Passes over the training set; by default as many as the recipe takes."""
    max_length: int = 128
    """Tokens per text."""
    cases: tuple[str, ...] = tuple(CASES)
    """Cases."""


def configuration(options: Options, name: str, home: str) -> ClassifyConfig:
    """Return the flags of a case."""
    case = dict(CASES[name])
    files = {f"{split}_file": options.data / file for split, file in case.pop("files").items()}
    return ClassifyConfig(
        model=options.model,
        mode=options.mode,
        max_train_examples=options.labels,
        max_eval_examples=options.tests,
        max_length=options.max_length,
        epochs=options.epochs,
        output_dir=Path(home) / "run",
        **files,
        **case,
    )


def untrained(task: Any, splits: dict[str, Any], model: str) -> float | None:
    """Score the cosine of the texts of each pair; None if the task is another one."""
    from transformers import AutoModel

    from nlptl.models.loading import load_with_head
    from nlptl.report.zero_shot import pair_similarities

    if task.head_fit != "numbers" or len(task.fields) != 2:
        return None
    body = load_with_head(model, auto_class=AutoModel, head={})
    sides = [splits["test"][name][:] for name in task.fields]
    found = pair_similarities(body.model, body.tokenizer, *sides, accelerator=new_accelerator())
    pairs = zip(found, task.gold(splits["test"]), strict=True)
    return task.score([{"prediction": p, "gold": g} for p, g in pairs])[task.selection]


def measure(options: Options, name: str) -> dict[str, Any]:
    """Train and score a case."""
    with TemporaryDirectory() as home:
        config = configuration(options, name, home)
        ready = prepare_run(config, get_task(chosen_kind(config)))
        task, splits = ready.task, ready.splits
        accelerator = start_accelerator(tracker=None, output_dir=Path(home), seed=config.seed)
        run = finetune(task, splits, ready.args(config.seed), accelerator=accelerator)
    return {
        "case": name,
        "kind": ready.record["data"]["kind"],
        "model": Path(options.model).name,
        "mode": options.mode,
        "metric": task.selection,
        "n": run.num_examples,
        "metrics": run.metrics,
        "floors": floors(task, splits),
        "zero_shot": untrained(task, splits, options.model),
        "seconds": run.timing["train_seconds"],
    }


def row_of(found: dict[str, Any]) -> str:
    """Write a case as a row of the table, in hundredths."""
    metric = found["metric"]

    def score(metrics: dict[str, float]) -> str:
        return f"{100 * metrics[metric]:.1f}"

    error = 100 * found["metrics"][f"{metric}_se"]
    free = "" if found["zero_shot"] is None else f"{100 * found['zero_shot']:.1f}"
    cheap = found["floors"]
    return (
        f"| {found['case']} | {found['kind']['name']} | {metric} | {found['n']['train']:,} / "
        f"{found['n']['test']:,} | {score(cheap['majority'])} | {score(cheap['bag_of_words'])} | {free} "
        f"| {score(found['metrics'])} ± {error:.1f} |"
    )


def main(options: Options) -> None:
    """Measure what is not there yet, write the JSON, print the table."""
    CELLS.parent.mkdir(parents=True, exist_ok=True)
    asked = (options.mode, options.labels, options.tests, options.epochs, options.max_length)
    wanted = [Path(options.model).name, *asked]
    lines = CELLS.read_text("utf-8").splitlines() if CELLS.is_file() else []
    known = [json.loads(line) for line in lines]
    done = {cell["case"]: cell for cell in known if cell["asked"] == wanted}
    for name in options.cases:
        if name not in done:
            done[name] = {**measure(options, name), "asked": wanted}
            with CELLS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[name]) + "\n")
    rows = [done[name] for name in CASES if name in done]
    path = ROOT / "benchmarks" / "results" / "kinds.json"
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(
        "| data | kind | metric | train / test | one answer | bag of words | no training | nlptl |"
    )
    print("|---|---|---|--:|--:|--:|--:|--:|")
    for found in rows:
        print(row_of(found))


if __name__ == "__main__":
    main(tyro.cli(Options))
