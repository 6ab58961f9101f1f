"""What is a checkpoint worth on questions? The bundled passages, random weights, and a little of SQuAD.

    python benchmarks/questions.py --models bundled/bert runs/pretrain_bert_qa/model --data DATA/squad
    python benchmarks/questions.py --models bundled/bert --parts passages -- --mode freeze-lower-8

Three parts. ``passages`` runs recipes/qa.py on its defaults with three seeds, and compares F1 with what
"no answer" to every question has. ``report`` is the quick report of that run: the same model from random
weights. ``squad`` trains on 128 and on 1,024 questions of ``v1.1-train.json`` (those that choose the epoch
included), another draw with each seed, and is scored on ``v1.1-dev.json``. Checkpoints are compared in pairs,
by seed and question, passages drawn whole. What stands behind ``--`` goes to every run of the recipe.

A finished run below runs/benchmarks/questions is not made again, and one that was killed goes on. Its folder
has the hash of the weights and of the data in its name: another checkpoint under an old name is another run.
Results: ``benchmarks/results/questions.json``, and tables in Markdown.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from nlptl.data.files import write_json
from nlptl.data.sources import BUNDLED
from nlptl.metrics.squad import f1
from nlptl.models.loading import resolve
from nlptl.stats.bootstrap import Difference, joint_bootstrap

ROOT = Path(__file__).parent.parent
HOME, RESULT = ROOT / "runs/benchmarks/questions", ROOT / "benchmarks/results/questions.json"
#: Bars on the bundled passages: points of F1 above "no answer", and minutes of a run, its start included.
POINTS, MINUTES = 10.0, 5.0
Part = Literal["passages", "report", "squad"]


@dataclass(frozen=True)
class Options:
    """What is measured."""

    models: tuple[str, ...] = ("bundled/bert",)
    """Checkpoints; the first is today's."""
    data: Path | None = None
    """Folder of SQuAD's files, for the part squad."""
    parts: tuple[Part, ...] = ("passages", "report", "squad")
    """What to measure."""
    sizes: tuple[int, ...] = (128, 1024)
    """Questions of SQuAD, those that choose the epoch included."""
    seeds: int = 3
    """Runs of each kind."""
    output: Path = RESULT
    """File of the results."""


def digest(*files: Path) -> str:
    """Hash files, short enough for the name of a folder."""
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


def home_of(model: str, data: list[Path], flags: list[str], what: str) -> Path:
    """Name the folder of a run by all that decides on it."""
    path = Path(resolve(model))
    weights = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    name = f"{path.parent.name if path.name == 'model' else path.name}-{digest(*weights)}"
    more = sha256(" ".join(flags).encode()).hexdigest()[:8] if flags else "defaults"
    return HOME / name / f"{what}-{digest(*data)}-{more}"


def run(home: Path, model: str, flags: list[str]) -> list[dict[str, Any]]:
    """Run the recipe, unless it is finished, and read the record of each seed."""
    done = home / "minutes.json"  # written when all seeds are finished
    if not done.exists():
        begun, before = (home / "config.yaml").exists(), time.perf_counter()
        words = ["recipes/qa.py", "--model", model, "--output-dir", str(home), *flags]
        words += ["--resume"] if begun else []
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
        minutes = (time.perf_counter() - before) / 60
        write_json(done, {"minutes": None if begun else minutes})
    minutes = json.loads(done.read_text("utf-8"))["minutes"]
    homes = [home, *sorted((home / "seeds").glob("*"), key=lambda path: int(path.name))]
    records = [read(each) for each in homes]
    for record in records:
        record["minutes"] = minutes and minutes / len(records)
    return records


def read(home: Path) -> dict[str, Any]:
    """Read F1 of each question, and of "no answer" to it, in percent."""
    record = json.loads((home / "result.json").read_text("utf-8"))
    v2 = record["task_settings"]["v2"]
    lines = [
        json.loads(line) for line in (home / "predictions.jsonl").read_text("utf-8").splitlines()
    ]
    lines.sort(key=lambda line: str(line["id"]))
    return {
        "seed": record["seed"],
        "mode": record["mode"],
        "n": record["n"],
        "launch": record["launch"],
        "floor": record["floors"]["majority"]["f1"],
        "epochs": record["settings"]["epochs"],
        "learning_rate": record["settings"]["learning_rate"],
        "ids": [line["id"] for line in lines],
        "passages": [line["passage"] for line in lines],
        "scores": [100 * f1(line["prediction"], line["gold"], v2=v2) for line in lines],
        "none": [100 * f1("", line["gold"], v2=v2) for line in lines],
    }


def compared(first: list[dict[str, Any]], second: list[dict[str, Any]], key: str) -> Difference:
    """Compare the scores of the first with the scores, or with ``none``, of the second."""
    assert [record["ids"] for record in first] == [record["ids"] for record in second]
    tables = [np.asarray([record[name] for record in records])
              for records, name in ((first, "scores"), (second, key))]  # fmt: skip
    return joint_bootstrap(*tables, groups=first[0]["passages"])


