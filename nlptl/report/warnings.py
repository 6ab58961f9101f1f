"""Warnings of a transfer report, in plain words."""

from collections.abc import Mapping
from typing import Any

from nlptl.report.untouched import PROBED
from nlptl.train.bag_of_words import WORDED


def warnings_of(record: Mapping[str, Any]) -> list[str]:
    """List what a reader should know before trusting the figures.

    Args:
        record: The report so far: ``id``, ``downstream``, ``upstream`` and ``negative``.
    """
    found = []
    about, upstream, downstream = record["id"], record["upstream"], record["downstream"]
    if record["negative"]["provisional"]:
        found.append(
            f"{len(about['seeds'])} seeds: the verdict is provisional; --report standard takes six."
        )
    tuned = downstream["scratch"]["tuned"]
    if len(tuned["tried"]) == 1:
        found.append(
            "Scratch had one rate, full's default, and no more epochs than the run; --report standard gives "
            "it two rates and half as many epochs again."
        )
    elif tuned["learning_rate"] >= max(map(float, tuned["tried"])):
        found.append(
            f"Scratch did best at the highest rate that it tried, {tuned['learning_rate']:.2g}: a higher one "
            "may serve it better"
            + (
                "."
                if about["tier"] == "full"
                else "; --report full tries up to ten times the default."
            )
        )
    sampled = [("bow", "The bag of words was", WORDED), ("probe", "The probes were", PROBED)]
    found += [
        f"{what} fitted on {most:,} of the {about['n_train']:,} training texts, drawn by class."
        for name, what, most in sampled
        if about["n_train"] > most and not downstream[name]["missing"]
    ]
    if about["n_test"] < 200:
        found.append(f"{about['n_test']} test examples tell only large differences.")
    if not upstream["missing"] and upstream["sequences"] < 2000:
        found.append(
            f"Forgetting is measured on {upstream['sequences']} pieces of text; 2,000 or more give a "
            "narrower interval."
        )
    for name in ("pre", "scratch"):
        if downstream[name]["failed"]:
            found.append(f"Failed runs of the arm {name}, seeds {downstream[name]['failed']}.")
    return found
