"""Batches: every example once, the same for any number of processes, little padding."""

import numpy as np
import pytest
import torch

from nlptl.data.batching import LengthBatches, batch_indices

LENGTHS = np.random.default_rng(0).integers(3, 90, 203)


def collate(features, rng):
    return {"rows": torch.tensor(features), "noise": torch.from_numpy(rng.random(len(features)))}


def batches(seed, process=(0, 1), lengths=LENGTHS, size=8):
    rows = list(range(len(lengths)))
    return LengthBatches(rows, lengths, collate, batch_size=size, seed=seed, process=process)


@pytest.mark.parametrize("seed", [None, 7])
def test_every_example_is_seen_once_an_epoch(seed):
    made = list(batches(seed).epoch(0))
    assert len(made) == len(batches(seed)) == 26
    assert sorted(i for b in made for i in b.indices) == list(range(203))
    assert sorted(b.size for b in made) == [3] + [8] * 25


def test_epochs_differ_and_seeds_repeat():
    def first(seed, epoch):
        return [b.indices for b in batches(seed).epoch(epoch)]

    assert first(1, 0) == first(1, 0)
    assert first(1, 0) != first(1, 1)
    assert first(1, 0) != first(2, 0)


def test_draws_differ_from_epoch_to_epoch_in_training_alone():
    def noise(seed, epoch):
        return torch.cat([b.inputs["noise"] for b in batches(seed).epoch(epoch)])

    assert not torch.equal(noise(1, 0), noise(1, 1))
    assert torch.equal(noise(None, 0), noise(None, 1))


def test_going_on_in_the_middle_gives_the_same_batches_and_draws():
    whole = list(batches(3).epoch(2))
    rest = list(batches(3).epoch(2, start=20))
    assert len(rest) == 6
    for one, two in zip(whole[20:], rest, strict=True):
        assert one.indices == two.indices
        assert torch.equal(one.inputs["noise"], two.inputs["noise"])


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_each_batch_of_the_single_process(count):
    alone = list(batches(5).epoch(1))
    shares = [list(batches(5, process=(rank, count)).epoch(1)) for rank in range(count)]
    for position, batch in enumerate(alone):
        parts = [share[position] for share in shares]
        assert sorted(i for part in parts for i in part.indices) == sorted(batch.indices)
        assert {part.size for part in parts} == {batch.size}


def test_a_process_without_rows_gets_a_filler_that_counts_for_nothing():
    shares = [list(batches(None, (rank, 2), LENGTHS[:7], 2).epoch(0)) for rank in (0, 1)]
    assert [len(share) for share in shares] == [4, 4]
    assert shares[1][-1].indices == ()
    assert len(shares[1][-1].inputs["rows"]) == 1


def test_evaluation_is_sorted_and_training_pads_less_than_at_random():
    order = np.concatenate(batch_indices(LENGTHS, 8, rng=None))
    assert (np.diff(LENGTHS[order]) <= 0).all()

    def padding(plan):
        real = sum(LENGTHS[rows].sum() for rows in plan)
        return 1 - real / sum(LENGTHS[rows].max() * len(rows) for rows in plan)

    rng = np.random.default_rng(1)
    shuffled = np.array_split(rng.permutation(203), 26)
    bucketed = batch_indices(LENGTHS, 8, rng=rng)
    assert padding(bucketed) < 0.3 * padding(shuffled)


def test_the_reported_padding_is_the_share_of_padded_positions():
    (batch,) = batches(None, lengths=np.asarray([4, 2, 3])).epoch(0)
    assert batch.padding == pytest.approx(1 - 9 / 12)
