"""Run a recipe in several modes, one after the other, and write scores and costs side by side.

    python benchmarks/modes.py qa squad_minilm head-only freeze-lower-4 full lora -- \
        --model MODEL --train-file TRAIN --test-file TEST --epochs 3

What stands behind ``--`` goes to every run. Results: ``benchmarks/results/NAME.json``; finished runs
under ``runs/benchmarks/NAME`` are not repeated.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCORES = ("accuracy", "macro_f1", "matthews", "exact_match", "f1")


def run(recipe: str, mode: str, flags: list[str], directory: Path) -> dict:
    """Run one mode, unless its result is there, and return the record."""
    words = [f"recipes/{recipe}.py", "--mode", mode, "--output-dir", str(directory), *flags]
    if not (directory / "result.json").exists():
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    return json.loads((directory / "result.json").read_text("utf-8"))


def row(record: dict) -> dict:
    """What the table shows of one mode: means over seeds where there are several."""
    seeds = record.get("seeds")
    line = {"mode": record["mode"], "learning_rate": record["settings"]["learning_rate"]}
    for name in SCORES:
        if name in record["metrics"]:
            line[name] = record["metrics"][name]
            line[f"{name}_se"] = record["metrics"][f"{name}_se"]
            if seeds:
                line |= {
                    name: seeds["metrics"][name]["mean"],
                    f"{name}_sd": seeds["metrics"][name]["sd"],
                }
    line["seeds"] = len(seeds["seeds"]) if seeds else 1
    line["trainable"] = record["parameters"]["trainable"]
    line["train_seconds"] = record["timing"]["train_seconds"]
    return line


def main() -> None:
    """Run all modes, write the JSON, print a Markdown table."""
    recipe, name, *rest = sys.argv[1:]
    at = rest.index("--")
    modes, flags = rest[:at], rest[at + 1 :]
    directory = ROOT / "runs" / "benchmarks" / name
    records = [run(recipe, mode, flags, directory / mode) for mode in modes]
    rows = [row(record) for record in records]
    whole = {"name": name, "recipe": recipe, "rows": rows, "n": records[0]["n"]}
    whole["versions"] = records[0]["versions"]
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    path.write_text(json.dumps(whole, indent=2) + "\n")
    keys = [k for k in rows[0] if not k.endswith(("_se", "_sd"))]
    print("| " + " | ".join(keys) + " |\n" + "|---" * len(keys) + "|")
    for line in rows:
        print("| " + " | ".join(cell(line, key) for key in keys) + " |")


def cell(line: dict, key: str) -> str:
    """One cell; a score comes with its spread over seeds, or else its standard error."""
    value = line[key]
    if key in SCORES:
        digits = 1 if key in ("exact_match", "f1") else 3
        spread = line.get(f"{key}_sd", line[f"{key}_se"])
        return f"{value:.{digits}f} ± {spread:.{digits}f}"
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:.4g}"
        if isinstance(value, float)
        else value
    )


if __name__ == "__main__":
    main()
