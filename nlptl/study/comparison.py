"""The arms of a study side by side: paired tests, equivalence, one table, one picture, one sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.runs.record import versions
from nlptl.stats.bootstrap import JOINT, Combine, Difference, joint_bootstrap
from nlptl.stats.multiple import equivalence_p, holm
from nlptl.stats.spread import spread
from nlptl.stats.verdict import LEAST_SEEDS, MARGIN
from nlptl.study.arms import Arm
from nlptl.study.outcomes import combine_of
from nlptl.study.render.comparison import comparison_figure, comparison_markdown
from nlptl.study.render.files import write_pictured
from nlptl.study.study import Study

LEVEL = 0.05
#: What the pairs are tested with, for the reader of a comparison.
TEST = (
    f"Differences are {JOINT}, p corrected for the number of pairs (Holm, 1979). Better: p below 0.05, and "
    "a difference of 2.8 standard errors or, with few seeds, more. Detectable: a true difference that is "
    "called better in 80 % of such comparisons. Equal: two one-sided tests against half a point (Schuirmann, "
    "1987), corrected likewise."
)


@dataclass(frozen=True)
class Pair:
    """Two arms compared, seed by seed and example by example.

    Attributes:
        first: Name of one.
        second: Name of the other.
        difference: First minus second.
        p: Two-sided, corrected for the number of pairs (Holm, 1979).
        equal_p: p of two one-sided tests against ±half a point (Schuirmann, 1987), corrected likewise.
        seeds: Runs of each arm; fewer than three show nothing.
        tests: Number of pairs that p is corrected for.
    """

    first: str
    second: str
    difference: Difference
    p: float
    equal_p: float
    seeds: int
    tests: int

    @property
    def better(self) -> str | None:
        """The better arm, if the test says so and the difference reaches its threshold."""
        found = self.difference
        if self.seeds < LEAST_SEEDS or self.p >= LEVEL or abs(found.mean) < found.threshold():
            return None
        return self.first if found.mean > 0 else self.second

    @property
    def equal(self) -> bool:
        """Whether they are shown to be equal within half a point."""
        return self.seeds >= LEAST_SEEDS and self.equal_p < LEVEL

    def record(self) -> dict[str, Any]:
        """Return the pair as JSON."""
        return {
            **asdict(self),
            "detectable": self.difference.detectable(self.tests),
            "better": self.better,
            "equal": self.equal,
        }


def compare_all(
    arms: Mapping[str, Arm],
    *,
    combine: Combine | None = None,
    groups: Sequence[str] | None = None,
    margin: float = MARGIN,
) -> list[Pair]:
    """Test every pair of arms.

    Args:
        arms: Name to arm; all with the same seeds and test examples.
        combine: Means of the statistics to a score; None for a mean over examples.
        groups: See :func:`nlptl.stats.bootstrap.joint_bootstrap`.
        margin: What counts as equal.
    """
    names = list(combinations(arms, 2))
    found = [
        joint_bootstrap(arms[a].statistics, arms[b].statistics, combine=combine, groups=groups)
        for a, b in names
    ]
    adjusted = holm([difference.p for difference in found])
    equal = holm([equivalence_p(difference, margin) for difference in found])
    return [
        Pair(a, b, difference, p, q, len(arms[a].outcomes), len(names))
        for (a, b), difference, p, q in zip(names, found, adjusted, equal, strict=True)
    ]


def compare(study: Study, arms: Mapping[str, Arm], *, dataset: str) -> dict[str, Any]:
    """Compare the arms of a study.

    Args:
        study: The study.
        arms: Its arms, from :meth:`nlptl.study.study.Study.run`.
        dataset: What to call the data.

    Returns:
        What ``compare.json`` holds.
    """
    rows = {name: row(arm) for name, arm in arms.items()}
    groups = study.task.groups(study.splits["test"])
    pairs = compare_all(arms, combine=combine_of(study.task), groups=groups)
    take, why = recommend(rows, pairs)
    return {
        "schema_version": 1,
        "task": study.task.name,
        "metric": study.task.selection,
        "dataset": dataset,
        "n": {name: len(table) for name, table in study.splits.items()},
        "seeds": list(study.seeds),
        "rows": rows,
        "pairs": [pair.record() for pair in pairs],
        "test": TEST,
        "take": take,
        "sentence": why,
        "versions": versions(),
    }


def write_comparison(record: Mapping[str, Any], directory: Path) -> str:
    """Write ``compare.json``, ``.md``, ``.png`` and ``.svg``.

    Args:
        record: From :func:`compare`.
        directory: Made if it is not there.

    Returns:
        The table, as Markdown.
    """
    table, picture = comparison_markdown(record), comparison_figure(record)
    write_pictured(record, "compare", table, picture, "score against cost", directory)
    return table


def row(arm: Arm) -> dict[str, Any]:
    """Sum up an arm as the table shows it."""
    over_seeds = spread(arm.scores.tolist())
    converged = arm.first_converged
    upstream = arm.outcomes[0].upstream or {}
    return {
        "method": arm.method,
        "model": arm.args.model,
        "mode": arm.args.mode.name,
        "mean": over_seeds["mean"],
        "sd": over_seeds["sd"],
        "scores": arm.scores.tolist(),
        "seeds": arm.seeds,
        "learning_rate": arm.args.learning_rate,
        "epochs": arm.args.epochs,
        "trainable": converged.trainable,
        "total": converged.total,
        "flops": float(np.mean([outcome.flops for outcome in arm.outcomes])),
        "seconds": float(np.mean([outcome.seconds for outcome in arm.outcomes])),
        "peak_memory_mb": max(outcome.peak_memory for outcome in arm.outcomes),
        "forgetting": upstream.get("forgetting"),
        "forgetting_ci95": upstream.get("ci95"),
        "upstream_unit": upstream.get("unit"),
    }


def recommend(rows: Mapping[str, Mapping[str, Any]], pairs: Sequence[Pair]) -> tuple[str, str]:
    """Say which arm to take, and why.

    It is the cheapest, by operations of training, of those that no other is shown to be better than; of
    equally cheap ones the one that scores highest.

    Args:
        rows: Name to :func:`row`.
        pairs: From :func:`compare_all`.

    Returns:
        The arm's name, and a sentence.
    """
    beaten = {
        pair.second if pair.better == pair.first else pair.first for pair in pairs if pair.better
    }
    standing = [name for name in rows if name not in beaten]
    take = min(standing, key=lambda name: (rows[name]["flops"], -rows[name]["mean"]))
    best = max(rows, key=lambda name: rows[name]["mean"])
    # The best of the others that are not shown to be worse.
    other = max((n for n in standing if n != take), key=lambda n: rows[n]["mean"], default=take)
    own = rows[take]
    start = f"Take {take}, because "
    if len(rows) == 1:
        return take, f"{start}nothing else was compared."
    if len(standing) == 1:
        return take, f"{start}it is reliably better than all the others."
    cost = own["flops"] / max(other["flops"] for other in rows.values())
    cheap = f"and its training takes {cost:.0%} of the operations of the most expensive"
    pair = next(p for p in pairs if {p.first, p.second} == {take, other})
    if take == best:
        doubt = (
            f"equal to {other} within half a point"
            if pair.equal
            else f"though the test cannot tell it from {other} "
            f"({100 * rows[other]['mean']:.1f}; p {pair.p:.2g})"
        )
        return take, f"{start}it scores highest ({100 * own['mean']:.1f}), {doubt}, {cheap}."
    gap = 100 * (rows[best]["mean"] - own["mean"])
    if pair.equal:
        return take, f"{start}it is equal to {best} within half a point, {cheap}."
    if pair.seeds < LEAST_SEEDS:
        why = "which fewer than three seeds cannot show"
    elif gap < 100 * pair.difference.threshold():
        why = f"and differences below {100 * pair.difference.threshold():.1f} cannot be told apart here"
    else:
        why = f"p {pair.p:.2g}, corrected for the number of pairs"
    return take, (
        f"{start}nothing is shown to be better ({best} scores {gap:.1f} points more, {why}), {cheap}."
    )