def row_of(model: str, name: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarize the runs of one checkpoint on one set."""
    means = [float(np.mean(record["scores"])) for record in records]
    gain = compared(records, records, "none")
    kept = ("mode", "n", "launch", "floor", "epochs", "learning_rate", "minutes")
    return {
        "model": model,
        "set": name,
        **{key: records[0][key] for key in kept},
        "seeds": [record["seed"] for record in records],
        "scores": means,
        "f1": float(np.mean(means)),
        "sd": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "above_none": vars(gain),
    }


def report_of(home: Path) -> dict[str, Any]:
    """Make the quick report of a run, unless it is there, and read what it says of random weights."""
    file = home / "report.json"
    if not file.exists():
        words = ["-m", "nlptl", "report", str(home), "--tier", "quick"]
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    found = json.loads(file.read_text("utf-8"))
    points = {name: 100 * found["downstream"][name]["mean"] for name in ("pre", "scratch")}
    low, high = found["gain"]["ci95"]
    gain = {"mean": 100 * found["gain"]["abs"], "low": 100 * low, "high": 100 * high}
    verdict = {name: found["negative"][name] for name in ("verdict", "provisional", "sentence")}
    return {**points, "gain": gain, "p": found["gain"]["p_two_sided"], **verdict}


def measure(options: Options, flags: list[str]) -> dict[str, Any]:
    """Run what is missing, checkpoint by checkpoint, and compare the checkpoints."""
    rows, reports, found, data = [], {}, {}, options.data or Path()
    bundled = sorted((BUNDLED / "passages").glob("*.json"))
    for model in options.models:
        own: dict[str, list[dict[str, Any]]] = {}
        if {"passages", "report"} & set(options.parts):
            home = home_of(model, bundled, flags, f"passages-{options.seeds}")
            own["passages"] = run(home, model, ["--seeds", str(options.seeds), *flags])
            if "report" in options.parts:
                reports[model] = report_of(home)
        for size in options.sizes if "squad" in options.parts else ():
            files = [data.resolve() / f"v1.1-{name}.json" for name in ("train", "dev")]
            given = ["--train-file", str(files[0]), "--test-file", str(files[1])]
            given += ["--max-train-examples", str(size), *flags]
            homes = [
                home_of(model, files, flags, f"squad-{size}-{seed}")
                for seed in range(options.seeds)
            ]
            own[f"squad-{size}"] = [
                run(home, model, [*given, "--seed", str(seed)])[0]
                for seed, home in enumerate(homes)
            ]
        rows += [row_of(model, name, records) for name, records in own.items()]
        found[model] = own
    pairs = [
        {"set": name, "pair": [second, first], **vars(compared(new, found[first][name], "scores"))}
        for first, second in combinations(options.models, 2)
        for name, new in found[second].items()
    ]
    return {"flags": flags, "rows": rows, "reports": reports, "pairs": pairs}


def interval(one: dict[str, Any]) -> str:
    """Write a difference with its interval."""
    return f"{one['mean']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]"


def show(record: dict[str, Any]) -> None:
    """Print the tables, and whether the bars are reached."""
    print(
        '| checkpoint | data | labels | F1 (sd) | "no answer" | above it (95 %) | minutes a run |'
    )
    print("|---|---|--:|--:|--:|--:|--:|")
    for row in record["rows"]:
        labels = row["n"]["train"] + row["n"]["validation"]
        spread = "" if row["sd"] is None else f" ({row['sd']:.1f})"
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.1f}"
        cells = [f"`{row['model']}`", row["set"], f"{labels:,}", f"{row['f1']:.1f}{spread}"]
        cells += [f"{row['floor']:.1f}", interval(row["above_none"]), minutes]
        print("| " + " | ".join(cells) + " |")
    print("\n| data | pair | difference (95 %) | p |\n|---|---|--:|--:|")
    for pair in record["pairs"]:
        title = " - ".join(f"`{name}`" for name in pair["pair"])
        print(f"| {pair['set']} | {title} | {interval(pair)} | {pair['p']:.2g} |")
    print("\n| report of | F1 | random weights | gain (95 %) | verdict |\n|---|--:|--:|--:|---|")
    for model, found in record["reports"].items():
        cells = [f"`{model}`", f"{found['pre']:.1f}", f"{found['scratch']:.1f}"]
        print("| " + " | ".join([*cells, interval(found["gain"]), found["verdict"]]) + " |")
    print()
    for row in record["rows"]:
        if row["set"] == "passages":
            gain, minutes = row["above_none"]["mean"], row["minutes"]
            reached = gain >= POINTS and minutes is not None and minutes <= MINUTES
            took = "an unknown time" if minutes is None else f"{minutes:.1f} minutes"
            print(f"{row['model']}: {gain:+.1f} points of {POINTS:.0f}, {took} of {MINUTES:.0f}: "
                  f"{'reached' if reached else 'not reached'}")  # fmt: skip


def main() -> None:
    """Measure, write the JSON, print."""
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    options = tyro.cli(Options, args=words[:at])
    if "squad" in options.parts and options.data is None:
        sys.exit("The part squad needs --data, the folder of v1.1-train.json and v1.1-dev.json.")
    record = measure(options, words[at + 1 :])
    write_json(options.output, record)
    show(record)


if __name__ == "__main__":
    main()
