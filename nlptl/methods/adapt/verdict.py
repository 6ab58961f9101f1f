"""What the arms of a study say: helped, hurt, alike or cannot tell, and how much of the gap is closed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nlptl.errors import many
from nlptl.methods.adapt.options import BOUNDS, REFITTED, SOURCE, TARGET, WHAT
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import (
    Combine,
    Difference,
    group_sums,
    joint_bootstrap,
    linearized,
    two_way_error,
)
from nlptl.stats.verdict import LEAST_SEEDS
from nlptl.study.arms import Arm
from nlptl.study.judging import HELPED, RULE, UNKNOWN, judge_together, told_by_word
from nlptl.study.outcomes import combine_of
from nlptl.study.scored import lowest_scores, measured_mean, scored_row
from nlptl.study.study import Study

#: Shares of the gap that are tested for their interval; one that reaches an end is not shown.
SHARES = np.round(np.arange(-3.0, 4.005, 0.01), 2)
#: How the verdicts come about, for the reader.
TEST = (
    f"Differences to source-only are {RULE} The share of the gap between source-only and target-only is "
    "shown where the gap itself is beyond doubt; its interval holds every share that the same test does not "
    "reject (Fieller, 1954)."
)


def pair_record(study: Study, arms: Mapping[str, Arm]) -> dict[str, Any]:
    """Sum up the arms of one pair of domains.

    Args:
        study: The study.
        arms: Its arms.

    Returns:
        ``n``, ``floors``, ``rows`` by name of the arm, ``gap`` and ``warnings``.
    """
    task, splits = study.task, study.splits
    combine, groups = combine_of(task), task.groups(splits["test"])
    source, target = arms[SOURCE], arms[TARGET]
    gap = joint_bootstrap(target.statistics, source.statistics, combine=combine, groups=groups)
    shown = len(study.seeds) >= LEAST_SEEDS and gap.p < 0.05 and gap.mean >= gap.threshold()
    rows = {}
    for name, arm in arms.items():
        rows[name] = row(name, arm, source, task.selection, combine, groups)
        if name not in BOUNDS and shown:
            rows[name]["share"] = closed_share(
                [one.statistics for one in (arm, source, target)], combine, groups
            )
    found = lowest_scores(task, splits)
    return {
        "n": {name: len(table) for name, table in splits.items()},
        "floors": found,
        "rows": rows,
        "gap": {**asdict(gap), "shown": shown},
        "warnings": warnings_of(rows, found),
    }


def row(
    name: str,
    arm: Arm,
    source: Arm,
    metric: str,
    combine: Combine | None,
    groups: Sequence[str] | None,
) -> dict[str, Any]:
    """Sum up an arm as the table shows it."""
    more = joint_bootstrap(arm.statistics, source.statistics, combine=combine, groups=groups)
    kept = [
        (one.measured, other.measured)
        for one, other in zip(arm.outcomes, source.outcomes, strict=True)
        if "source" in one.measured and "source" in other.measured
    ]
    forgot = None
    if kept:
        lost = joint_bootstrap(
            np.asarray([other["source"] for _, other in kept]),
            np.asarray([one["source"] for one, _ in kept]),
            combine=combine,
        )
        forgot = {"mean": lost.mean, "low": lost.low, "high": lost.high}
    return {
        "what": WHAT[name],
        "bound": name in BOUNDS,
        **scored_row(arm, metric, combine, groups),
        "learning_rate": arm.args.learning_rate,
        "epochs": arm.args.epochs,
        "difference": None if name == SOURCE else asdict(more),
        "share": None,
        "source": measured_mean(arm, "source_score"),
        "forgetting": forgot,
        "distance": measured_mean(arm, "proxy_a_distance"),
        "reverse": measured_mean(arm, "reverse"),
        "source_validation": measured_mean(arm, "source_validation"),
        "domain_accuracy": by_epoch(arm),
        "judged": sum(one.measured.get("judged", 0) for one in arm.outcomes),
        "pseudo_labels": [one.measured.get("pseudo_labels") for one in arm.outcomes],
        "effective": measured_mean(arm, "effective"),
        "lm_loss": [measured_mean(arm, "lm_before"), measured_mean(arm, "lm_after")],
        "diverged": sum(outcome.diverged for outcome in arm.outcomes),
        "before_training": sum(outcome.kept_the_start for outcome in arm.outcomes),
    }


def by_epoch(arm: Arm) -> list[float]:
    """Average the discriminator's accuracy in each epoch over the seeds; empty without a discriminator."""
    known = [outcome.measured.get("domain_accuracy") or [] for outcome in arm.outcomes]
    least = min(map(len, known))
    return np.mean([each[:least] for each in known], 0).tolist() if least else []


