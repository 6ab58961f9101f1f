"""What a reader asks first: is it good enough, did the pretraining help, and what is to be typed next?"""

import shlex
from collections.abc import Mapping
from typing import Any

from nlptl.data.text import plain
from nlptl.stats.verdict import LEAST_SEEDS
from nlptl.study.render.pages import Answer
from nlptl.study.render.words import (
    caveat,
    failed,
    interval,
    known,
    missing,
    number,
    p_phrase,
    points,
    score,
    shorten,
    verdict,
)

#: A sign of each verdict besides its colour, and the colour's name in the page's style.
SIGNS = {
    "positive": ("▲", "good"),
    "neutral": ("≈", "open"),
    "negative": ("▼", "bad"),
    "negative (material)": ("▼▼", "bad"),
    "inconclusive": ("?", "open"),
}


def worth(record: Mapping[str, Any]) -> Answer:
    """Say how good the model is, and whether it is better than a bag of words.

    It is called better or worse where the interval leaves zero out, the difference reaches the least that is
    called one, and three seeds or more were run: the rule of the verdict.

    Args:
        record: The report's record.
    """
    question = "How good is it, and is it better than the cheap way?"
    ident, arms = record["id"], record["downstream"]
    pre, words = arms["pre"], arms["bow"]
    if not known(pre["mean"]):
        return Answer(question, "No score", missing(pre["missing"]))
    metric, runs = plain(ident["metric"]), len(pre["seeds"])
    said = (
        f"On {shorten(ident['dataset'], 60)}, {shorten(ident['upstream'], 60)} ({plain(ident['mode'])}) "
        f"scores {score(pre)} points of {metric}"
        + (f", the mean of {runs} runs." if runs > 1 else ".")
    )
    if pre["failed"]:
        said += f" {failed(pre)} learned nothing."
    value, against = f"{points(pre['mean'])} {metric}", (record["gain"] or {}).get("vs_bow") or {}
    constant = arms["majority"]
    floor = f" Always one answer scores {score(constant)}." if known(constant["mean"]) else ""
    if not known(words["mean"]) or not known(against.get("abs")):
        reason = missing(words["missing"])
        return Answer(question, value, f"{said} No bag of words beside it {reason}.{floor}")
    gap = against["abs"]
    how = (
        "alike" if not round(1000 * gap) else f"{points(abs(gap))} {'less' if gap > 0 else 'more'}"
    )
    said += (
        f" A bag of words, which is trained in seconds, scores {score(words)}: {how} "
        f"(model minus bag of words: 95 % interval {interval(against['ci95'])}, "
        f"{p_phrase(against['p_two_sided'])}).{floor}"
    )
    low, high = against["ci95"] or (0, 0)
    enough = runs >= LEAST_SEEDS and abs(gap) >= (against.get("threshold") or 0)
    if enough and low > 0:
        return Answer(question, f"{value}: better than a bag of words", said, "▲", "good")
    if enough and high < 0:
        return Answer(question, f"{value}: worse than a bag of words", said, "▼", "bad")
    return Answer(question, f"{value}: not shown to be better than a bag of words", said, "≈")


def beside(record: Mapping[str, Any]) -> str:
    """List the cheap ways with their scores, and how much the model has more than a bag of words.

    Args:
        record: The report's record.

    Returns:
        Such as ``(bag of words 82.1, difference -1.5 [-3.9, 1.0]; always one answer 51.3)``.
    """
    arms, against = record["downstream"], (record["gain"] or {}).get("vs_bow") or {}
    found = []
    if known(arms["bow"]["mean"]) and known(against.get("abs")):
        ends = ", ".join(points(end) for end in against["ci95"] or ())
        gap = f"{points(against['abs'], signed=True)} [{ends}]"
        found.append(f"bag of words {score(arms['bow'])}, difference {gap}")
    if known(arms["majority"]["mean"]):
        found.append(f"always one answer {score(arms['majority'])}")
    return f"({'; '.join(found)})" if found else ""


def pretraining(record: Mapping[str, Any]) -> Answer:
    """Say whether the pretraining helped; a baseline that failed stands in the headline.

    Args:
        record: The report's record.
    """
    found, word, doubt = record["negative"], verdict(record), caveat(record)
    sign, tone = SIGNS.get(found["verdict"], ("?", "open"))
    scratch = record["downstream"]["scratch"]
    if doubt and len(scratch["failed"]) == len(scratch["seeds"]):
        sign, tone = "?", "open"
        word += ", over a baseline that failed"
    elif doubt:
        word += f", but {failed(scratch)} of the baseline failed"
    return Answer(
        "Did the pretraining help?",
        word[:1].upper() + word[1:],
        " ".join(filter(None, (plain(found["sentence"] or ""), doubt))),
        sign,
        tone,
    )


def commands(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what can be typed next, each with what it is for.

    Args:
        record: The report's record.

    Returns:
        Nothing where the report is of no run's directory.
    """
    ident, found = record["id"], record["negative"]
    if not ident["run"]:
        return []
    home = plain(ident["run"])
    run, typed = shlex.quote(home), []
    if found["provisional"]:
        typed.append(("six runs of each: a final verdict", f"nlptl report {run} --tier standard"))
    elif found["verdict"] == "inconclusive" and ident["tier"] != "full":
        typed.append(("ten runs of each: a narrower interval", f"nlptl report {run} --tier full"))
    mode = _mode_to_try(record)
    if mode:
        given = f"--task {shlex.quote(plain(ident['task']))} --config {shlex.quote(home + '/config.yaml')}"
        own = f"--mode {mode} --learning-rate None --epochs None"  # None: the mode's own defaults
        other = f"nlptl train {given} {own} --output-dir {shlex.quote(f'{home}-{mode}')}"
        typed.append(("the same run in another mode, with that mode's rate and epochs", other))
    typed.append(("use the model", f"nlptl predict {run} --file new.csv --output labelled.csv"))
    return typed


def _mode_to_try(record: Mapping[str, Any]) -> str | None:
    """Return the mode that the advice names, as far as the record tells."""
    advice = plain(record["negative"]["advice"] or "")
    return next((m for m in ("full", "head-only", "lora") if f"--mode {m}" in advice), None)


def data_line(record: Mapping[str, Any]) -> str:
    """Say on how much data the report rests, and of which day it is.

    Args:
        record: The report's record.
    """
    ident = record["id"]
    sizes = (
        f"{number(ident['n_train'], 0)} training, {number(ident['n_validation'], 0)} validation and "
        f"{number(ident['n_test'], 0)} test examples, {len(ident['seeds'])} runs each"
    )
    return f"{sizes}, {plain(ident['created'])[:10]}"
