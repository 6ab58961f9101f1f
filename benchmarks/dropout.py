"""What does it do to accuracy that frozen blocks have no dropout?

    python benchmarks/dropout.py --model $MINILM --sentences sst2/sentences_train.tsv \
        --dev sst2/sentences_dev.tsv --blocks 3 4 --sizes 500 2000 --seeds 10

Each freeze-lower-N is trained twice a seed: frozen blocks in eval mode, as nlptl does it, and with their
dropout on, as a bare ``requires_grad = False`` leaves it (uncached, because the states differ at each pass).
All else is the same. Differences with 95 % intervals, and two one-sided tests for "equal within half a point".
Results: ``benchmarks/results/dropout.json``; finished runs of the same options, code, device and precision
are not repeated (``runs/benchmarks/dropout``).
"""

import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import tyro
from identity import identity

from nlptl.cli.check import check_training, finetune_args, resolve_defaults
from nlptl.cli.config import SentimentConfig
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.stats.multiple import equivalence_p
from nlptl.stats.spread import spread
from nlptl.stats.verdict import MARGIN
from nlptl.study.arms import ArmSpec
from nlptl.study.study import Study
from nlptl.tasks import get_task

ROOT = Path(__file__).parent.parent
WORK = ROOT / "runs" / "benchmarks" / "dropout"


@dataclass(frozen=True)
class Options:
    """What is measured."""

    model: str
    """A checkpoint."""
    sentences: Path
    """Sentences to train on."""
    dev: Path
    """Sentences to score on."""
    blocks: tuple[int, ...] = (3, 4)
    """Frozen blocks."""
    sizes: tuple[int, ...] = (500, 2000)
    """Training sentences."""
    seeds: int = 10
    """Pairs of runs of each."""
    epochs: float = 3.0
    """Of every run."""


def frozen_with_dropout(module: Any) -> None:
    """What users write: no gradient, and the mode of the whole model."""
    module.requires_grad_(False)


def scores(study: Study, settings: Any, path: Path, *, dropout: bool) -> list[float]:
    """Whether each test sentence was right; from disk if it is there."""
    if not path.exists():
        frozen = (
            patch("nlptl.modes.freezing.freeze", frozen_with_dropout) if dropout else nullcontext()
        )
        own = replace(settings, cache="off") if dropout else settings
        with frozen:
            outcome = study.run_one(ArmSpec(own), own.seed)
        path.write_text(json.dumps([one[0] for one in outcome.statistics]))
    return json.loads(path.read_text())


def measure(options: Options, blocks: int, size: int, work: Path) -> dict[str, Any]:
    """One row: both ways, all seeds."""
    config = SentimentConfig(
        model=options.model,
        mode=f"freeze-lower-{blocks}",
        dataset=None,
        train_file=options.sentences,
        test_file=options.dev,
        max_train_examples=size,
        epochs=options.epochs,
    )
    mode, family, width = check_training(config)
    task, splits, _ = get_task("sentiment").prepare(config)
    filled = resolve_defaults(config, mode, family, width, len(splits["train"]))
    study = Study(task, splits, {}, range(options.seeds), keep=False)
    found = {}
    for dropout in (False, True):
        found[dropout] = [
            scores(
                study,
                finetune_args(filled, mode, seed),
                work / f"{blocks}_{size}_{'on' if dropout else 'off'}_{seed}.json",
                dropout=dropout,
            )
            for seed in range(options.seeds)
        ]
    off, on = np.asarray(found[False]), np.asarray(found[True])
    gap = joint_bootstrap(off, on)
    return {
        "blocks": blocks,
        "n": {name: len(table) for name, table in splits.items()},
        "seeds": options.seeds,
        "off": spread(off.mean(1).tolist()),
        "on": spread(on.mean(1).tolist()),
        "difference": gap.mean,
        "ci95": [gap.low, gap.high],
        "p": gap.p,
        "p_equal": equivalence_p(gap, MARGIN),
    }


def main() -> None:
    """Measure what is missing and print a Markdown table."""
    options = tyro.cli(Options)
    work = WORK / identity(options, but=("blocks", "sizes", "seeds"))
    work.mkdir(parents=True, exist_ok=True)
    rows = []
    print(
        "| frozen | n | without dropout | with dropout | difference (95 %), points | p | p, equal |"
    )
    print("|---|---|---|---|---|---|---|")
    for size in options.sizes:
        for blocks in options.blocks:
            row = measure(options, blocks, size, work)
            rows.append(row)
            off, on = row["off"], row["on"]
            low, high = (100 * edge for edge in row["ci95"])
            print(
                f"| {blocks} | {row['n']['train']} | {100 * off['mean']:.1f} ± {100 * off['sd']:.1f} "
                f"| {100 * on['mean']:.1f} ± {100 * on['sd']:.1f} "
                f"| {100 * row['difference']:+.2f} [{low:+.2f}, {high:+.2f}] "
                f"| {row['p']:.2f} | {row['p_equal']:.3f} |",
                flush=True,
            )
    path = ROOT / "benchmarks/results/dropout.json"
    path.write_text(json.dumps({"model": Path(options.model).name, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
