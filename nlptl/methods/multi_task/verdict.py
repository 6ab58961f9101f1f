"""What the arms of each task say against the task alone: helped, hurt, alike or cannot tell."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nlptl.errors import many
from nlptl.methods.multi_task.options import ALONE, CHAIN, MIXED, WHAT
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import Combine, Difference, joint_bootstrap
from nlptl.study.arms import Arm
from nlptl.study.judging import RULE, judge_together, told_by_word
from nlptl.study.outcomes import combine_of
from nlptl.study.scored import lowest_scores, scored_row

#: How the verdicts come about, for the reader.
TEST = (
    f"Each arm's difference to the same task alone: {RULE} A mean over tasks is not shown: it hides the "
    "task that loses."
)


def task_record(entry: Any, arms: Mapping[str, Arm], first: str, steps: int) -> dict[str, Any]:
    """Sum up the arms of one task.

    Args:
        entry: The task (:class:`nlptl.methods.multi_task.multi_task.Entry`).
        arms: Its arms.
        first: Task that ``chain`` begins with.
        steps: Its optimizer steps in an epoch of the mix.

    Returns:
        ``kind``, ``metric``, ``n``, ``steps``, ``floors``, ``rows`` by name of the arm, and ``warnings``.
    """
    member, task = entry.member, entry.member.task
    splits = entry.seen(entry.study.seeds[0])
    combine, groups = combine_of(task), task.groups(splits["test"])
    rows = {
        name: row(name, arms[name], arms[ALONE], task.selection, combine, groups)
        for name in (ALONE, MIXED, CHAIN)
        if name in arms
    }
    floor = lowest_scores(task, splits)
    return {
        "kind": task.name,
        "metric": task.selection,
        "data": member.record["data"],
        "n": {name: len(table) for name, table in splits.items()},
        "steps_per_epoch": steps,
        "first": first if CHAIN in rows else None,
        "floors": floor,
        "rows": rows,
        "warnings": warnings_of(member.name, rows, floor),
    }


def row(
    name: str,
    arm: Arm,
    alone: Arm,
    metric: str,
    combine: Combine | None,
    groups: Sequence[str] | None,
) -> dict[str, Any]:
    """Sum up an arm as the table shows it."""
    more = joint_bootstrap(arm.statistics, alone.statistics, combine=combine, groups=groups)
    seconds = [
        outcome.seconds + outcome.measured.get("first_seconds", 0.0) for outcome in arm.outcomes
    ]
    return {
        "what": WHAT[name],
        "bound": name == ALONE,
        **scored_row(arm, metric, combine, groups),
        "seconds": float(np.mean(seconds)),
        "learning_rate": arm.args.learning_rate,
        "epochs": arm.args.epochs,
        "difference": None if name == ALONE else asdict(more),
        "diverged": sum(outcome.diverged for outcome in arm.outcomes),
        "before_training": sum(outcome.kept_the_start for outcome in arm.outcomes),
        "batches": [outcome.measured.get("batches") for outcome in arm.outcomes],
    }


def warnings_of(name: str, rows: Mapping[str, Any], floor: Mapping[str, Any]) -> list[str]:
    """List what the reader of a task's table must know."""
    said, alone = [], rows[ALONE]
    if alone["ci95"][0] <= floor["majority"]:
        said.append(
            f"{name}: alone it is not above always one answer, so a difference says nothing of what was "
            "learnt together. Give it more labels or epochs."
        )
    words = floor["bag_of_words"]
    if words is not None and words > alone["mean"]:
        said.append(
            f"{name}: a bag of words scores {100 * words:.1f}, more than the task alone "
            f"({100 * alone['mean']:.1f})."
        )
    for arm, one in rows.items():
        if one["diverged"]:
            said.append(
                f"{name}, {arm}: the loss became infinite in {many(one['diverged'], 'run')}."
            )
        if one["before_training"]:
            said.append(
                f"{name}, {arm}: in {one['before_training']} of {many(len(one['seeds']), 'run')} "
                "validation kept the "
                "model as it was before the first step, with a head fitted on the checkpoint's states: "
                "nothing that was trained is in its score. With --head random there is no such epoch."
            )
    return said


def judge_all(tasks: Mapping[str, Any]) -> None:
    """Correct p for all tasks and arms together, and write each row's ``word``, ``p`` and ``equal_p``."""
    every = compared(tasks)
    found = judge_together(
        [(Difference(**one["difference"]), len(one["seeds"])) for one in every.values()]
    )
    for one, judged in zip(every.values(), found, strict=True):
        one |= judged


def compared(tasks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name the rows that are compared with the task alone: by task, and by arm if there are several."""
    every = {
        (name, arm): one
        for name, record in tasks.items()
        for arm, one in record["rows"].items()
        if not one["bound"]
    }
    arms = {arm for _, arm in every}
    return {
        called(name, arm, tasks[name]["first"]) if len(arms) > 1 else name: one
        for (name, arm), one in every.items()
    }


def called(name: str, arm: str, first: str | None) -> str:
    """Call a task's arm in a sentence.

    Example:
        >>> called("topic", "mixed", None), called("topic", "chain", "mood")
        ('topic mixed', 'topic after mood')
    """
    return f"{name} after {first}" if arm == CHAIN else f"{name} {arm}"


def realised(names: Sequence[str], tasks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List for each seed how many batches of each task the mix had, and their shares.

    Args:
        names: Names of the tasks, in their order.
        tasks: Record of each.
    """
    rows = tasks[names[0]]["rows"]
    if MIXED not in rows:
        return []
    found = []
    for seed, counts in zip(rows[MIXED]["seeds"], rows[MIXED]["batches"], strict=True):
        if counts:
            each = dict(zip(names, counts, strict=True))
            shares = {name: count / sum(counts) for name, count in each.items()}
            found.append({"seed": seed, "batches": each, "shares": shares})
    return found


def study_record(
    config: Any,
    entries: Sequence[Any],
    tables: Mapping[str, Mapping[str, Arm]],
    first: str,
    steps: Sequence[int],
) -> dict[str, Any]:
    """Make what ``multi_task.json`` holds.

    Args:
        config: Flags of the study.
        entries: The tasks.
        tables: Name of each task to its arms.
        first: Task that ``chain`` begins with.
        steps: Optimizer steps of each task in an epoch of the mix.
    """
    names = [entry.member.name for entry in entries]
    tasks = {
        name: task_record(entry, tables[name], first, count)
        for name, entry, count in zip(names, entries, steps, strict=True)
    }
    judge_all(tasks)
    return {
        "schema_version": 1,
        "model": config.model,
        "mode": config.mode,
        "seeds": list(entries[0].study.seeds),
        "temperature": str(config.temperature),
        "cap": config.cap,
        "max_train_examples": config.max_train_examples,
        "first": first if any(one["first"] for one in tasks.values()) else None,
        "tasks": tasks,
        "mixture": realised(names, tasks),
        "sentence": sentence(tasks),
        "test": TEST,
        "versions": versions(),
    }


def sentence(tasks: Mapping[str, Any]) -> str:
    """Say in a few words which task won and which one lost.

    Args:
        tasks: Record of each task, judged.
    """
    each = ", ".join(
        f"{name} {100 * one['rows'][ALONE]['mean']:.1f} {one['metric']}"
        for name, one in tasks.items()
    )
    return " ".join([f"Alone: {each}.", *told_by_word(compared(tasks), "the task alone")])
