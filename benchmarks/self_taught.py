"""Learn from texts without labels on the bundled sets, and on SST-2 with reviews of films and novels.

    python benchmarks/self_taught.py
    python benchmarks/self_taught.py --data /path/to/data --corpora /path/to/corpora

Runs recipes/self_taught.py: 100 labels, three seeds with labels of their own, 100 steps of each first stage on
bundled/bert. The first command takes bundled/remarks, with bundled/reviews' texts without labels as the same
kind and bundled/passages as the other; the second SST-2, with 2,000 reviews of films and as many words of
novels.
Words after -- are given to the recipe. What is finished is not computed again. Results:
benchmarks/results/self_taught_<data>.json (.md, .png, .svg).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.sources import read_table
from nlptl.methods.self_taught.render import figure, markdown
from nlptl.study.render.files import write_pictured

ROOT = Path(__file__).parent.parent
HOME, RESULTS = ROOT / "runs/benchmarks/self_taught", ROOT / "benchmarks/results"
#: Labels that are looked at, steps of each first stage, runs of each arm.
LABELS, STEPS, SEEDS = 100, 100, 3
#: Texts that are taken of a corpus.
TEXTS = 2000


def sample(corpus: Path) -> Path:
    """Write texts of a corpus to a file, always the same ones, and return it."""
    file = HOME / f"{corpus.stem}.jsonl"
    if not file.exists():
        table = read_table(corpus, "--corpora")
        rows = np.random.default_rng(0).permutation(len(table))[:TEXTS]
        HOME.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"text": text}) for text in table.select(np.sort(rows))["text"][:]]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def words_of(data: Path | None, corpora: Path | None) -> tuple[str, list[str]]:
    """Return the name of the data and the words that name it to the recipe."""
    if data is None or corpora is None:
        return "bundled", []
    own, other = (sample(corpora / f"{name}.parquet") for name in ("movie_reviews", "novels"))
    files = [str(data / f"sst2/sentences_{name}.tsv") for name in ("train", "dev")]
    return "sst2", [
        *("--train-file", files[0], "--test-file", files[1]),
        *("--unlabelled", str(own), "--other", str(other)),
    ]


def bare(found: Any) -> Any:
    """Return a record with the names of files in place of their paths, which are those of one machine."""
    if isinstance(found, dict):
        return {key: bare(value) for key, value in found.items()}
    if isinstance(found, list):
        return [bare(value) for value in found]
    return Path(found).name if isinstance(found, str) and found.startswith("/") else found


def main() -> None:
    """Run the recipe, and put its record, table and picture among the results."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--model", default="bundled/bert")
    given, more = parser.parse_known_args()
    more = [word for word in more if word != "--"]
    name, words = words_of(given.data, given.corpora)
    if given.model != "bundled/bert":
        name += f"_{Path(given.model).name}"
    home = HOME / "_".join([name, *(word.strip("-") for word in more)])
    command = [
        *(sys.executable, "recipes/self_taught.py", "--model", given.model, *words),
        *("--max-train-examples", str(LABELS), "--first-steps", str(STEPS)),
        *("--seeds", str(SEEDS), "--output-dir", str(home), *more),
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    record = bare(json.loads((home / "self_taught.json").read_text("utf-8")))
    shown = (markdown(record), figure(record), "each first stage beside the checkpoint as it is")
    write_pictured(record, f"self_taught_{name}", *shown, RESULTS)


if __name__ == "__main__":
    main()
