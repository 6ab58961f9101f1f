"""The arms that train no block: probes, zero-shot, a bag of words, always one answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nlptl.errors import ModelError
from nlptl.models.loading import resolve
from nlptl.models.sentence_encoder import declared
from nlptl.pretrain.architecture import save_untrained
from nlptl.report import parts
from nlptl.report.probe import fit_probe
from nlptl.report.untouched import Untouched
from nlptl.report.zero_shot import name_scores, pair_similarities, zero_shot
from nlptl.stats.bootstrap import scores_of
from nlptl.study.outcomes import class_statistics, combine_of, constant_statistics
from nlptl.tasks.base import Task
from nlptl.train.bag_of_words import NO_WORDS, as_records, bag_of_words
from nlptl.train.features import pooled_states
from nlptl.train.setup import FinetuneArgs


def simple_arms(
    task: Task,
    splits: Mapping[str, Any],
    args: FinetuneArgs,
    untouched: Untouched,
    *,
    seeds: Sequence[int],
    accelerator: Any,
) -> dict[str, dict[str, Any]]:
    """Score the arms that train no block, each by the task's own metric.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        args: The checkpoint and the longest text.
        untouched: States of the texts under the checkpoint.
        seeds: Seeds of the random bodies.
        accelerator: The device.

    Returns:
        For each arm its entry in the report (``arm``) and, where it has no randomness, the ``statistics``
        of the test examples, shape ``(examples, k)``.
    """
    combine = combine_of(task)

    def fixed(statistics: np.ndarray) -> dict[str, Any]:
        score = scores_of(statistics, combine)
        return {"arm": parts.arm_entry(score[None]), "statistics": statistics}

    constant = constant_statistics(task, splits["train"], splits["test"])
    found = {"majority": fixed(constant)}
    if task.classes(splits["test"]) is None:
        why = f"{task.name}: its examples have no classes to separate linearly"
        names = ("probe", "random_probe", "zero_shot")
        found |= {name: _left_out(why) for name in names}
        found["bow"] = _words(task, splits, fixed)
        if task.head_fit == "numbers" and len(task.fields) == 2:
            found["zero_shot"] = fixed(_similarity(task, splits, args, untouched, accelerator))
        return found

    def row(predicted: Iterable[Any]) -> dict[str, Any]:
        return fixed(class_statistics(task, splits, list(map(str, predicted))))

    found["probe"] = row(fit_probe(*untouched.pairs(-1)).predictions)
    made = [row(_random_probe(args, untouched, seed, accelerator))["arm"]["mean"] for seed in seeds]
    random = parts.arm_entry(np.asarray(made), seeds=seeds)
    found["random_probe"] = {"arm": random, "statistics": None}
    found["bow"] = _words(task, splits, fixed)
    labels = list(task.head["id2label"].values())
    given = (args.model, untouched.texts["test"], labels)
    try:
        found["zero_shot"] = row(zero_shot(*given, accelerator=accelerator))
    except ModelError as error:
        found["zero_shot"] = _left_out(str(error))
        if declared(resolve(args.model)):  # a sentence encoder compares names of classes instead
            alike = name_scores(*given, accelerator=accelerator, max_length=args.max_length)
            found["zero_shot"] = row(labels[int(i)] for i in alike[0].argmax(1))
    return found


def _left_out(why: str) -> dict[str, Any]:
    return {"arm": parts.missing(why), "statistics": None}


def _words(
    task: Task, splits: Mapping[str, Any], fixed: Callable[[np.ndarray], dict[str, Any]]
) -> dict[str, Any]:
    """Answer with a bag of words: classes, several labels, numbers, or a class a word."""
    try:
        predicted = bag_of_words(task, splits)
    except ValueError as error:
        return _left_out(str(error))
    if predicted is None:
        return _left_out(NO_WORDS.format(task.name))
    return fixed(task.statistics(as_records(task.gold(splits["test"]), predicted)))


def _similarity(
    task: Task,
    splits: Mapping[str, Any],
    args: FinetuneArgs,
    untouched: Untouched,
    accelerator: Any,
) -> np.ndarray:
    """Take how alike the two texts of a pair are for their number; return the statistics of the test pairs."""
    first, second = (splits["test"][name][:] for name in task.fields)
    each = pair_similarities(
        untouched.model,
        untouched.tokenizer,
        first,
        second,
        accelerator=accelerator,
        max_length=args.max_length,
    )
    records = task.constant_predictions(splits["train"], splits["test"])
    pairs = zip(records, each, strict=True)
    return task.statistics([{**record, "prediction": cosine} for record, cosine in pairs])


def _random_probe(
    args: FinetuneArgs, untouched: Untouched, seed: int, accelerator: Any
) -> np.ndarray:
    """Fit a probe on a body with random weights; return the classes of the test texts."""
    with TemporaryDirectory() as folder:
        save_untrained(args.model, Path(folder), seed=seed)
        states = {
            name: pooled_states(folder, texts, accelerator=accelerator, max_length=args.max_length)
            for name, texts in untouched.texts.items()
        }
    return fit_probe(*untouched.pairs(-1, states)).predictions
