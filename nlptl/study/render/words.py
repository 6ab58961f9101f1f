"""Numbers and phrases that all forms of reports and comparisons share."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nlptl.data.text import plain
from nlptl.errors import many

#: What stands for a figure that is not there.
NONE = "—"
#: Arms in the order in which they are shown.
ARMS = {
    "pre": "pretrained",
    "scratch": "from scratch",
    "probe": "linear probe",
    "random_probe": "probe on random weights",
    "zero_shot": "zero-shot",
    "bow": "bag of words",
    "majority": "always one answer",
}
#: Verdicts that name neither side.
OPEN = ("neutral", "inconclusive")
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def shorten(text: object, width: int) -> str:
    """Cut out the middle of what is too long: names differ at their ends.

    Args:
        text: Anything from the record.
        width: Characters at most, three or more.

    Returns:
        At most ``width`` printable characters.
    """
    line = plain(text)
    if len(line) <= width:
        return line
    tail = (width - 1) // 2
    return f"{line[: width - 1 - tail]}…{line[-tail:]}"


def known(value: Any) -> bool:
    """Return whether a value is a number that can be shown.

    Args:
        value: A number, nan or None.

    Returns:
        False for None, nan and infinities.
    """
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Write a number with a fixed count of decimals; what rounds to 0 has no sign.

    Args:
        value: None is shown as a dash.
        digits: Decimals.
        signed: Show a plus sign too.

    Returns:
        Such as ``1,234.50`` or ``+0.30``.
    """
    if value is None or not known(value):
        return NONE
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    return text if any(c in "123456789" for c in text) else text.lstrip("+-")


def points(value: float | None, *, signed: bool = False) -> str:
    """Write a score, gain or margin in points: hundredths, one decimal.

    Args:
        value: A fraction.
        signed: Show a plus sign too.

    Returns:
        Such as ``65.6`` or ``+7.2``.
    """
    return number(100 * value if value is not None else None, 1, signed=signed)


def interval(ends: Sequence[float] | None, show: Callable[[float], str] = points) -> str:
    """Write an interval in words, for tables and sentences.

    Args:
        ends: Low and high, or None.
        show: How an end is written.

    Returns:
        Such as ``3.1 to 11.3``.
    """
    return f"{show(ends[0])} to {show(ends[1])}" if ends else NONE


def p_value(p: float | None) -> str:
    """Write a p-value; 1e-4 is the floor of 10,000 draws.

    Args:
        p: Between 0 and 1, or None.

    Returns:
        Such as ``0.0011`` or ``<1e-4``.
    """
    if p is None or not known(p):
        return NONE
    return "<1e-4" if p <= 1e-4 else f"{p:.2g}"


def p_phrase(p: float | None) -> str:
    """Write a p-value in a sentence.

    Args:
        p: Between 0 and 1, or None.

    Returns:
        Such as ``p=0.0011`` or ``p<1e-4``.
    """
    value = p_value(p)
    return f"p{value}" if value.startswith("<") else f"p={value}"


def duration(seconds: float | None) -> str:
    """Write a time in the unit that suits it.

    Args:
        seconds: None is shown as a dash.

    Returns:
        Such as ``118 s``, ``14 min``, ``2.3 h`` or ``4.1 days``.
    """
    if seconds is None or not known(seconds):
        return NONE
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 48 * 3600)):
        if seconds < most:
            value = seconds / length
            return (
                f"{value:.1f} {unit}" if value < 9.95 and unit != "min" else f"{value:.0f} {unit}"
            )
    return f"{seconds / 86400:.1f} days"


