"""Batches: every row once an epoch, the same global batches for any number of processes."""

import numpy as np
import pytest
import torch

from ftkit.training.batches import NO_LABEL, Batches, Keyed


def batches(size, rows, world_size, epoch=0):
    """Return, for each forward pass, the keys of each rank."""
    ranks = [Batches(size, rows, 7, lambda: epoch, rank, world_size) for rank in range(world_size)]
    assert len({len(rank) for rank in ranks}) == 1
    return list(zip(*ranks, strict=True))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 12, 25, 49, 50])
def test_every_number_of_processes_sees_the_rows_of_one(size, world_size):
    alone = [set(keys) for (keys,) in batches(size, 12, 1)]
    shared = [
        {key for keys in ranks for key in keys if key >= 0}
        for ranks in batches(size, 12, world_size)
    ]
    assert shared == alone
    counted = [key for ranks in batches(size, 12, world_size) for keys in ranks for key in keys]
    assert sorted(key for key in counted if key >= 0) == list(range(size))


def test_one_process_alone_sees_all_rows():
    assert sorted(key for keys in Batches(5, 2, 7, lambda: 0) for key in keys) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [1, 13, 25])
def test_no_rank_is_left_without_a_row(size):
    assert all(keys for ranks in batches(size, 12, 4) for keys in ranks)


def test_an_epoch_has_an_order_of_its_own_and_always_the_same():
    first, again, second = batches(50, 50, 1), batches(50, 50, 1), batches(50, 50, 1, epoch=1)
    assert first == again
    assert sorted(second[0][0]) == list(range(50, 100))
    assert [key - 50 for key in second[0][0]] != first[0][0]


def padding(size, rows, lengths):
    sampler = Batches(size, rows, 7, lambda: 0, lengths=lengths)
    return sum(len(keys) * max(lengths[keys]) for keys in sampler)


@pytest.mark.parametrize("size", [1, 12, 25, 1000, 1003])
def test_rows_of_similar_length_come_together_in_random_batches(size):
    lengths = np.random.default_rng(0).integers(1, 100, size)
    given = list(Batches(size, 12, 7, lambda: 0, lengths=lengths))
    assert sorted(key for keys in given for key in keys) == list(range(size))
    assert [len(keys) for keys in given[:-1]] == [12] * (len(given) - 1)
    if size >= 1000:
        assert padding(size, 12, lengths) < 0.7 * padding(size, 12, lengths=np.full(size, 99))
        longest = [max(lengths[keys]) for keys in given]
        assert longest != sorted(longest)
    two = [list(Batches(size, 12, 7, lambda: 0, rank, 2, lengths)) for rank in range(2)]
    shared = [{key for keys in both for key in keys if key >= 0} for both in zip(*two, strict=True)]
    assert shared == [set(keys) for keys in given]


@pytest.mark.parametrize("size", [96, 100])
def test_the_order_is_the_same_however_many_rows_go_through_memory_at_once(size):
    lengths = np.random.default_rng(1).integers(1, 50, size)
    orders = [
        np.concatenate(list(Batches(size, rows, 7, lambda: 0, lengths=lengths, together=12)))
        for rows in (12, 6, 3)
    ]
    assert all(np.array_equal(orders[0], order) for order in orders)


def test_a_row_that_fills_a_batch_does_not_count():
    rows = Keyed([{"labels": 1}, {"labels": 2}])
    filling = rows[-1 - 1]
    assert (rows[1]["labels"], filling["labels"]) == (2, NO_LABEL)
    logits = torch.randn(2, 3)
    loss = torch.nn.functional.cross_entropy
    both = loss(logits, torch.tensor([1, NO_LABEL]), reduction="sum")
    assert both == loss(logits[:1], torch.tensor([1]), reduction="sum")
