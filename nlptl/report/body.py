"""What became of the body: shift of representations and weights; a part of the report."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nlptl.models.layer_map import depth
from nlptl.models.loading import trained_config
from nlptl.report.probe import GRID, choose_penalty
from nlptl.report.shift import linear_cka, weight_change
from nlptl.report.untouched import Untouched
from nlptl.stats.bootstrap import scores_of
from nlptl.study.outcomes import class_statistics, combine_of
from nlptl.tasks.base import Task
from nlptl.train.features import body_states
from nlptl.train.setup import FinetuneArgs


def body_changes(
    task: Task,
    splits: Mapping[str, Any],
    args: FinetuneArgs,
    untouched: Untouched,
    *,
    adapted: Any,
    accelerator: Any,
) -> dict[str, Any]:
    """Measure the report's part on shift: CKA and weight change by block, and probes of the untouched body.

    Args:
        task: What the examples mean.
        splits: ``train`` and ``test``.
        args: The checkpoint and the longest text.
        untouched: Its states: test texts are compared, and training texts where they are few.
        adapted: The fine-tuned model; None leaves the comparison out.
        accelerator: The device.
    """
    encoder, decoder = depth(trained_config(args.model, args.pooling))
    entry: dict[str, Any] = {
        "missing": None if adapted is not None else "no trained model was given",
        "texts": None,
        "parts": ["embeddings", *(f"block {i}" for i in range(encoder + decoder))],
        "cka": [],
        "rel_weight_change": [],
        "probe_curve": [],
        "best_layer": None,
    }
    if adapted is not None:
        # Both in the same batches: in others, equal states would differ in their last digits.
        texts = untouched.compared()
        before, after = (
            body_states(
                model,
                untouched.tokenizer,
                texts,
                accelerator=accelerator,
                max_length=args.max_length,
            )
            for model in (untouched.model, adapted)
        )
        same = [linear_cka(before[:, i], after[:, i]) for i in range(before.shape[1])]
        entry["texts"] = len(texts)
        # T5's decoder has no states of its own for a text: its blocks have none of these figures.
        entry["cka"] = same + [None] * decoder
        entry["rel_weight_change"] = weight_change(untouched.model.cpu(), adapted.cpu())
    if untouched.classes:
        curve, validation = [], []
        for block in range(encoder + 1):
            train, chooses, test = untouched.pairs(block)
            best = choose_penalty(train, chooses, grid=GRID, scaled=True)
            validation.append(best.validation)
            predicted = class_statistics(task, splits, list(map(str, best.model.predict(test[0]))))
            curve.append(float(scores_of(predicted, combine_of(task))))
        entry["probe_curve"] = curve + [None] * decoder
        entry["best_layer"] = int(np.argmax(validation))
    return entry
