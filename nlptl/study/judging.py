"""What a study says of each arm against the arm that it is measured by: helped, hurt, alike or cannot tell."""

from collections.abc import Mapping, Sequence
from typing import Any

from nlptl.stats.bootstrap import JOINT, Difference
from nlptl.stats.multiple import equivalence_p, holm
from nlptl.stats.verdict import MARGIN
from nlptl.study.comparison import Pair

HELPED, HURT, ALIKE, UNKNOWN = "helped", "hurt", "alike", "cannot tell"
#: How the words come about, for the reader; begins after the name of the arm that all are compared with.
RULE = (
    f"{JOINT}; p corrected for the number of comparisons (Holm, 1979). Helped or hurt: p below 0.05, and a "
    "difference of 2.8 standard errors or, with few seeds, more. Alike: two one-sided tests against half a "
    "point (Schuirmann, 1987)."
)


def judge(difference: Difference, p: float, equal_p: float, seeds: int, tests: int) -> str:
    """Say in a word what an arm did: ``helped``, ``hurt``, ``alike`` or ``cannot tell``.

    Args:
        difference: The arm minus the one that it is compared with.
        p: Corrected.
        equal_p: Of the test that they are alike, corrected.
        seeds: Runs of each arm.
        tests: Number of tests that p is corrected for.
    """
    pair = Pair("arm", "base", difference, p, equal_p, seeds, tests)
    if pair.better:
        return HELPED if pair.better == "arm" else HURT
    return ALIKE if pair.equal else UNKNOWN


def judge_together(found: Sequence[tuple[Difference, int]]) -> list[dict[str, Any]]:
    """Judge several differences, with p corrected for all of them (Holm, 1979).

    Args:
        found: A difference and its number of seeds for each comparison.

    Returns:
        ``word``, ``p``, ``equal_p`` and ``detectable`` (:meth:`nlptl.stats.bootstrap.Difference.detectable`)
        of each. Arms with the :func:`same_answers` as their base are ``cannot tell``.
    """
    adjusted = holm([difference.p for difference, _ in found])
    equal = holm([equivalence_p(difference, MARGIN) for difference, _ in found])
    return [
        {
            "word": UNKNOWN
            if same_answers(vars(difference))
            else judge(difference, p, q, seeds, len(found)),
            "p": p,
            "equal_p": q,
            "detectable": difference.detectable(len(found)),
        }
        for (difference, seeds), p, q in zip(found, adjusted, equal, strict=True)
    ]


def same_answers(difference: Mapping[str, float]) -> bool:
    """Whether an arm and its base have the same scores of each example in every run.

    Mostly validation kept the start of both, so they are one model, and no training was compared; or both
    learned nothing. "Alike" would say too much.

    Args:
        difference: ``mean``, ``low`` and ``high``.
    """
    return not any(difference[key] for key in ("mean", "low", "high"))


def told_by_word(rows: Mapping[str, Mapping[str, Any]], base: str) -> list[str]:
    """Write a sentence for each word, with the arms that it is true of and their differences.

    Args:
        rows: Name of an arm to its ``word`` and ``difference`` (``mean``, ``low``, ``high``).
        base: Name of the arm that all are compared with.
    """
    said: dict[str, list[str]] = {}
    for name, one in rows.items():
        mean, low, high = (100 * one["difference"][key] for key in ("mean", "low", "high"))
        text = f"{name} ({mean:+.1f}, 95 % {low:+.1f} to {high:+.1f})"
        if same_answers(one["difference"]):
            text = f"{name} (the same answers in every run, so there is nothing to compare)"
        said.setdefault(one["word"], []).append(text)
    phrases = {
        HELPED: "Helped",
        HURT: "Hurt",
        ALIKE: f"As good as {base}, within half a point",
        UNKNOWN: "Cannot tell",
    }
    return [
        f"{phrase}: {', '.join(said[word])}." for word, phrase in phrases.items() if word in said
    ]


def headline(words: Sequence[str], what: str) -> str:
    """Say the whole in a few words.

    Args:
        words: Word of each comparison.
        what: Plural of what is compared, such as ``methods``.
    """
    helped, hurt = words.count(HELPED), words.count(HURT)
    if not helped and not hurt:
        return "No difference is beyond chance"
    parts = [f"{helped} of {len(words)} {what} helped"] * bool(helped)
    return ", ".join([*parts, *[f"{hurt} of {len(words)} hurt"] * bool(hurt)])
