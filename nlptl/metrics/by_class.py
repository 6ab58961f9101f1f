"""Scores of single classes: precision, recall and F1 of each, and the class that fares worst."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from nlptl.metrics.statistics import marks_ends, split_tag, strict_entities

#: Fewest examples of a class that can be called the weakest, if some class has so many.
ENOUGH = 10
#: What a gold value is: one class, any number of labels, a class a word, or entities among the words, whose
#: tags mark their beginnings (BIO) or their ends too (BIOES).
Form = Literal["class", "labels", "words", "entities", "closed entities"]
#: A name and where it holds: of an example, of a word, or of the words from first to last.
Item = tuple[Any, ...]


def form_of_tags(labels: Sequence[str]) -> Form:
    """Say whether tags mark entities, and how (:func:`nlptl.metrics.statistics.strict_entities`)."""
    if not any(label.startswith(("B-", "S-", "U-")) for label in labels):
        return "words"
    return "closed entities" if marks_ends(labels) else "entities"


def items_of(value: Any, form: Form) -> set[Item]:
    """List what a gold value or a prediction names, each with its place.

    Example:
        >>> sorted(items_of(["O", "B-PER", "I-PER"], "entities")), items_of("spam", "class")
        ([('PER', 1, 2)], {('spam',)})
    """
    if form == "class":
        return {(value,)}
    if form == "labels":
        return {(name,) for name in value}
    if form == "words":
        return {(name, place) for place, name in enumerate(value)}
    return strict_entities(value, closed=form == "closed entities")


def scores_by_class(
    predictions: Sequence[Mapping[str, Any]], labels: Sequence[str], form: Form = "class"
) -> list[dict[str, Any]]:
    """Compute precision, recall and F1 of each class, each in [0, 1], and count its examples.

    A share of nothing, such as the precision of a class that is never predicted, is 0.

    Args:
        predictions: Records with ``gold`` and ``prediction`` in the form that ``form`` says.
        labels: Names of the classes; the kinds of entities follow from tags.
        form: What a gold value is.

    Returns:
        For each class ``label``, ``precision``, ``recall``, ``f1`` and ``n``, its number of gold examples,
        words or entities.
    """
    hits: Counter[str] = Counter()
    ours: Counter[str] = Counter()
    theirs: Counter[str] = Counter()
    for record in predictions:
        gold, guess = (items_of(record[key], form) for key in ("gold", "prediction"))
        ours.update(item[0] for item in gold)
        theirs.update(item[0] for item in guess)
        hits.update(item[0] for item in gold & guess)
    names = list(labels)
    if "entities" in form:  # their kinds; O has none
        names = [kind for kind in dict.fromkeys(split_tag(label)[1] for label in labels) if kind]
    return [_figures(name, hits[name], ours[name], theirs[name]) for name in names]


def _figures(name: str, hits: int, ours: int, theirs: int) -> dict[str, Any]:
    return {
        "label": name,
        "precision": hits / max(1, theirs),
        "recall": hits / max(1, ours),
        "f1": 2 * hits / max(1, ours + theirs),
        "n": ours,
    }


def lowest(per_class: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """List the scores of all classes in their order; of more than ``most`` those with the lowest F1."""
    if len(per_class) <= most:
        return list(per_class)
    return sorted(per_class, key=lambda one: one["f1"])[:most]


def weakest_class(
    per_class: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    form: Form = "class",
) -> dict[str, Any] | None:
    """Find the class that fares worst, and what its examples are most often taken for.

    Where an example has one class, it is the one with the lowest recall, unless all recalls are 1; of several
    labels and of tags the one with the lowest F1. Classes with fewer than :data:`ENOUGH`
    examples are passed over if others have as many; of equal ones the class with more examples is taken.

    Args:
        per_class: Scores from :func:`scores_by_class`.
        predictions: The records that they were made from.
        form: What a gold value is.

    Returns:
        ``label``, ``precision``, ``recall``, ``by``, which of the two says what is weak, and ``taken_for``
        (None if it is the precision, or nothing is predicted in its place); None if no class has a mistake.
    """
    seen = [one for one in per_class if one["n"]]
    known = [one for one in seen if one["n"] >= ENOUGH] or seen
    single = form == "class" and any(one["recall"] < 1 for one in known)
    measure = "recall" if single else "f1"
    worst = min(known, key=lambda one: (one[measure], -one["n"]), default=None)
    if worst is None or worst["precision"] == worst["recall"] == 1:
        return None
    by = "recall" if single or worst["recall"] <= worst["precision"] else "precision"
    found = {name: worst[name] for name in ("label", "precision", "recall")}
    taken = _taken_for(worst["label"], predictions, form) if by == "recall" else None
    return {**found, "by": by, "taken_for": taken}


def weakness(weakest: Mapping[str, Any]) -> tuple[float, str]:
    """Return the share that says what is weak about a class, and what it is a share of.

    Args:
        weakest: From :func:`weakest_class`; records of earlier versions have the recall alone.
    """
    if weakest.get("by") == "precision":
        return weakest["precision"], "of what is named so is right"
    return weakest["recall"], "of its examples are found"


def _taken_for(name: str, predictions: Sequence[Mapping[str, Any]], form: Form) -> str | None:
    """Find what is most often predicted where a class is missed."""
    instead: Counter[str] = Counter()
    for record in predictions:
        gold, guess = (items_of(record[key], form) for key in ("gold", "prediction"))
        wrong = guess - gold
        for _, *place in (item for item in gold - guess if item[0] == name):
            near = (own for own, *other in wrong if _meet(place, other))
            instead.update(own for own in near if own != name)
    return min(instead, key=lambda guess: (-instead[guess], str(guess)), default=None)


def _meet(place: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two places have a word in common; an example as a whole is one place."""
    return not place or (place[0] <= other[-1] and other[0] <= place[-1])
