"""What the arms of a study say: whether texts without labels helped, and whether it was what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nlptl.errors import many
from nlptl.methods.self_taught.options import NONE, OTHER, SAME, SHUFFLED, arm, what_is
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import Combine, Difference, joint_bootstrap
from nlptl.study.arms import Arm
from nlptl.study.judging import HELPED, RULE, UNKNOWN, judge_together, told_by_word
from nlptl.study.outcomes import combine_of
from nlptl.study.scored import lowest_scores, measured_mean, scored_row
from nlptl.study.study import Study

#: Word of the arms on shuffled words, whatever they score.
CONTROL = "control"
#: How the verdicts come about, for the reader.
TEST = (
    f"Differences to none, the checkpoint as it is, are {RULE} Words dealt out at random are a control: they "
    "have nothing to read, and are never called a gain. Where they score more than none, beyond chance, a "
    "first stage is called helped only if it is beyond them too. The second comparison, each first stage "
    "with its control and texts of the same kind with those of another, is a family of tests of its own."
)


def row(
    name: str,
    own: Arm,
    base: Arm,
    metric: str,
    combine: Combine | None,
    groups: Sequence[str] | None,
) -> dict[str, Any]:
    """Sum up an arm as the table shows it.

    Args:
        name: Name of the arm.
        own: The arm.
        base: The arm ``none``.
        metric: Name of the score.
        combine: See :func:`nlptl.stats.bootstrap.joint_bootstrap`.
        groups: See there.
    """
    more = joint_bootstrap(own.statistics, base.statistics, combine=combine, groups=groups)
    return {
        "what": what_is(name),
        "bound": name == NONE or name.endswith(SHUFFLED),
        **scored_row(own, metric, combine, groups),
        "difference": None if name == NONE else asdict(more),
        "reading": None,
        "stage_loss": [measured_mean(own, "stage_before"), measured_mean(own, "stage_after")],
        "diverged": sum(outcome.diverged for outcome in own.outcomes),
    }


def contrasts(stages: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """List the pairs of arms of the second comparison: with the control, and the two kinds of texts.

    Args:
        stages: The first stages.
        names: Names of the arms that there are.
    """
    pairs = [
        (arm(stage, one), arm(stage, other))
        for stage in stages
        for one, other in ((SAME, SHUFFLED), (OTHER, SHUFFLED), (SAME, OTHER))
    ]
    return [pair for pair in pairs if set(pair) <= set(names)]


def judge_all(
    rows: Mapping[str, dict[str, Any]],
    found: Sequence[tuple[str, str, Difference]],
    majority: float,
) -> list[dict[str, Any]]:
    """Write each arm's ``word``, ``p``, ``equal_p`` and ``detectable``, and what it is beside its control.

    Args:
        rows: Rows of the arms by name.
        found: The second comparison: two arms and their difference each.
        majority: Score of always one answer; what is not above it is never called helped.

    Returns:
        A record of each pair of the second comparison.
    """
    trained = {name: one for name, one in rows.items() if name != NONE}
    first = judge_together(
        [(Difference(**one["difference"]), len(one["seeds"])) for one in trained.values()]
    )
    second = judge_together([(more, len(rows[one]["seeds"])) for one, _, more in found])
    pairs = [
        {"arm": one, "against": other, "difference": asdict(more), **judged}
        for (one, other, more), judged in zip(found, second, strict=True)
    ]
    words = {name: judged["word"] for name, judged in zip(trained, first, strict=True)}
    for pair in pairs:
        if pair["against"].endswith(SHUFFLED):
            rows[pair["arm"]]["reading"] = pair
    for (name, one), judged in zip(trained.items(), first, strict=True):
        one |= judged
        if name.endswith(SHUFFLED):
            one["word"] = CONTROL
        elif one["word"] == HELPED:
            gained = words.get(arm(name.split()[0], SHUFFLED)) == HELPED
            beyond = one["reading"] is not None and one["reading"]["word"] == HELPED
            if one["ci95"][0] <= majority or (gained and not beyond):
                one["word"] = UNKNOWN
    return pairs


def warnings_of(
    rows: Mapping[str, Mapping[str, Any]], found: Mapping[str, Any], metric: str
) -> list[str]:
    """List what the reader of the table must know.

    Args:
        rows: Rows of the arms, judged.
        found: ``majority`` and ``bag_of_words``.
        metric: Name of the metric.
    """
    said = []
    if all(one["ci95"][0] <= found["majority"] for one in rows.values()):
        said.append(
            "No arm is above always one answer: look whether the labels fit the texts. Nothing is called "
            "helpful here."
        )
    words = found["bag_of_words"]
    best = max(one["mean"] for one in rows.values())
    if words is not None and words > best:
        said.append(
            f"A bag of words that learned the same labels scores {100 * words:.1f} points of {metric}, more "
            f"than every arm (at most {100 * best:.1f})."
        )
    for name, one in rows.items():
        if name.endswith(SHUFFLED) and one["difference"]["low"] > 0:
            mean = 100 * one["difference"]["mean"]
            said.append(
                f"{name}: words in random order scored {mean:.1f} points more than none. So much comes of "
                "further training on such words, and not of what the texts say."
            )
        before, after = one["stage_loss"]
        if before is not None and after is not None and after >= before:
            said.append(
                f"{name}: the loss of the first stage did not fall on texts that it had not seen "
                f"({before:.3f} before, {after:.3f} after): it learned nothing that lasts. Change "
                "--first-steps or --first-rate."
            )
        if one["diverged"]:
            said.append(f"{name}: the loss became infinite in {many(one['diverged'], 'run')}.")
    return said


def sentence(record: Mapping[str, Any]) -> str:
    """Say in a few words what helped.

    Args:
        record: The study's record so far: ``rows``, ``n``, ``metric``, ``model``.
    """
    rows, n = record["rows"], record["n"]
    said = [
        f"With {n['train']} labels to train on, {record['model']} as it is reaches "
        f"{100 * rows[NONE]['mean']:.1f} points of {record['metric']}."
    ]
    own = {name: one for name, one in rows.items() if not one["bound"]}
    said += told_by_word(own, "the checkpoint as it is")
    for name, one in own.items():
        if one["word"] == HELPED and (reading := one["reading"]):
            mean, low, high = (100 * reading["difference"][key] for key in ("mean", "low", "high"))
            what = (
                "it is what the texts say that helped"
                if reading["word"] == HELPED
                else "whether what the texts say had a part in it, these runs cannot tell"
            )
            said.append(
                f"{name} is {mean:+.1f} points (95 % {low:+.1f} to {high:+.1f}) from the same words in "
                f"random order: {what}."
            )
    return " ".join(said)


def study_record(
    config: Any, study: Study, arms: Mapping[str, Arm], origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Make what ``self_taught.json`` holds.

    Args:
        config: Flags of the study.
        study: The study.
        arms: Its arms.
        origin: Record of the labelled data (``data``) and of the texts (``texts``).
    """
    task, splits = study.task, study.splits
    combine, groups = combine_of(task), task.groups(splits["test"])
    rows = {
        name: row(name, own, arms[NONE], task.selection, combine, groups)
        for name, own in arms.items()
    }
    seen = study.view(study.arms[NONE].view, study.seeds[0])
    found = lowest_scores(task, seen)
    pairs = [
        (
            one,
            other,
            joint_bootstrap(
                arms[one].statistics, arms[other].statistics, combine=combine, groups=groups
            ),
        )
        for one, other in contrasts(list(dict.fromkeys(config.first_stage)), list(rows))
    ]
    compared = judge_all(rows, pairs, found["majority"] or 0.0)
    record = {
        "schema_version": 1,
        "task": task.name,
        "metric": task.selection,
        "model": config.model,
        "mode": config.mode,
        "seeds": list(study.seeds),
        "settings": {
            name: getattr(config, name)
            for name in ("first_steps", "first_batch_size", "first_rate", "temperature")
        },
        "n": {name: len(table) for name, table in seen.items()},
        **{name: dict(about) for name, about in origin.items()},
        "floors": found,
        "rows": rows,
        "compared": compared,
        "warnings": warnings_of(rows, found, task.selection),
        "test": TEST,
        "versions": versions(),
    }
    return {**record, "sentence": sentence(record)}
