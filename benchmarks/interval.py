"""How often does the interval of a gain miss the truth, and is a "detectable" gain found as often as it says?

    python benchmarks/interval.py

Simulated experiments, each of two arms under the same seeds: an example is right where its ease, the arm's
taste for it, the seed's luck and noise, all normal, add up to more than 0 (about 65 % of the examples are).
The seed's luck alone moves an arm's accuracy by so many points (standard deviation; that of the examples
comes on top). Without a gain: share of experiments whose 95 % interval misses 0; in brackets, what the same
error misses with Satterthwaite's degrees of freedom (of fewer than six seeds, where the interval is that of
t). With a true gain of what such experiments call detectable on average: share that is called positive.
Result: ``benchmarks/results/interval.json``.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import tyro
from scipy.special import stdtrit

from nlptl.stats.bootstrap import LEAST_DRAWN, joint_bootstrap
from nlptl.stats.verdict import verdict

ROOT = Path(__file__).parent
#: Standard deviations of an example's ease, an arm's taste for it, and noise; the mean ease.
EASE, TASTE, NOISE, MEAN = 1.5, 1.0, 0.7, 0.75
POINTS = ((0.0, 0.0), (0.5, 2.0), (1.0, 1.0), (2.0, 2.0), (1.5, 4.0), (4.0, 4.0))
NORMAL = NormalDist()


@dataclass(frozen=True)
class Options:
    """What is simulated."""

    seeds: tuple[int, ...] = (3, 6, 10)
    """Seeds of an experiment."""
    examples: tuple[int, ...] = (100, 320, 1000, 2000)
    """Test examples of an experiment."""
    experiments: int = 2000
    """Experiments of each kind with fewer than six seeds."""
    drawn: int = 400
    """Experiments of each kind with more, whose intervals are drawn."""
    draws: int = 200
    """Draws of a bootstrap."""

    def many(self, seeds: int) -> int:
        """Return how many experiments with so many seeds there are."""
        return self.experiments if seeds < LEAST_DRAWN else self.drawn


def of_luck(points: float) -> float:
    """Return the standard deviation of a seed's luck that moves accuracy by so many points."""
    others = np.hypot(np.hypot(EASE, TASTE), NOISE)
    return points / 100 * others / NORMAL.pdf(MEAN / others)


def mean_for(accuracy: float, points: float) -> float:
    """Return the mean ease of an arm that reaches an accuracy on average over seeds."""
    return NORMAL.inv_cdf(accuracy) * np.linalg.norm([EASE, TASTE, NOISE, of_luck(points)])


def experiments(
    options: Options, seeds: int, examples: int, points: tuple[float, float], gain: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw two tables of right and wrong answers, ``(seeds, examples)``, as often as is asked for."""
    rng = np.random.default_rng([seeds, examples, int(1e6 * gain)])
    base = NORMAL.cdf(MEAN / np.linalg.norm([EASE, TASTE, NOISE]))
    for _ in range(options.many(seeds)):
        ease = rng.normal(0, EASE, examples)
        first, second = (
            ease
            + mean_for(base + plus, own)
            + rng.normal(0, TASTE, examples)
            + rng.normal(0, of_luck(own), (seeds, 1))
            + rng.normal(0, NOISE, (seeds, examples))
            > 0
            for own, plus in zip(points, (gain, 0.0), strict=True)
        )
        yield first.astype(float), second.astype(float)


def satterthwaite(values: np.ndarray) -> tuple[float, float]:
    """Return the standard error of a table's mean, and Satterthwaite's (1946) degrees of freedom."""
    a, b = values.shape[0] - 1, values.shape[1] - 1
    rows, columns = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    rest = values - rows - columns + values.mean()
    squares = (
        values.shape[1] * rows.var(ddof=1),
        values.shape[0] * columns.var(ddof=1),
        (rest**2).sum() / (a * b),
    )
    total = max(squares[0] + squares[1] - squares[2], squares[2])
    spread = sum(square**2 / df for square, df in zip(squares, (a, b, a * b), strict=True))
    return float(np.sqrt(total / values.size)), max(1.0, total**2 / spread)


def measure(options: Options, seeds: int, examples: int, points: tuple[float, float]) -> dict:
    """Run one kind of experiments without a gain, and with what they call detectable."""
    misses, before, detectable, called, true = 0, 0, [], 0, []
    for first, second in experiments(options, seeds, examples, points, 0.0):
        found = joint_bootstrap(first, second, draws=options.draws)
        misses += not found.low <= 0 <= found.high
        detectable.append(found.detectable())
        se, df = satterthwaite(first - second)
        before += abs(found.mean) > stdtrit(df, 0.975) * se
    gain = float(np.mean(detectable))
    for first, second in experiments(options, seeds, examples, points, gain):
        found = joint_bootstrap(first, second, draws=options.draws)
        called += verdict(found, seeds=seeds) == "positive"
        true.append(found.mean)
    many = options.many(seeds)
    return {
        "seeds": seeds,
        "examples": examples,
        "experiments": many,
        "seed_sd": list(points),
        "missed": misses / many,
        "missed_satterthwaite": before / many if seeds < LEAST_DRAWN else None,
        "detectable": gain,
        "found_gain": float(np.mean(true)),
        "called": called / many,
    }


def main(options: Options) -> None:
    """Measure every kind, print a row each, and write them all."""
    print(
        "| seeds | examples | seed sd, points | misses 0, % | detectable, points | called positive, % |"
    )
    print("|---|---|---|---|---|---|")
    rows = []
    for seeds in options.seeds:
        for examples in options.examples:
            for points in POINTS:
                row = measure(options, seeds, examples, points)
                old = row["missed_satterthwaite"]
                was = "" if old is None else f" ({100 * old:.1f})"
                print(
                    f"| {seeds} | {examples} | {points[0]:g} and {points[1]:g} | "
                    f"{100 * row['missed']:.1f}{was} | {100 * row['detectable']:.1f} | "
                    f"{100 * row['called']:.0f} |",
                    flush=True,
                )
                rows.append(row)
    record = {**asdict(options), "rows": rows}
    (ROOT / "results" / "interval.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
