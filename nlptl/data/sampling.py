"""Splits and subsets: stratified, seeded, and recorded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

#: Shares of the training set that become a missing split.
CARVED = {"test": 0.2, "validation": 0.1}


def labels_of(split: str, most: int) -> int:
    """Return a split's part of the labels that may be looked at: a tenth to choose by, the rest to train on.

    Example:
        >>> labels_of("train", 200), labels_of("validation", 200)
        (180, 20)

    Args:
        split: ``train`` or ``validation``.
        most: Most labels of both together.
    """
    aside = max(1, round(CARVED["validation"] * most))
    return aside if split == "validation" else most - aside


def stratified_order(labels: Sequence[Any], seed: int) -> np.ndarray:
    """Order examples at random so that every prefix holds the classes in nearly equal shares.

    Within a class the order is random; example j of a class with n examples is placed at
    (j + u) / n with u uniform in [0, 1). So subsets of growing size are nested.

    Args:
        labels: Label of each example (or its group: anything hashable).
        seed: Seed of the order.

    Returns:
        A permutation of ``range(len(labels))``.
    """
    rng = np.random.default_rng([seed, 1])
    codes = np.unique(np.asarray([str(label) for label in labels]), return_inverse=True)[1]
    places = np.empty(len(codes))
    for code in range(codes.max() + 1):
        members = np.flatnonzero(codes == code)
        members = members[rng.permutation(len(members))]
        places[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(places, kind="stable")


def draw_splits(
    splits: Mapping[str, Any],
    strata: Callable[[Any], Sequence[Any]],
    *,
    seed: int,
    most: int | None = None,
    most_eval: int | None = None,
    groups: Sequence[Any] | None = None,
) -> tuple[dict[str, Any], dict[str, int]]:
    """Take missing splits out of the training set, and limit the labels.

    The model is chosen on ``validation`` and reported on ``test``; both must exist, or one set
    would do both and flatter the result. The limit counts every label that a run may look at, those of
    validation too: a missing test set is set aside first, then the limit is applied, and a tenth of what it
    leaves is for validation, whether that is carved out or there already.

    Args:
        splits: Mapping from split names to datasets, with at least ``train``.
        strata: Function from a dataset to the stratum of each row.
        seed: Seed; the same one draws the same rows.
        most: Most labels to train on and to choose by, together (``--max-train-examples``).
        most_eval: Most examples of validation and of test (``--max-eval-examples``).
        groups: Group of each row of the training set, such as its passage; no group is in two splits.

    Returns:
        All three splits, and a record ``{split: rows carved}`` of those that were missing.
    """
    made, carved, train = dict(splits), {}, splits["train"]
    labels = strata(train)
    order = stratified_order(labels, seed) if groups is None else _grouped_order(groups, seed)
    if "test" not in made:
        count = _whole(order, groups, max(1, round(CARVED["test"] * len(labels))))
        made["test"], order = train.select(np.sort(order[:count])), order[count:]
        carved["test"] = count
    given = len(made["validation"]) if "validation" in made else 0
    share = max(1, round(CARVED["validation"] * len(labels)))
    if most is not None and most < len(order) + given:
        share = max(1, round(CARVED["validation"] * most), min(given, most - len(order)))
        share = min(share, most_eval or share, given or share)
        kept = most - share * bool(given)
        if groups is None:
            order = order[:kept]
        else:  # over many passages, not all questions of a few
            order = order[np.sort(stratified_order([labels[row] for row in order], seed)[:kept])]
        if given:
            made["validation"] = _subset(made["validation"], strata, share, seed)
    if "validation" not in made:
        count = _whole(order, groups, share)
        made["validation"], order = train.select(np.sort(order[:count])), order[count:]
        carved["validation"] = count
    if len(order) < len(labels):
        made["train"] = train.select(np.sort(order))
    for name in ("validation", "test"):  # in the order in which they are used
        made[name] = _subset(made.pop(name), strata, most_eval, seed)
    return made, carved


def _subset(table: Any, strata: Callable[[Any], Sequence[Any]], most: int | None, seed: int) -> Any:
    return table if most is None or most >= len(table) else subset(table, strata(table), most, seed)


def _whole(order: np.ndarray, groups: Sequence[Any] | None, count: int) -> int:
    """Return ``count``, or where the group ends that it would cut."""
    while groups is not None and count < len(order):
        if groups[order[count]] != groups[order[count - 1]]:
            break
        count += 1
    return min(count, len(order))


def _grouped_order(groups: Sequence[Any], seed: int) -> np.ndarray:
    # No array of the names: numpy would give each row as much room as the longest passage takes.
    rank = {name: code for code, name in enumerate(sorted({str(group) for group in groups}))}
    codes = np.asarray([rank[str(group)] for group in groups])
    places = np.random.default_rng([seed, 1]).permutation(len(rank))
    return np.argsort(places[codes], kind="stable")


def subset(table: Any, labels: Sequence[Any], most: int | None, seed: int) -> Any:
    """Take at most ``most`` rows, stratified and seeded; a larger subset contains the smaller."""
    if most is None or most >= len(table):
        return table
    return table.select(np.sort(stratified_order(labels, seed)[:most]))