def si(value: float | None, unit: str) -> str:
    """Write a quantity with three digits and a prefix.

    Args:
        value: 0 or more; None is shown as a dash.
        unit: Such as ``FLOP`` or ``B``.

    Returns:
        Such as ``2.1 TFLOP``.
    """
    if value is None or not known(value):
        return NONE
    rounded, exponent = f"{value:.2e}", int(f"{value:.2e}".partition("e")[2])
    power = min(max(exponent // 3, 0), len(PREFIXES) - 1)
    return f"{float(rounded) / 1000**power:.3g} {PREFIXES[power]}{unit}"


def labels_needed(point: Mapping[str, Any], most: str) -> str:
    """Say how many labels scratch needs, at a point of ``sample_eff``: a number, or a bound of it.

    Args:
        point: ``n_match``, ``censored`` and ``at_most``.
        most: What stands where all labels do not suffice.
    """
    if point["censored"]:
        return most
    return f"{'at most ' if point['at_most'] else ''}{number(point['n_match'], 0)}"


def times(ratio: float | None, censored: bool = False, at_most: bool = False) -> str:
    """Write a ratio; one that was not seen to its end is a bound.

    Args:
        ratio: None is shown as a dash.
        censored: Whether the other side never got there.
        at_most: Whether it was there from the beginning.

    Returns:
        Such as ``9.4x``, ``>5.6x`` or ``≤1.0x``.
    """
    bound = ">" if censored else "≤" if at_most else ""
    return NONE if not known(ratio) else f"{bound}{number(ratio, 1)}x"


def missing(reason: object | None = None) -> str:
    """Write a dash with the reason.

    Args:
        reason: As the record gives it; None where a part was left out.

    Returns:
        Such as ``— (no label interface)``.
    """
    return f"{NONE} ({plain(reason) if reason else 'not measured'})"


def arm_title(name: str, mode: str) -> str:
    """Name an arm in plain words.

    Args:
        name: Its key in the record.
        mode: What trained in the pretrained arm.

    Returns:
        Such as ``pretrained, freeze-lower-8``.
    """
    title = ARMS.get(name, plain(name))
    return f"{title}, {plain(mode)}" if name == "pre" else title


def arms(record: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """List the arms in the order in which they are shown.

    Args:
        record: The report's record.

    Returns:
        Key, title and figures of each.
    """
    found = record["downstream"]
    names = [n for n in ARMS if n in found] + [n for n in found if n not in ARMS]
    return [(name, arm_title(name, record["id"]["mode"]), found[name]) for name in names]


def score(arm: Mapping[str, Any]) -> str:
    """Write an arm's mean in points with its standard deviation over seeds, or why there is none.

    Args:
        arm: One of the record's ``downstream``.

    Returns:
        Such as ``65.6 ± 1.2``; without the second part for one seed.
    """
    if not known(arm["mean"]):
        return missing(arm["missing"])
    spread = f" ± {points(arm['sd'])}" if known(arm["sd"]) else ""
    return points(arm["mean"]) + spread


def verdict(record: Mapping[str, Any]) -> str:
    """Return the verdict's own word, with a note where it is provisional.

    Args:
        record: The report's record.

    Returns:
        Such as ``positive`` or ``inconclusive, provisional``.
    """
    found = record["negative"]
    return plain(found["verdict"]) + (", provisional" if found["provisional"] else "")


def failed(arm: Mapping[str, Any]) -> str:
    """Say how many runs of an arm learned nothing.

    Args:
        arm: One of the record's ``downstream``.

    Returns:
        Such as ``1 of 3 runs``.
    """
    count = len(arm["seeds"])
    return f"{len(arm['failed'])} of {many(count, 'run')}"


def caveat(record: Mapping[str, Any]) -> str:
    """Say that the baseline failed, where it did: a gain over it is then no gain of the pretraining alone.

    Args:
        record: The report's record.

    Returns:
        One sentence; nothing where all runs from scratch learned, or where no run of either side did.
    """
    pre, scratch = (record["downstream"][name] for name in ("pre", "scratch"))
    lost = scratch["failed"]
    if not lost or len(pre["failed"]) == len(pre["seeds"]):
        return ""
    pairs = zip(scratch["seeds"], scratch["scores"], strict=True)
    scores = [value for seed, value in pairs if seed in lost]
    share = "" if len(lost) == len(scratch["seeds"]) else "part of "
    return (
        f"But {failed(scratch)} from scratch learned nothing ({points(sum(scores) / len(scores))}, where "
        f"always one answer gives {points(record['downstream']['majority']['mean'])}): {share}the difference "
        "is one to runs that failed, not to what this model can learn without pretraining."
    )


def estimate(record: Mapping[str, Any]) -> str:
    """Say what must follow a ratio of both arms where the verdict names neither side.

    Args:
        record: The report's record.

    Returns:
        A clause, or nothing.
    """
    word = plain(record["negative"]["verdict"])
    return f"; an estimate only, the verdict is {word}" if word in OPEN else ""


def percent(share: float | None) -> str:
    """Write a share in percent, with at least two figures where it is small.

    Args:
        share: A fraction, or None.

    Returns:
        Such as ``11``, ``3.0`` or ``0.12``, without a sign.
    """
    if share is None or not known(share):
        return NONE
    return number(100 * share, 0 if share >= 0.0995 or not share else 1 if share >= 0.00995 else 2)
