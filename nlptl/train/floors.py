"""The floors of a run: what always one answer and a bag of words reach on the same test examples."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlptl.tasks.base import Task
from nlptl.train.bag_of_words import NO_WORDS, as_records, bag_of_words

#: The last floors that were computed, by data and task: the runs of several seeds share them.
_KEPT: dict[tuple[str, ...], dict[str, Any]] = {}


def floors(task: Task, splits: Mapping[str, Any]) -> dict[str, Any]:
    """Score the two cheapest ways to answer on the test split, by the task's own metrics.

    Args:
        task: Task of the examples.
        splits: ``train``, ``validation`` and ``test``, labelled.

    Returns:
        ``majority`` and ``bag_of_words`` (:func:`nlptl.train.bag_of_words.bag_of_words`): each has the task's
        metrics with their standard errors, the latter its ``seconds`` too. A floor that there is not stands in
        ``missing`` with the reason.
    """
    names = [name for name in ("train", "validation", "test") if name in splits]
    key = (task.identity(), *(str(getattr(splits[name], "_fingerprint", "")) for name in names))
    if key in _KEPT and all(key):
        return _KEPT[key]
    found: dict[str, Any] = {"majority": {}, "missing": {}}
    constant = task.constant_predictions(splits["train"], splits["test"])
    found["majority"] = scored(task, constant)
    began = time.perf_counter()
    if "validation" not in splits:
        found["missing"]["bag_of_words"] = "no validation set chooses its penalty"
        return found
    try:
        predicted = bag_of_words(task, {name: splits[name] for name in names})
    except ValueError as error:
        found["missing"]["bag_of_words"] = str(error)
    else:
        if predicted is None:
            found["missing"]["bag_of_words"] = NO_WORDS.format(task.name)
        else:
            records = as_records(task.gold(splits["test"]), predicted)
            seconds = round(time.perf_counter() - began, 3)
            found["bag_of_words"] = {**scored(task, records), "seconds": seconds}
    _KEPT.clear()
    _KEPT[key] = found
    return found


def scored(task: Task, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Score predictions; a metric that is not defined, such as a correlation with one answer, is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = task.score(records)
    return {name: float(np.nan_to_num(value)) for name, value in found.items()}
