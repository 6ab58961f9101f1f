"""From a gain and its uncertainty to a word, a sentence, and what to try."""

from collections.abc import Mapping
from typing import Any

from nlptl.stats.bootstrap import Difference

#: Scores closer than this, half a point, count as equal.
MARGIN = 0.005
#: Fewer seeds than this give no verdict. With three the interval misses the truth in 2.3 to 5.2 % of simulated
#: experiments (benchmarks/interval.py), so the quick report has a verdict, marked provisional.
LEAST_SEEDS = 3
#: What is said where no run of either arm got above always one answer.
NOTHING_LEARNED = (
    "Cannot tell whether pretraining helped: no run learned anything, with pretraining or without; all give "
    "one answer, or do no better."
)


def verdict(gain: Difference, *, seeds: int, margin: float = MARGIN) -> str:
    """Judge a gain in a word.

    It is ``positive`` if the interval lies above 0, ``negative`` if below, ``negative (material)`` if below
    -margin; nothing is called better or worse below the threshold
    (:meth:`nlptl.stats.bootstrap.Difference.threshold`), nor with fewer than three seeds. What is left
    is ``neutral`` if the interval lies within ±margin: a small difference that is certain has its sign.
    All else is ``inconclusive``.

    Args:
        gain: Pretrained minus scratch.
        seeds: How many runs an arm had.
        margin: What counts as equal.
    """
    if seeds < LEAST_SEEDS:
        return "inconclusive"
    if abs(gain.mean) >= gain.threshold():
        if gain.low > 0:
            return "positive"
        if gain.high < 0:
            return "negative (material)" if gain.high < -margin else "negative"
    if -margin <= gain.low and gain.high <= margin:
        return "neutral"
    return "inconclusive"


def sentence(word: str, gain: Difference, about: Mapping[str, Any]) -> str:
    """Say what came out, for somebody who does not know the method.

    Args:
        word: From :func:`verdict`.
        gain: Pretrained minus scratch.
        about: ``upstream``, ``dataset``, ``metric``, ``seeds`` and ``n_test``.
    """
    points, low, high = (f"{100 * x:.1f}" for x in (abs(gain.mean), gain.low, gain.high))
    model, data, metric = about["upstream"], about["dataset"], about["metric"]
    interval = f"95 % interval {low} to {high}, {len(about['seeds'])} runs each"
    if word == "positive":
        return (
            f"Pretraining helped: on {data}, {model} scores {points} points of {metric} more than the "
            f"same model without pretraining ({interval})."
        )
    if word.startswith("negative"):
        return (
            f"Pretraining hurt: on {data}, {model} scores {points} points of {metric} less than the "
            f"same model without pretraining ({interval})."
        )
    if word == "neutral":
        return (
            f"Pretraining made no difference: on {data}, {model} and the same model without pretraining "
            f"score alike ({interval})."
        )
    return (
        f"Cannot tell whether pretraining helped: on {data}, {model} and the same model without "
        f"pretraining differ by {100 * gain.mean:+.1f} points of {metric} ({interval})."
    )


def first_learn(probe: float | None, floor: float) -> str:
    """Say what to try where no run learned anything.

    Args:
        probe: Score of the linear probe; None where there is none.
        floor: Score of always giving one answer.
    """
    if probe is not None and probe > floor + 0.05:
        return (
            f"A linear probe reads {100 * probe:.1f} points off the untouched checkpoint: the labels can be "
            "learned. Try more epochs, another --learning-rate, or --mode head-only."
        )
    return "Look whether the labels fit the texts; then try more epochs or another --learning-rate."


def advice(word: str, record: Mapping[str, Any]) -> str:
    """Say what to try next.

    Args:
        word: From :func:`verdict`.
        record: The report so far: ``id``, ``downstream``, ``gain`` and ``upstream``.
    """
    about, gain = record["id"], record["gain"]
    trains = about["trains"]
    if word == "inconclusive":
        if len(about["seeds"]) < 10:
            more = "--report full" if len(about["seeds"]) >= 6 else "--report standard"
            return (
                f"Gains below {100 * gain['mde']:.1f} points are found in fewer than 80 % of experiments with "
                f"{len(about['seeds'])} runs and {about['n_test']} test examples: try {more}, or test on more "
                "examples."
            )
        return "More seeds would help little: test on more examples."
    if word.startswith("negative"):
        how = "train more of it (--mode full), " if trains != "all" else ""
        return (
            f"Try to {how}take a checkpoint of a nearer domain, or first go on pretraining it on your own "
            f"texts (nlptl run pretrain --model {about['upstream']} --corpus …)."
        )
    if word == "neutral":
        return "A smaller model, or a bag of words, may do as well for less."
    words = gain.get("vs_bow")
    if words and words["ci95"][0] <= 0:
        beaten = "beats it" if words["abs"] < 0 and words["ci95"][1] < 0 else "does about as well"
        how = "--mode full, or " if trains != "all" else ""
        return (
            f"But a bag of words {beaten}: try {how}a larger checkpoint, or one of a nearer domain."
        )
    share = gain.get("probe_share")
    if share is not None and share > 0.8 and trains != "head":
        return "A linear probe has most of the gain already: --mode head-only may be enough."
    if trains in ("blocks", "head") and share is not None and share < 0.5:
        return "Most of the gain came from training blocks: try freezing fewer, or --mode full."
    forgot = record["upstream"].get("forgetting")
    if forgot and forgot > 0.5 and trains == "all":
        return "It forgot much of its pretraining: --mode lora or freeze-lower-N would keep more."
    return "Compare the modes with nlptl run compare before choosing one."
