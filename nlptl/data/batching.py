"""Batches of similar length, in an order that depends on the seed and the epoch alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nlptl.data.padding import padded_length
from nlptl.records import Batch, Batches, Collate

#: Shuffled examples are sorted by length inside windows of this many batches, as many as transformers'
#: Trainer takes: little padding, and still another mix in every epoch.
WINDOW = 50
#: Prefix of a second stream's inputs, which are placed beside the first one's.
ALSO = "also_"


def batch_indices(
    lengths: Sequence[int] | np.ndarray, batch_size: int, *, rng: np.random.Generator | None
) -> list[np.ndarray]:
    """Cut examples into batches of similar length.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples per batch; only the last one made may be smaller.
        rng: Generator that shuffles; None sorts everything by falling length (for evaluation: least padding,
            and the largest batch comes first, so memory runs out early or not at all).

    Returns:
        Index arrays; every example is in exactly one of them.
    """
    lengths = np.asarray(lengths)
    if rng is None:
        order = np.argsort(-lengths, kind="stable")
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    order, window = rng.permutation(len(lengths)), batch_size * WINDOW
    batches = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


class LengthBatches:
    """Batches of features, each divided over the processes.

    Process ``r`` of ``n`` takes rows ``r, r + n, …`` of every batch, so that a step sees the same
    examples whatever ``n`` is. Where a batch has fewer rows than there are processes, the others
    get a filler (:class:`nlptl.records.Batch`), because all must run the same number of passes.

    Args:
        features: Token lists and labels, with random access by index.
        lengths: Tokens of each feature.
        collate: Function that pads a list of features to tensors; gets a generator for random draws.
        batch_size: Features per batch over all processes.
        seed: Seed of the order of a training set; None for evaluation (sorted by length).
        process: Rank of this process, and the number of processes.
    """

    def __init__(
        self,
        features: Any,
        lengths: Sequence[int] | np.ndarray,
        collate: Collate,
        *,
        batch_size: int,
        seed: int | None = None,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        self.features, self.lengths, self.collate = features, np.asarray(lengths), collate
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.processes = process

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        whole, rest = divmod(len(self.lengths), self.batch_size)
        return whole + (rest > 0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process' share of the batches of one epoch.

        Args:
            number: The epoch; another epoch is another order. Evaluation ignores it.
            start: Position to continue from; the batches before it are skipped without being read.
        """
        shuffled = self.seed is not None
        rng = None if self.seed is None else np.random.default_rng([self.seed, number])
        plan = batch_indices(self.lengths, self.batch_size, rng=rng)
        for position in range(start, len(plan)):
            rows = plan[position]
            mine = rows[self.rank :: self.processes]
            indices = tuple(int(i) for i in mine)
            used = mine if len(mine) else rows[:1]
            draws = np.random.default_rng(
                [self.seed or 0, number if shuffled else 0, position, self.rank]
            )
            inputs = self.collate([self.features[int(i)] for i in used], draws)
            longest = padded_length(int(self.lengths[used].max()))
            padding = 1.0 - float(self.lengths[used].sum()) / max(1, longest * len(used))
            yield Batch(inputs, indices, len(rows), padding)


class Zipped:
    """Two streams side by side: each batch of the first has a batch of the second beside it.

    The inputs of the second are called ``also_…``; indices, size and epochs are the first one's. The second
    begins again when it ends, in the order of its next epoch, and its position follows from the first one's:
    a resumed run sees the same pairs.

    Args:
        first: First stream, usually labelled.
        second: Second stream, usually without labels; it may be longer or shorter.
    """

    def __init__(self, first: Batches, second: Batches) -> None:
        self.first, self.second = first, second
        self.fed = getattr(first, "fed", False)  # whether it holds cached states

    def __len__(self) -> int:
        """Return the number of batches per epoch of the first stream."""
        return len(self.first)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the pairs of one epoch of the first stream, from position ``start`` on."""
        other = without_end(self.second, number * len(self.first) + start)
        for batch in self.first.epoch(number, start):
            beside = {f"{ALSO}{key}": value for key, value in next(other).inputs.items()}
            yield replace(batch, inputs={**batch.inputs, **beside})


def without_end(stream: Batches, position: int = 0) -> Iterator[Batch]:
    """Yield the batches of a stream from a position on, epoch after epoch, each in its own order.

    Args:
        stream: The stream.
        position: Number of batches to leave out, over all epochs.
    """
    number, start = divmod(position, len(stream))
    while True:
        yield from stream.epoch(number, start)
        number, start = number + 1, 0
