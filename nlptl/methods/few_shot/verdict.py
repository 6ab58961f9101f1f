"""What a study says: at each number of labels, which method leads, and which it is not shown to beat."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from nlptl.errors import many
from nlptl.methods.few_shot.options import WHAT, ZERO
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import Combine, Difference, joint_bootstrap, scores_of
from nlptl.stats.multiple import equivalence_p, holm
from nlptl.stats.spread import has_failed, spread
from nlptl.stats.verdict import MARGIN
from nlptl.study.arms import Arm
from nlptl.study.judging import ALIKE, HELPED, HURT, RULE, judge
from nlptl.study.outcomes import combine_of, constant_statistics
from nlptl.study.scored import scored_row
from nlptl.tasks.base import Task

LEADS, BEST, BEHIND, SAME, UNKNOWN = "leads", "best", "behind", "alike", "cannot tell"
#: Methods that a sentence names besides the best.
MOST = 2
#: How the verdicts come about, for the reader.
TEST = (
    f"Differences to the best of each number of labels, of all pairs of methods at that number, are {RULE} A "
    "method leads where it is shown to be better than every other one; behind: the best is shown to be "
    "better. Methods without labels stand beside every number of labels: they have these scores there too."
)


def study_record(
    config: Any,
    task: Task,
    splits: Mapping[str, Any],
    origin: Mapping[str, Any],
    without: Mapping[str, Arm],
    by_level: Mapping[int, Mapping[str, Arm]],
) -> dict[str, Any]:
    """Make what ``few_shot.json`` holds.

    Args:
        config: Flags of the study.
        task: Task of the examples.
        splits: Splits of the study.
        origin: Record of where they came from.
        without: Methods without labels; their outcomes are the same for every draw.
        by_level: Number of labels a class to its methods.
    """
    combine, groups = combine_of(task), task.groups(splits["test"])
    constant = constant_statistics(task, splits["train"], splits["test"])
    floor = float(scores_of(constant, combine))
    tables: dict[int, Mapping[str, Arm]] = {0: dict(without)} if without else {}
    tables |= {shots: {**without, **arms} for shots, arms in by_level.items()}
    levels = [
        {
            "shots": shots,
            "rows": {
                name: row(name, arm, task.selection, combine, groups, floor)
                for name, arm in arms.items()
            },
        }
        for shots, arms in tables.items()
    ]
    judge_levels(levels, tables, combine, groups)
    pays = pays_from(levels)
    return {
        "schema_version": 1,
        "task": task.name,
        "metric": task.selection,
        "model": config.model,
        "zero_model": config.zero_model,
        "dataset": str(origin.get("dataset") or config.train_file),
        "data": {key: value for key, value in origin.items() if key != "notes"},
        "classes": list(task.labels),
        "n": {name: len(table) for name, table in splits.items()},
        "validation": config.validation,
        "seeds": [config.seed + number for number in range(config.seeds)],
        "settings": {
            name: getattr(config, name)
            for name in ("mode", "pairs", "max_pairs", "templates", "label_words")
        },
        "floor": floor,
        "levels": levels,
        "pays_from": pays,
        "sentence": sentence(levels, task.selection, pays),
        "test": TEST,
        "versions": versions(),
    }


def row(
    name: str,
    arm: Arm,
    metric: str,
    combine: Combine | None,
    groups: Sequence[str] | None,
    floor: float,
) -> dict[str, Any]:
    """Sum up a method at one number of labels."""
    over, mode = spread(arm.scores.tolist()), arm.args.mode.name
    scored = scored_row(arm, metric, combine, groups)
    return {
        "what": WHAT.get(name, f"plain fine-tuning, --mode {mode}"),
        "labels": name not in ZERO,
        **scored,
        "sd": scored["sd"] if name not in ZERO else None,
        "median": over["median"],
        "min": over["min"],
        "failed": sum(has_failed(score, floor) for score in arm.scores.tolist()),
        "learning_rate": arm.args.learning_rate,
        "epochs": arm.args.epochs,
        "measured": arm.outcomes[0].measured,
        "diverged": sum(outcome.diverged for outcome in arm.outcomes),
    }


def judge_levels(
    levels: Sequence[dict[str, Any]],
    tables: Mapping[int, Mapping[str, Arm]],
    combine: Combine | None,
    groups: Sequence[str] | None,
) -> None:
    """Compare all pairs of methods at each number of labels, and write who is best, who is behind.

    p is corrected for all pairs of the study together. Pairs without labels are counted once.
    """
    pairs: dict[tuple[int, str, str], Difference] = {}
    for shots, arms in tables.items():
        for one, other in combinations(arms, 2):
            if shots and 0 in tables and one in ZERO and other in ZERO:
                continue
            given = (arms[one].statistics, arms[other].statistics)
            pairs[shots, one, other] = joint_bootstrap(*given, combine=combine, groups=groups)
    adjusted = dict(zip(pairs, holm([found.p for found in pairs.values()]), strict=True))
    equal = holm([equivalence_p(found, MARGIN) for found in pairs.values()])
    same = dict(zip(pairs, equal, strict=True))
    for level in levels:
        rows, shots = level["rows"], level["shots"]
        best = max(rows, key=lambda name: rows[name]["mean"])
        level["best"], level["pairs"] = best, []
        for one, other in combinations(rows, 2):
            key = (shots, one, other) if (shots, one, other) in pairs else (0, one, other)
            found, seeds = pairs[key], len(rows[one]["scores"])
            word = judge(found, adjusted[key], same[key], seeds, len(pairs))
            level["pairs"].append(
                {
                    **{"first": one, "second": other, "difference": asdict(found)},
                    **{"p": adjusted[key], "equal_p": same[key], "word": word},
                }
            )
        against_best(level)


def against_best(level: dict[str, Any]) -> None:
    """Write each row's ``word`` and ``difference`` to the best, which leads if it beats all others."""
    best, together = level["best"], []
    for name, one in level["rows"].items():
        if name == best:
            continue
        found = compared(level, best, name)
        one |= {"difference": {**found["difference"], "word": found["word"]}, "p": found["p"]}
        one["word"] = {HELPED: BEHIND, ALIKE: SAME}.get(found["word"], UNKNOWN)
        if one["word"] != BEHIND:
            together.append(name)
    level["together"] = together
    level["rows"][best] |= {"word": BEST if together else LEADS, "difference": None, "p": None}
    if len(level["rows"]) == 1:
        level["rows"][best]["word"] = BEST


