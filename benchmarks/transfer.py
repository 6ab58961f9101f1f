"""Is transfer from a checkpoint plainly visible? The same architecture, pretrained and untrained.

    python benchmarks/transfer.py sentiment reviews bundled/bert bundled/roberta -- --epochs 12

``full`` from the checkpoint against ``full`` from random weights (half as many epochs again, as in the
standard report), each at the best of two rates on validation data, over six seeds; and a linear probe on
both frozen bodies. What stands behind ``--`` goes to the recipe. Results:
``benchmarks/results/transfer_NAME_MODEL.json``; none is made twice.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from nlptl.config import parse_args
from nlptl.engine.setup import new_accelerator
from nlptl.evaluation.arms import Arm, Runner, run_arm, scratch_arm
from nlptl.evaluation.parts import tuned
from nlptl.evaluation.probe import Pool, fit_probe, pooled_states
from nlptl.evaluation.report import LONGER, RATES, scratch_settings
from nlptl.evaluation.statistics import joint_bootstrap
from nlptl.metrics.spread import spread
from nlptl.models.architecture import save_untrained
from nlptl.planning import check_training, fill_in, settings_of
from nlptl.reporting import RECIPES

ROOT = Path(__file__).parent.parent
SEEDS = range(6)
POOLS: tuple[Pool, ...] = ("mean", "token")
#: Rates and epochs of random weights are those of this report, for both arms the rates.
TIER = "standard"


def probes(model: str, task, splits, pool: Pool) -> dict:
    """Accuracy of a linear probe on the frozen body's last block and on six untrained ones'."""

    def one(name: str) -> float:
        parts = []
        for split in ("train", "validation", "test"):
            texts = task.texts(splits[split])
            states = pooled_states(name, texts, accelerator=new_accelerator(), pool=pool)[:, -1]
            parts.append((states, task.classes(splits[split])))
        return fit_probe(*parts).accuracy

    with TemporaryDirectory() as folder:
        for seed in SEEDS:
            save_untrained(model, Path(folder) / str(seed), seed=seed)
        untrained = [one(f"{folder}/{seed}") for seed in SEEDS]
    return {"pretrained": one(model), "untrained": untrained}


def summary(arm: Arm) -> dict:
    """What the file keeps of an arm."""
    each = arm.scores.mean(axis=1).tolist()
    return {**spread(each), "seeds": each, **tuned(arm), "seconds": round(arm.seconds)}


def measure(recipe: str, model: str, flags: list[str]) -> dict:
    """All arms of one checkpoint."""
    kind, prepare = RECIPES[recipe]
    config = parse_args(kind, ["--model", model, "--mode", "full", *flags])
    mode, family, width = check_training(config)
    task, splits, _ = prepare(config)
    filled = fill_in(config, mode, family, width, len(splits["train"]))
    settings = settings_of(filled, mode, 0)
    longer, rates = scratch_settings(settings, RATES[TIER], LONGER[TIER])
    runner = Runner(task, splits)
    full = run_arm(runner, settings, seeds=SEEDS, rates=rates, title=model)
    scratch = scratch_arm(runner, longer, seeds=SEEDS, rates=rates, title="from scratch")
    groups = task.groups(splits["test"])
    gain = joint_bootstrap(full.scores, scratch.scores, groups=groups)
    found = {"model": model, "n": {name: len(table) for name, table in splits.items()}}
    found |= {"full": summary(full), "scratch": summary(scratch)}
    found["gain"] = {"mean": gain.mean, "low": gain.low, "high": gain.high, "p": gain.p}
    if recipe == "sentiment":
        found["probe"] = {pool: probes(model, task, splits, pool) for pool in POOLS}
    return found


def main() -> None:
    """Measure what is missing and print a Markdown table."""
    recipe, name, *rest = sys.argv[1:]
    at = rest.index("--") if "--" in rest else len(rest)
    head = (
        "| checkpoint | full | from random weights | gain (95 %) | probe on means | random bodies |"
    )
    print(f"{head} probe on the head's token | random bodies |")
    print("|---|---|---|---|---|---|---|---|")
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
        ]
        if probe := found.get("probe"):
            for pool in ("mean", "token"):
                own, untrained = probe[pool]["pretrained"], np.mean(probe[pool]["untrained"])
                cells += [f"{own:.3f}", f"{untrained:.3f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
