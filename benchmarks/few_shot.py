"""Few labels of AG News: which method leads from how many labels on; and contrastive beside SetFit.

    python benchmarks/few_shot.py --model $MINILM --data $DATA
    python benchmarks/few_shot.py --model $MINILM --data $DATA --setfit $SETFIT/bin/python

The first runs recipes/few_shot.py: 1,000 test texts, 0, 1, 8 and 64 labels a class, ten draws; further
flags go to the recipe. The second trains the draws of 8 a class under the same number of pairs and steps, the
same rate and batch with SetFit, in an environment of its own, and tests whether the two are equal within two
points (two one-sided tests, Schuirmann, 1987). What is finished is not computed again. Results:
benchmarks/results/few_shot_ag.json (.md, .png, .svg) and few_shot_setfit.json.
"""

import argparse
import csv
import json
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.cli.compare import check_modes, mode_args
from nlptl.cli.config import GridConfig, parse_args, with_options
from nlptl.data.files import write_json
from nlptl.methods.few_shot.draws import Shots, draw
from nlptl.methods.few_shot.few_shot import arm_spec, modes_of, read_data
from nlptl.methods.few_shot.options import CONTRASTIVE, FewShotOptions
from nlptl.methods.few_shot.render import figure, markdown
from nlptl.methods.few_shot.terms import pairs_drawn
from nlptl.models.loading import trained_config
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.stats.multiple import equivalence_p
from nlptl.study.render.files import write_pictured
from nlptl.study.study import Study

ROOT = Path(__file__).parent.parent
HOME, RESULTS = ROOT / "runs/benchmarks/few_shot", ROOT / "benchmarks/results"
#: Test texts of each class, and labels a class of the comparison with SetFit.
TESTS, SHOTS = 250, 8
#: What is the same on both sides: rate of the body, pairs of either kind for each text, batch, tokens.
RATE, PAIRS, BATCH, LENGTH = 2e-5, 20, 16, 128
#: Largest difference that counts as equal, in units of the score.
MARGIN = 0.02


def write_splits(data: Path) -> tuple[Path, Path]:
    """Write AG News as one text a row: 250 test texts of each class, and the rest to draw labels from."""
    files = HOME / "train.csv", HOME / "test.csv"
    if not all(file.exists() for file in files):
        with (data / "ag_news/all.tsv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        test = {*draw([row["label"] for row in rows], TESTS, 0).tolist()}
        HOME.mkdir(parents=True, exist_ok=True)
        for path, kept in ((files[0], False), (files[1], True)):
            with path.open("w", encoding="utf-8", newline="") as file:
                out = csv.writer(file)
                out.writerow(("text", "label"))
                out.writerows(
                    (f"{row['title']}. {row['description']}", row["label"])
                    for number, row in enumerate(rows)
                    if (number in test) is kept
                )
    return files


def flags(model: str, data: Path, draws: int) -> list[str]:
    """Return the flags that both parts share."""
    train, test = write_splits(data)
    return [
        *("--model", model, "--train-file", str(train), "--test-file", str(test)),
        *("--seeds", str(draws), "--batch-size", str(BATCH), "--max-length", str(LENGTH)),
    ]


def study(model: str, data: Path, draws: int, more: list[str]) -> None:
    """Run the recipe, and keep what it wrote."""
    words = [*flags(model, data, draws), "--output-dir", str(HOME / "ag"), *more]
    subprocess.run([sys.executable, "recipes/few_shot.py", *words], cwd=ROOT, check=True)
    record = json.loads((HOME / "ag/few_shot.json").read_text("utf-8"))
    record["model"], record["dataset"] = Path(model).name, "AG News"
    del record["data"]  # folders of this machine
    shown = (markdown(record), figure(record), "score of each method by labels a class")
    write_pictured(record, "few_shot_ag", *shown, RESULTS)


def beside_setfit(
    model: str, data: Path, draws: int, python: str, more: list[str]
) -> dict[str, Any]:
    """Train the same draws with contrastive and with SetFit, and test whether they are equal."""
    words = [
        *flags(model, data, draws),
        *("--shots", str(SHOTS), "--methods", CONTRASTIVE, "--learning-rate", str(RATE)),
        *("--pairs", str(PAIRS), "--max-pairs", "100000", *more),
    ]
    config: Any = parse_args(with_options(GridConfig, FewShotOptions), words)
    task, splits, _, _ = read_data(config)
    args = partial(
        mode_args, config, check_modes(config, modes_of(config)), trained_config(model, "auto")
    )
    spec = arm_spec(config, task, args, CONTRASTIVE, SHOTS)
    seeds = range(config.seed, config.seed + draws)
    own = Study(task, splits, {CONTRASTIVE: spec}, seeds).run()[CONTRASTIVE]
    texts, gold = splits["test"]["text"][:], task.gold(splits["test"])
    (HOME / "setfit").mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        seen = Shots(SHOTS)(task, splits, seed)["train"]
        given = {
            **{"model": model, "seed": seed, "rate": RATE, "iterations": config.pairs},
            **{"batch": BATCH, "length": LENGTH, "test": texts},
            **{"texts": seen["text"][:], "labels": task.gold(seen)},
        }
        write_json(HOME / f"setfit/{seed}.json", given)
    subprocess.run(
        [python, str(ROOT / "benchmarks/few_shot_setfit.py"), str(HOME / "setfit")], check=True
    )
    files = [HOME / f"setfit/{seed}.answers.json" for seed in seeds]
    found = [json.loads(file.read_text("utf-8")) for file in files]
    other = np.asarray(
        [[[a == b] for a, b in zip(one["answers"], gold, strict=True)] for one in found]
    )
    difference = joint_bootstrap(own.statistics, other.astype(float))
    p = equivalence_p(difference, MARGIN)
    return {
        "model": Path(model).name,
        "n_test": len(gold),
        "shots": SHOTS,
        "pairs": pairs_drawn([SHOTS] * len(task.labels), config.pairs, config.max_pairs),
        "steps": [own.outcomes[0].measured["steps"], found[0]["steps"]],
        "contrastive": own.scores.tolist(),
        "setfit": other.mean((1, 2)).tolist(),
        "seconds": {
            "contrastive": [outcome.seconds for outcome in own.outcomes],
            "setfit": [one["seconds"] for one in found],
        },
        "difference": asdict(difference),
        "equal_p": p,
        "equal": bool(p < 0.05),
        "margin": MARGIN,
        "versions": {**versions(), "setfit": found[0]["version"]},
    }


def main() -> None:
    """Run one of the two parts and print what it found."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--setfit", help="python of an environment with SetFit")
    given, more = parser.parse_known_args()
    if not given.setfit:
        study(given.model, given.data, given.draws, more)
        return
    record = beside_setfit(given.model, given.data, given.draws, given.setfit, more)
    write_json(RESULTS / "few_shot_setfit.json", record)
    means = {name: 100 * np.mean(record[name]) for name in (CONTRASTIVE, "setfit")}
    print({**means, "difference": record["difference"], "equal_p": record["equal_p"]})


if __name__ == "__main__":
    main()