def compared(level: Mapping[str, Any], one: str, other: str) -> dict[str, Any]:
    """Return the comparison of two methods at a number of labels: the first minus the second."""
    for found in level["pairs"]:
        if (found["first"], found["second"]) == (one, other):
            return dict(found)
        if (found["first"], found["second"]) == (other, one):
            turned = found["difference"]
            turned = {
                **turned,
                "mean": -turned["mean"],
                "low": -turned["high"],
                "high": -turned["low"],
            }
            word = {HELPED: HURT, HURT: HELPED}.get(found["word"], found["word"])
            return {**found, "difference": turned, "word": word}
    raise KeyError((one, other))


def pays_from(levels: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the least number of labels a class at which a method with labels is shown to beat all without.

    None if there is none, or nothing to compare with.
    """
    for level in levels:
        rows = level["rows"]
        zero = [name for name, one in rows.items() if not one["labels"]]
        for name, one in rows.items():
            words = [compared(level, name, other)["word"] for other in zero if one["labels"]]
            if words and all(word == HELPED for word in words):
                return int(level["shots"])
    return None


def sentence(levels: Sequence[Mapping[str, Any]], metric: str, pays: int | None) -> str:
    """Say which method leads at which number of labels.

    Args:
        levels: From :func:`judge_levels`.
        metric: Name of the metric.
        pays: From :func:`pays_from`.
    """
    said = [f"Points of {metric}.", *map(level_sentence, levels)]
    zero = any(not one["labels"] for level in levels for one in level["rows"].values())
    if pays is not None:
        said.append(f"Labels beat the methods without labels from {some(pays)} on.")
    elif zero and any(level["shots"] for level in levels):
        said.append("No method with labels is shown to beat those without.")
    return " ".join(said)


def level_sentence(level: Mapping[str, Any]) -> str:
    """Say which method leads at one number of labels."""
    rows, best = level["rows"], level["best"]
    where = "Without labels" if not level["shots"] else f"With {some(level['shots'])}"
    score = f"{best} ({100 * rows[best]['mean']:.1f})"
    if level["together"]:
        near = sorted(level["together"], key=lambda name: -rows[name]["mean"])
        others = ", ".join(f"{name} ({100 * rows[name]['mean']:.1f})" for name in near[:MOST])
        rest = f" and {len(near) - MOST} more" if len(near) > MOST else ""
        return f"{where}: {score} is the best, not shown to beat {others}{rest}."
    if len(rows) == 1:
        return f"{where}: {score}."
    own = {name: one["mean"] for name, one in rows.items() if one["labels"]}
    if level["shots"] and not rows[best]["labels"] and own:
        second = max(own, key=own.__getitem__)
        return (
            f"{where}: {score}, which takes none, still leads; of those with labels {second} is the best "
            f"({100 * own[second]:.1f})."
        )
    return f"{where}: {score} leads."


def some(shots: int) -> str:
    """Write a number of labels a class."""
    return f"{many(shots, 'label')} a class"
