"""The arms of a study side by side: paired tests, equivalence, one table, one picture, one sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.files import write_whole
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import JOINT, Combine, Difference, joint_bootstrap
from nlptl.stats.multiple import equivalence_p, holm
from nlptl.stats.spread import spread
from nlptl.stats.verdict import LEAST_SEEDS, MARGIN
from nlptl.study.arms import Arm
from nlptl.study.outcomes import combine_of
from nlptl.study.render.comparison import comparison_figure
from nlptl.study.render.comparison_page import comparison_page
from nlptl.study.render.comparison_text import comparison_markdown, comparison_text
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
    """Write ``compare.json``, ``.md``, ``.html``, ``.png`` and ``.svg``.

    Args:
        record: From :func:`compare`.
        directory: Made if it is not there.

    Returns:
        The table and the sentence, for the terminal.
    """
    table, picture = comparison_markdown(record), comparison_figure(record)
    svg = write_pictured(record, "compare", table, picture, "score against time", directory)
    write_whole(directory / "compare.html", comparison_page(record, svg))
    return comparison_text(record)


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


def recommend(
    rows: Mapping[str, Mapping[str, Any]], pairs: Sequence[Pair]
) -> tuple[str | None, str]:
    """Say which arm to take, if a test says so, and why; else what is known.

    A test says so where all others are shown to be worse than one of those compared, or where the cheapest, by
    operations of training, of those that no other is shown to beat is shown to be equal to the best of them.

    Args:
        rows: Name to :func:`row`.
        pairs: From :func:`compare_all`.

    Returns:
        The arm's name, or None where no test says which, and a sentence.
    """
    beaten = {
        pair.second if pair.better == pair.first else pair.first for pair in pairs if pair.better
    }
    standing = [name for name in rows if name not in beaten]
    cheapest = min(standing, key=lambda name: (rows[name]["flops"], -rows[name]["mean"]))
    if len(rows) == 1:
        return None, f"Only {cheapest} was run: there is nothing to compare it with."
    if len(standing) == 1:
        return cheapest, f"Take {cheapest}, because it is reliably better than all the others."
    others = [name for name in standing if name != cheapest]
    best = max(others, key=lambda name: rows[name]["mean"])
    pair = next(p for p in pairs if {p.first, p.second} == {cheapest, best})
    cost = rows[cheapest]["flops"] / max(other["flops"] for other in rows.values())
    cheap = f"its training takes {cost:.0%} of the operations of the most expensive"
    if pair.equal:
        return (
            cheapest,
            f"Take {cheapest}, because it is equal to {best} within half a point, and {cheap}.",
        )
    gap = 100 * (rows[best]["mean"] - rows[cheapest]["mean"])
    many = f"{len(standing)} of {len(rows)} are not shown to be worse than another"
    how = f"{gap:.1f} points more" if gap > 0 else f"{-gap:.1f} points less"
    return None, (
        f"No test says which one to take: {many}. The cheapest of them is {cheapest}: {cheap}. "
        f"{best} scores {how}, {_doubt(pair, abs(gap))}."
    )


def _doubt(pair: Pair, gap: float) -> str:
    """Say why a difference in points is not called one."""
    if pair.seeds < LEAST_SEEDS:
        return "which fewer than three seeds cannot show"
    least = 100 * pair.difference.threshold()
    if gap < least:
        return f"and differences below {least:.1f} cannot be told apart here"
    return f"p {pair.p:.2g}, corrected for the number of pairs"
