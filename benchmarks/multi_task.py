"""Learn four tasks on one body: sentiment, question types, topics of news, entailment.

    python benchmarks/multi_task.py --data DATA --model bundled/bert $MINILM

DATA holds sst2, trec, ag_news and sick. Runs recipes/multi_task.py once a checkpoint, with 500 labels a task,
other ones for each of three seeds, and 500 test examples a task; more flags are passed on. Finished runs are
kept by nlptl and not made again. Results: benchmarks/results/multi_task_NAME.json, .md and .png.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from nlptl.methods.multi_task.render import figure, markdown
from nlptl.study.render.files import write_pictured

ROOT = Path(__file__).parent.parent
HOME, RESULTS = ROOT / "runs/benchmarks/multi_task", ROOT / "benchmarks/results"
#: Flags of every run.
FLAGS = (
    *("--max-train-examples", "500", "--max-eval-examples", "500", "--max-length", "64"),
    *("--batch-size", "32", "--seeds", "3", "--no-save"),
)


def tasks(data: Path) -> list[str]:
    """Return the flags that name the tasks; SST-2's whole sentences are copied to a folder of their own."""
    sst2 = HOME / "data" / "sst2"
    sst2.mkdir(parents=True, exist_ok=True)
    for name, split in (("sentences_train", "train"), ("sentences_dev", "test")):
        shutil.copyfile(data / "sst2" / f"{name}.tsv", sst2 / f"{split}.tsv")
    named = {
        "sst2": sst2,
        "trec": data / "trec",
        "ag_news": data / "ag_news" / "all.tsv",
        "sick": data / "sick",
    }
    return [
        *("--tasks", *(f"{name}:{path}" for name, path in named.items())),
        *("--columns", "trec.label=coarse", "sick.label=label"),
    ]


def run(model: str, data: Path, methods: list[str], more: list[str]) -> Path:
    """Run the recipe on a checkpoint; what is finished is found again."""
    home = HOME / "-".join([Path(model).name, *methods])
    words = ["--model", model, *tasks(data), *FLAGS, "--methods", *methods, *more]
    command = [sys.executable, "recipes/multi_task.py", *words, "--output-dir", str(home)]
    subprocess.run(command, cwd=ROOT, check=True)
    return home


def main() -> None:
    """Run each checkpoint, first the mix alone, then with the chain, and keep the records."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=["bundled/bert"])
    given, more = parser.parse_known_args()
    for methods in (["mixed"], ["mixed", "chain"]):
        for model in given.model:
            home = run(model, given.data.resolve(), methods, more)
            name = f"multi_task_{Path(model).name}"
            record = json.loads((home / "multi_task.json").read_text("utf-8"))
            record["model"] = model if model.startswith("bundled/") else Path(model).name
            for task in record["tasks"].values():
                del task["data"]  # folders of this machine
            shown = (
                markdown(record),
                figure(record),
                "each task with the others, against the task alone",
            )
            write_pictured(record, name, *shown, RESULTS)
            print(f"{model}: {record['sentence']}", flush=True)


if __name__ == "__main__":
    main()