def closed_share(
    statistics: Sequence[np.ndarray], combine: Combine | None, groups: Sequence[str] | None
) -> dict[str, Any] | None:
    """Compute the share of the gap that a method closes, (method - source) / (target - source).

    The interval holds every share r for which the mean of (method - source) - r (target - source) is not told
    from 0 by Student's t over seeds and examples (Fieller, 1954, with the error of :func:`two_way_error`).

    Args:
        statistics: Of the method, of ``source-only`` and of ``target-only``, ``(seeds, examples, k)`` each.
        combine: See :func:`nlptl.stats.bootstrap.joint_bootstrap`.
        groups: See there.

    Returns:
        ``mean``, ``low`` and ``high``; None where the interval has no end.
    """
    from scipy.special import stdtrit

    values, sizes = zip(*(score_table(each, combine, groups) for each in statistics), strict=True)
    method, source, target = values
    total = len(method) * sizes[0].sum()
    gap = float((target - source).sum() / total)
    if not gap:
        return None

    def holds(share: float) -> bool:
        each = (method - source) - share * (target - source)
        mean = float(each.sum() / total)
        se, df = two_way_error((each - mean * sizes[0]) / sizes[0].mean())
        return abs(mean) <= float(stdtrit(df, 0.975)) * se

    inside = [float(share) for share in SHARES if holds(float(share))]
    if not inside or inside[0] == SHARES[0] or inside[-1] == SHARES[-1]:
        return None
    mean = float((method - source).sum() / total) / gap
    return {"mean": mean, "low": min(inside[0], mean), "high": max(inside[-1], mean)}


