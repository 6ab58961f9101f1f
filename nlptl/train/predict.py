"""Predictions in the order of the data, from any number of processes, each example once."""

from typing import Any

import numpy as np
import torch
from torch import nn

from nlptl.records import Batches
from nlptl.train.processes import gather


@torch.no_grad()
def predict(
    loss: nn.Module, batches: Batches, *, accelerator: Any
) -> tuple[dict[str, list[np.ndarray]], float]:
    """Run a model over batches in eval mode.

    Rows, never averages, are gathered from the processes and told apart by their index, so that a
    metric over 7 examples is the same on one process and on two.

    Args:
        loss: A :class:`nlptl.train.losses.Loss`, prepared or not; its training flag is left as it was. Its
            losses are averaged over sizes.
        batches: Without a shuffle seed.
        accelerator: Device, processes, precision.

    Returns:
        Output name to one array a feature, in the order of the features; and the mean loss.
    """
    was_training = loss.training
    loss.eval()
    rows: dict[int, dict[str, np.ndarray]] = {}
    losses: list[tuple[float, float]] = []
    for batch in batches.epoch(0):
        with accelerator.autocast():
            found = loss(**batch.to(accelerator.device).inputs)
        outputs = {name: value.float().cpu().numpy() for name, value in found["outputs"].items()}
        for position, index in enumerate(batch.indices):
            rows[index] = {name: value[position] for name, value in outputs.items()}
        if batch.indices:
            losses.append((float(found["loss"]) * found["size"], found["size"]))
    loss.train(was_training)
    rows = dict(gather(list(rows.items()), accelerator))
    losses = gather(losses, accelerator)
    total, size = np.asarray(losses).sum(axis=0)
    names = rows[0].keys()
    ordered = {name: [rows[i][name] for i in range(len(rows))] for name in names}
    return ordered, float(total / size)
