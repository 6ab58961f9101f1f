"""Is transfer from a checkpoint plainly visible? The same architecture, pretrained and untrained.

    python benchmarks/transfer.py sentiment reviews bundled/bert bundled/roberta -- --epochs 12

``full`` from the checkpoint against ``full`` from random weights (half as many epochs again, as in the
standard report), each at the best of four rates on validation data (as in the full report: at the usual one
twelve untrained blocks may learn nothing), over six seeds; and a linear probe on both frozen bodies,
cross-validated. Two intervals of the gain: over seeds and test texts together (for new texts), and over seeds
alone (Welch; for these texts). What stands behind ``--`` goes to the recipe. Results:
``benchmarks/results/transfer_NAME_MODEL.json``; none is made twice.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import ttest_ind
from sklearn.model_selection import StratifiedKFold

from nlptl.cli.check import check_training, drawn_by_split_seed, finetune_args, resolve_defaults
from nlptl.cli.config import TaskConfig, parse_args
from nlptl.pretrain.architecture import save_untrained
from nlptl.report.parts import tuned
from nlptl.report.probe import fit_probe
from nlptl.report.report import LONGER, RATES, Tier
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.stats.spread import spread
from nlptl.study.arms import Arm, ArmSpec, scratch_spec
from nlptl.study.study import Study
from nlptl.tasks import get_task
from nlptl.tasks.base import Task
from nlptl.train.features import Pool, pooled_states
from nlptl.train.setup import new_accelerator

ROOT = Path(__file__).parent.parent
SEEDS = range(6)
POOLS: tuple[Pool, ...] = ("mean", "token")
#: Both arms' rates, and the epochs of random weights, are those of these reports.
TUNED: Tier = "full"
LONG: Tier = "standard"
FOLDS = 5


def probes(model: str, task: Task, splits: dict, pool: Pool) -> dict:
    """Accuracy of a linear probe on the frozen body's last block and on six untrained ones'.

    Five-fold cross-validation over the texts of all splits, since one test split is too small to tell points:
    three folds fit, one chooses the penalty, one is scored. The standard error is over texts.
    """
    texts = [text for part in splits.values() for text in task.texts(part)]
    classes = np.array([name for part in splits.values() for name in task.classes(part) or []])
    cut = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(texts, classes)
    folds = [fold for _, fold in cut]

    def right(name: str) -> np.ndarray:
        states = pooled_states(name, texts, accelerator=new_accelerator(), pool=pool)[:, -1]
        found = np.zeros(len(texts))
        for number, test in enumerate(folds):
            chooses = folds[(number + 1) % FOLDS]
            fits = np.setdiff1d(np.arange(len(texts)), np.concatenate([test, chooses]))
            parts = [(states[rows], classes[rows].tolist()) for rows in (fits, chooses, test)]
            found[test] = fit_probe(*parts).predictions == classes[test]
        return found

    with TemporaryDirectory() as folder:
        for seed in SEEDS:
            save_untrained(model, Path(folder) / str(seed), seed=seed)
        untrained = [right(f"{folder}/{seed}") for seed in SEEDS]
    pretrained = right(model)
    gain = pretrained - np.mean(untrained, axis=0)
    return {
        "pretrained": float(pretrained.mean()),
        "untrained": [float(found.mean()) for found in untrained],
        "gain": float(gain.mean()),
        "se": float(gain.std(ddof=1) / np.sqrt(len(gain))),
    }


def summary(arm: Arm) -> dict:
    """What the file keeps of an arm."""
    each = arm.scores.tolist()
    return {**spread(each), "seeds": each, **tuned(arm), "seconds": round(arm.seconds)}


def measure(recipe: str, model: str, flags: list[str]) -> dict:
    """All arms of one checkpoint."""
    config = parse_args(TaskConfig, ["--task", recipe, "--model", model, "--mode", "full", *flags])
    mode, family, width = check_training(config)
    task, splits, _ = drawn_by_split_seed(get_task(recipe).prepare)(config)
    filled = resolve_defaults(config, mode, family, width, len(splits["train"]))
    settings = finetune_args(filled, mode, 0)
    examples = len(splits["train"])
    scratch_arm = scratch_spec(settings, RATES[TUNED], LONGER[LONG], examples=examples)
    full_arm = ArmSpec(settings, rates=scratch_arm.rates, title=model)
    arms = Study(task, splits, {"full": full_arm, "scratch": scratch_arm}, SEEDS).run()
    full, scratch = arms["full"], arms["scratch"]
    groups = task.groups(splits["test"])
    gain = joint_bootstrap(full.statistics, scratch.statistics, groups=groups)
    found: dict[str, Any] = {
        "model": model,
        "n": {name: len(table) for name, table in splits.items()},
    }
    found |= {"full": summary(full), "scratch": summary(scratch)}
    each = ttest_ind(full.scores, scratch.scores, equal_var=False)
    found["gain"] = {
        "mean": gain.mean,
        "low": gain.low,
        "high": gain.high,
        "p": gain.p,
        "over_seeds": list(each.confidence_interval()),
    }
    if recipe == "sentiment":
        found["probe"] = {pool: probes(model, task, splits, pool) for pool in POOLS}
    return found


def main() -> None:
    """Measure what is missing and print a Markdown table."""
    recipe, name, *rest = sys.argv[1:]
    at = rest.index("--") if "--" in rest else len(rest)
    print(
        "| checkpoint | full | from random weights | gain (95 %) | over seeds alone (95 %) "
        "| probe on means | on the head's token |"
    )
    print("|---|---|---|---|---|---|---|")
    for model in rest[:at]:
        path = ROOT / f"benchmarks/results/transfer_{name}_{Path(model).name}.json"
        if not path.exists():
            found = measure(recipe, model, rest[at + 1 :])
            path.write_text(json.dumps(found, indent=2) + "\n")
        found = json.loads(path.read_text())
        full, scratch, gain = found["full"], found["scratch"], found["gain"]
        cells = [
            model,
            f"{full['mean']:.3f} ± {full['sd']:.3f}",
            f"{scratch['mean']:.3f} ± {scratch['sd']:.3f}",
            f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]",
            "[{:+.3f}, {:+.3f}]".format(*gain["over_seeds"]),
        ]
        if probe := found.get("probe"):
            for pool in ("mean", "token"):
                own, untrained = probe[pool]["pretrained"], np.mean(probe[pool]["untrained"])
                gained = f"{probe[pool]['gain']:+.3f} ± {probe[pool]['se']:.3f}"
                cells.append(f"{own:.3f}, random bodies {untrained:.3f}: {gained}")
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
