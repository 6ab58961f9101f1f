"""Splits and subsets: stratified, seeded, and recorded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nlptl.data.sources import DataRequest

#: Shares of the training set that become a missing split.
CARVED = {"test": 0.2, "validation": 0.1}


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


def carve_missing(
    splits: Mapping[str, Any],
    labels: Sequence[Any],
    seed: int,
    *,
    groups: Sequence[Any] | None = None,
) -> tuple[dict, dict]:
    """Take validation and test sets out of the training set where there are none.

    The model is chosen on ``validation`` and reported on ``test``; both must exist, or one set
    would do both and flatter the result.

    Args:
        splits: Mapping from split names to datasets, with at least ``train``.
        labels: Strata of the training set's rows.
        seed: Seed; the same one carves out the same rows.
        groups: Group of each row, such as its passage; no group is in two splits, and the strata
            are ignored.

    Returns:
        All three splits, and a record ``{split: rows carved}`` of those that were missing.
    """
    made, carved = dict(splits), {}
    order = stratified_order(labels, seed) if groups is None else _grouped_order(groups, seed)
    for name, share in CARVED.items():
        if name not in made:
            count = max(1, round(share * len(labels)))
            while (
                groups is not None
                and count < len(order)
                and (groups[order[count]] == groups[order[count - 1]])
            ):
                count += 1  # to the end of the group
            rows, order = order[:count], order[count:]
            made[name] = splits["train"].select(np.sort(rows))
            carved[name] = count
    if carved:
        made["train"] = splits["train"].select(np.sort(order))
    return made, carved


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


def limit(
    splits: Mapping[str, Any], strata: Callable[[Any], Sequence[Any]], request: DataRequest
) -> dict:
    """Apply ``--max-train-examples`` and ``--max-eval-examples``.

    Args:
        splits: Mapping from split names to datasets.
        strata: Function from a dataset to the stratum of each row.
        request: Request with the numbers of examples and the seed.
    """
    most = {"train": request.max_train_examples}
    return {
        name: subset(table, strata(table), most.get(name, request.max_eval_examples), request.seed)
        for name, table in splits.items()
    }
