"""The arms that train no block: probes, zero-shot, a bag of words, always one answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nlptl.errors import ModelError
from nlptl.pretrain.architecture import save_untrained
from nlptl.report import parts
from nlptl.report.baselines import bag_of_words
from nlptl.report.probe import fit_probe
from nlptl.report.untouched import Untouched, text_classes
from nlptl.report.zero_shot import zero_shot
from nlptl.tasks.base import Task
from nlptl.train.features import pooled_states
from nlptl.train.setup import FinetuneArgs

#: Training texts of a bag of words at most.
WORDED = 100_000


def simple_arms(
    task: Task,
    splits: Mapping[str, Any],
    settings: FinetuneArgs,
    untouched: Untouched,
    *,
    seeds: Sequence[int],
    accelerator: Any,
) -> dict[str, dict[str, Any]]:
    """Entry of each arm (``arm``), and score of each test example where there is one row (``each``).

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        settings: The checkpoint and the longest text.
        untouched: Its states.
        seeds: Of the random bodies.
        accelerator: The device.
    """
    constant = task.statistics(task.constant_predictions(splits["train"], splits["test"]))[:, 0]
    found = {"majority": {"arm": parts.arm_entry(constant[None]), "each": constant}}
    classes = task.classes(splits["test"])
    if classes is None:
        why = "its examples have no classes to separate linearly"
        for name in ("probe", "random_probe", "zero_shot", "bow"):
            found[name] = {"arm": parts.missing(f"{task.name}: {why}"), "each": None}
        return found
    gold, texts = np.asarray(classes), task.texts(splits["test"])

    def row(predictions: Any) -> dict[str, Any]:
        each = (np.asarray(predictions) == gold).astype(float)
        return {"arm": parts.arm_entry(each[None]), "each": each}

    def random_body(seed: int) -> np.ndarray:
        with TemporaryDirectory() as folder:
            save_untrained(settings.model, Path(folder), seed=seed)
            states = {
                name: pooled_states(
                    folder, own, accelerator=accelerator, max_length=settings.max_length
                )
                for name, own in untouched.texts.items()
            }
        return row(fit_probe(*untouched.pairs(-1, states)).predictions)["each"]

    found["probe"] = row(fit_probe(*untouched.pairs(-1)).predictions)
    made = np.asarray([random_body(seed) for seed in seeds])
    found["random_probe"] = {"arm": parts.arm_entry(made, seeds=seeds), "each": None}
    try:
        train, chooses = (
            text_classes(task, splits[name], WORDED) for name in ("train", "validation")
        )
        found["bow"] = row(bag_of_words(train, chooses, texts))
    except ValueError as error:
        found["bow"] = {"arm": parts.missing(str(error)), "each": None}
    try:
        labels = list(task.head["id2label"].values())
        found["zero_shot"] = row(zero_shot(settings.model, texts, labels, accelerator=accelerator))
    except ModelError as error:
        found["zero_shot"] = {"arm": parts.missing(str(error)), "each": None}
    return found
