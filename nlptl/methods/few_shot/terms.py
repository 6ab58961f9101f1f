"""Contrastive pairs: which there are, how many are drawn, and the loss on their states."""

import random
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nlptl.records import Batch, Collate
from nlptl.train.losses import Loss


def pairs_of(counts: Sequence[int]) -> tuple[int, int]:
    """Count the distinct pairs of texts of one class, and of different classes.

    A class with one text has the pair of this text with itself, which dropout makes two.

    Args:
        counts: Number of texts of each class.

    Returns:
        sum n (n - 1) / 2 (at least 1 for each class that is there), and the sum of n m over pairs of classes.
    """
    same = sum(max(n * (n - 1) // 2, min(n, 1)) for n in counts)
    total = sum(counts)
    return same, (total * total - sum(n * n for n in counts)) // 2


def pairs_drawn(counts: Sequence[int], each: int, most: int) -> int:
    """Count the pairs that are trained on: half of one class, half of different ones.

    Args:
        counts: Number of texts of each class.
        each: Pairs of either kind that are drawn for each text (SetFit's ``num_iterations``).
        most: Most pairs.
    """
    return 2 * min(each * sum(counts), most // 2)


def draw_pairs(gold: Sequence[Any], number: int, seed: int) -> np.ndarray:
    """Draw pairs of texts, half of one class and half of different ones, in random order.

    No pair comes twice before all of its kind have come once. Pairs are drawn by their numbers, so that
    nothing is held in memory but those that are drawn.

    Args:
        gold: Class of each text; two classes or more.
        number: Number of pairs.
        seed: Seed.

    Returns:
        Shape ``(number, 3)``: the two texts, and 1 for one class or 0.
    """
    rng = random.Random(seed)  # noqa: S311
    members = [np.flatnonzero(np.asarray(gold) == name) for name in sorted(set(gold))]
    total = pairs_of([len(rows) for rows in members])
    found = [
        (*pair(members, place, same=bool(kind)), kind)
        for kind, some in ((1, number // 2), (0, number - number // 2))
        for place in spread_over(total[1 - kind], some, rng)
    ]
    rng.shuffle(found)
    return np.asarray(found, int).reshape(-1, 3)


def spread_over(total: int, number: int, rng: random.Random) -> list[int]:
    """Draw numbers below ``total``, none twice before all have come once."""
    found: list[int] = []
    while len(found) < number:
        found += rng.sample(range(total), min(total, number - len(found)))
    return found


def pair(members: Sequence[np.ndarray], place: int, *, same: bool) -> tuple[int, int]:
    """Return the pair with a number.

    Args:
        members: Texts of each class.
        place: Number of the pair among those of its kind.
        same: Whether the two are of one class.
    """
    if same:
        for rows in members:
            here = max(len(rows) * (len(rows) - 1) // 2, 1)
            if place < here:
                if len(rows) == 1:
                    return int(rows[0]), int(rows[0])
                second = int((1 + (1 + 8 * place) ** 0.5) / 2)
                second -= (
                    second * (second - 1) // 2 > place
                )  # the root of a large number may be rounded up
                second += (second + 1) * second // 2 <= place
                return int(rows[place - second * (second - 1) // 2]), int(rows[second])
            place -= here
    for number, rows in enumerate(members):
        after = sum(len(other) for other in members[number + 1 :])
        if place < len(rows) * after:
            first, place = divmod(place, after)
            for other in members[number + 1 :]:
                if place < len(other):
                    return int(rows[first]), int(other[place])
                place -= len(other)
        place -= len(rows) * after
    raise IndexError("no pair has this number")


class PairBatches:
    """Batches of pairs: the first texts of all pairs, then the second ones, in one batch of inputs.

    Process ``r`` of ``n`` takes pairs ``r, r + n, …`` of every batch.

    Args:
        features: Encoded texts, with random access by index.
        pairs: From :func:`draw_pairs`.
        collate: Function that pads a list of features to tensors.
        batch_size: Pairs per batch over all processes.
        process: Rank of this process, and the number of processes.
    """

    def __init__(
        self,
        features: Any,
        pairs: np.ndarray,
        collate: Collate,
        *,
        batch_size: int,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        self.features, self.pairs, self.collate = features, pairs, collate
        self.batch_size, (self.rank, self.processes) = batch_size, process

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return ceil(len(self.pairs) / self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process' share of the batches from position ``start`` on; every epoch is the same."""
        for position in range(start, len(self)):
            rows = np.arange(position * self.batch_size, (position + 1) * self.batch_size)
            rows = rows[rows < len(self.pairs)]
            mine = rows[self.rank :: self.processes]
            used = self.pairs[mine if len(mine) else rows[:1]]
            texts = [self.features[int(row)] for row in (*used[:, 0], *used[:, 1])]
            inputs = dict(self.collate(texts, np.random.default_rng([number, position])))
            inputs["same"] = torch.as_tensor(used[:, 2], dtype=torch.float32)
            yield Batch(inputs, tuple(map(int, mine)), len(rows))


class Contrastive(Loss):
    """Mean squared distance of the cosine of two texts' states from 1 (one class) or 0.

    That is sentence-transformers' ``CosineSimilarityLoss``, which SetFit trains under (Tunstall et al., 2022).
    The states are those that the head reads; the head itself has no part in it.

    Args:
        model: The model with the task's head.
        task: Task of the examples.
    """

    cacheable = False
    find_unused = True

    def __init__(self, model: Any, task: Any) -> None:
        super().__init__(model)
        self.task = task
        self.watch()

    def forward(self, *, same: Tensor, **inputs: Tensor) -> dict[str, Any]:
        """Run the model once over both texts of each pair; see :meth:`nlptl.train.losses.Loss.forward`."""
        self.task.outputs(self.model, inputs)
        loss, cosine = contrast(self.features(), same)
        return {"loss": loss, "size": len(same), "outputs": {"cosine": cosine}, "terms": {}}


def contrast(states: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean of (cosine - same)^2, and the cosines, ``(pairs,)``.

    Args:
        states: States of the first texts, then of the second ones, ``(2 * pairs, width)``.
        same: 1 for a pair of one class, else 0, ``(pairs,)``.
    """
    first, second = states.float().chunk(2)
    cosine = functional.cosine_similarity(first, second)
    return functional.mse_loss(cosine, same), cosine