def score_table(
    statistics: np.ndarray, combine: Combine | None, groups: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums whose mean is the score, ``(seeds, groups)``, and the groups' sizes."""
    sums, sizes = group_sums(np.moveaxis(statistics, 2, 1), groups)
    table = np.moveaxis(sums, 1, 2)
    return (table[..., 0] if combine is None else linearized(table, sizes, combine)), sizes


def warnings_of(rows: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """List what the reader of a pair's table must know."""
    said = []
    if rows[SOURCE]["ci95"][0] <= found["majority"]:
        said.append(
            "source-only is not above always one answer, so there is nothing that could be adapted: look "
            "whether "
            "the labels fit the texts. No method is called helpful here."
        )
    scores = [one["scores"] for one in rows.values()]
    if len(scores[0]) > 1 and all(max(each) == min(each) for each in scores):
        said.append(
            "All seeds gave the same numbers, as a convex fit on the same labels does. With "
            "--max-train-examples N "
            "each seed draws labels of its own."
        )
    words = found["bag_of_words"]
    if words is not None and words > rows[SOURCE]["mean"]:
        said.append(
            f"A bag of words that learned the source scores {100 * words:.1f} on the target, more than "
            "source-only "
            f"({100 * rows[SOURCE]['mean']:.1f})."
        )
    for name, one in rows.items():
        accuracy, judged = one["domain_accuracy"], one["judged"]
        chance = 2 * (0.25 / judged) ** 0.5 if judged else 0.0
        if accuracy and judged and min(accuracy) < 0.5 - chance:
            said.append(
                f"{name}: the discriminator was more often wrong than right ({100 * min(accuracy):.0f} % "
                "right in one epoch): the features turn faster than it can follow, and the target's classes "
                "can get lost on the way. Take lower --weights."
            )
        elif accuracy and judged and accuracy[0] <= 0.5 + chance:
            said.append(
                f"{name}: the discriminator was at chance from the first epoch on ({100 * accuracy[0]:.0f} "
                "% right), so "
                "its reversed gradient says nothing about the domains. Train for more epochs, or at a higher "
                "--learning-rate."
            )
        if any(counts == [] or counts == [0] for counts in one["pseudo_labels"]):
            said.append(
                f"{name}: under some seed no text of each class was sure enough, and the result is "
                "source-only's. "
                "Lower --threshold."
            )
        if one["effective"] is not None and one["effective"] < 100:
            said.append(
                f"{name}: the weights leave what {one['effective']:.0f} examples would tell: the domains "
                "lie too far "
                "apart for weights."
            )
        if one["before_training"] and name != SOURCE and not one["bound"]:
            said.append(
                f"{name}: in {one['before_training']} of {many(len(one['seeds']), 'run')} source "
                "validation kept "
                f"the model as it was before the first step, so {left_by(name)}. With --head random there is "
                "no such epoch."
            )
        if one["diverged"]:
            said.append(f"{name}: the loss became infinite in {many(one['diverged'], 'run')}.")
    return said


def left_by(name: str) -> str:
    """Say what of a method is in a score where its fine-tuning kept the model that it began with."""
    if name in REFITTED:
        return "its head is fitted on the checkpoint's own states"
    if name == "self-training":
        return "of the predicted labels only what the fit of the head makes of them is in its score"
    if name in ("dapt", "tapt"):
        return "only the further pretraining and the fit of the head are in its score"
    return "nothing that training adapted is in its score"


def judge_all(records: Sequence[Mapping[str, Any]]) -> None:
    """Correct p for all methods and pairs together, and write each row's ``word``, ``p`` and ``equal_p``.

    Where ``source-only`` learned nothing, no method is called helpful.
    """
    every = [
        (record, one) for record in records for one in record["rows"].values() if not one["bound"]
    ]
    found = judge_together(
        [(Difference(**one["difference"]), len(one["seeds"])) for _, one in every]
    )
    for (record, one), judged in zip(every, found, strict=True):
        learned = record["rows"][SOURCE]["ci95"][0] > record["floors"]["majority"]
        if judged["word"] == HELPED and not learned:
            judged["word"] = UNKNOWN
        one |= judged


def overall(
    records: Sequence[Mapping[str, Any]],
    tables: Sequence[Mapping[str, Arm]],
    combine: Combine | None,
) -> dict[str, Any]:
    """Sum up several pairs: the mean score and difference of each arm over all.

    The test examples of one target are drawn together wherever they occur, because pairs with the same target
    share them.

    Args:
        records: A record for each pair.
        tables: The arms of each pair.
        combine: See :func:`nlptl.stats.bootstrap.joint_bootstrap`.
    """
    groups = [
        f"{record['target']} {place}"
        for record, arms in zip(records, tables, strict=True)
        for place in range(arms[SOURCE].statistics.shape[1])
    ]

    def whole(name: str) -> np.ndarray:
        return np.concatenate([arms[name].statistics for arms in tables], 1)

    rows: dict[str, Any] = {}
    for name, first in records[0]["rows"].items():
        each = [record["rows"][name] for record in records]
        words = [one.get("word") for one in each]
        rows[name] = {
            "bound": first["bound"],
            "what": first["what"],
            "mean": float(np.mean([one["mean"] for one in each])),
            "seconds": float(np.mean([one["seconds"] for one in each])),
            "seeds": first["seeds"],
            "words": {word: words.count(word) for word in dict.fromkeys(words) if word},
            "difference": None,
        }
        if name != SOURCE:
            more = joint_bootstrap(whole(name), whole(SOURCE), combine=combine, groups=groups)
            rows[name]["difference"] = asdict(more)
    return {"rows": rows, "pairs": len(records)}


def overall_words(summary: Mapping[str, Any]) -> None:
    """Write the ``word`` and ``p`` of each method over all pairs, corrected for the number of methods."""
    own = [one for one in summary["rows"].values() if not one["bound"]]
    found = [(Difference(**one["difference"]), len(one["seeds"])) for one in own]
    for one, judged in zip(own, judge_together(found), strict=True):
        one |= {"word": judged["word"], "p": judged["p"]}


def study_record(
    config: Any,
    domains: Mapping[str, Any],
    records: Sequence[dict[str, Any]],
    tables: Sequence[Mapping[str, Arm]],
) -> dict[str, Any]:
    """Make what ``adapt.json`` holds.

    Args:
        config: Flags of the study.
        domains: Its domains.
        records: A record for each pair, from :func:`pair_record`.
        tables: The arms of each pair.
    """
    first = next(iter(domains.values()))
    judge_all(records)
    summary = None
    if len(records) > 1:
        summary = overall(records, tables, combine_of(first.task))
        overall_words(summary)
    seeds = [config.seed + number for number in range(config.seeds)]
    return {
        "schema_version": 1,
        "task": first.task.name,
        "metric": first.task.selection,
        "model": config.model,
        "mode": config.mode,
        "seeds": seeds,
        "target_labels": config.target_labels,
        "selection": {
            "epoch": "source validation",
            "weight": config.select if len(config.weights) > 1 else None,
        },
        "settings": {
            name: getattr(config, name)
            for name in ("shrinkage", "threshold", "rounds", "mix", "lm_epochs", "weights")
        },
        "domains": {one.name: dict(one.record) for one in domains.values()},
        "pairs": list(records),
        "overall": summary,
        "sentence": sentence(records, summary, first.task.selection),
        "test": TEST,
        "versions": versions(),
    }


def sentence(
    records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any] | None, metric: str
) -> str:
    """Say in a few words what helped.

    Args:
        records: A record for each pair.
        summary: Of :func:`overall`, with several pairs.
        metric: Name of the metric.
    """
    rows = (summary or records[0])["rows"]
    where = records[0]["pair"] if summary is None else f"{summary['pairs']} pairs of domains"
    low, high = (100 * rows[name]["mean"] for name in (SOURCE, TARGET))
    said = [
        f"{_upper(where)}: source-only reaches {low:.1f} points of {metric}, the target's own labels "
        f"{high:.1f}."
    ]
    own = {name: one for name, one in rows.items() if not one["bound"]}
    return " ".join([*said, *told_by_word(own, SOURCE)])


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
