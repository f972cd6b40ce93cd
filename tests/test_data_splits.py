"""The order in which every beginning is in proportion, and the cuts and limits made with it."""

import numpy as np
import pytest
from datasets import Dataset

from ftkit.data.sampling import cut_off, limit_rows, stratified_order
from ftkit.data.splits import Splits, labels_of

SHARES = [
    (0.5, 0.3, 0.2),
    (0.9, 0.09, 0.01),
    (0.25,) * 4,
    (1.0,),
]


def draw(shares, n, seed):
    return np.random.default_rng(seed).choice(len(shares), n, p=shares)


def cut(rows, size, seed):
    """What stays, and what is cut off, where every row is its own group."""
    off = cut_off(labels_of(rows), None, size, seed)
    return rows.select(np.setdiff1d(np.arange(len(rows)), off)), rows.select(off)


def limit(rows, most, seed):
    return rows.select(limit_rows(labels_of(rows), None, most, seed))


def rows_of(labels):
    """Rows whose index is their number times ten, so that numbers and positions differ."""
    return Dataset.from_dict({"label": labels, "index": np.arange(len(labels)) * 10})


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("n", [7, 333])
def test_every_beginning_is_in_proportion_to_within_one_per_class(shares, n):
    labels = draw(shares, n, seed=n)
    one_hot = np.eye(len(shares))[labels]
    seen = one_hot[stratified_order(labels, seed=1)].cumsum(axis=0)
    expected = np.arange(1, n + 1)[:, None] * one_hot.mean(axis=0)
    assert np.abs(seen - expected).max() <= 1 + 1e-9


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_spread_is_a_permutation(n):
    order = stratified_order(draw(SHARES[0], n, seed=3), seed=5)
    assert sorted(order.tolist()) == list(range(n))


def test_spread_is_the_same_for_the_same_seed_and_another_for_another():
    labels = draw(SHARES[0], 200, seed=0)
    np.testing.assert_array_equal(
        stratified_order(labels, seed=4), stratified_order(labels, seed=4)
    )
    assert (stratified_order(labels, seed=4) != stratified_order(labels, seed=5)).any()


def test_spread_leaves_the_global_random_state_alone():
    np.random.seed(0)
    expected = np.random.RandomState(0).random()
    stratified_order(draw(SHARES[0], 50, seed=0), seed=4)
    assert np.random.random() == expected


def test_which_rows_of_a_class_come_first_is_random():
    first = {int(stratified_order(np.zeros(20, dtype=int), seed)[0]) for seed in range(200)}
    assert len(first) == 20


@pytest.mark.parametrize("size", [0, 1, 37, 100])
def test_cut_parts_the_rows_without_loss_or_overlap(size):
    rows = rows_of(draw(SHARES[0], 100, seed=0))
    stays, taken = cut(rows, size, seed=2)
    assert (len(stays), len(taken)) == (100 - size, size)
    assert not set(stays["index"]) & set(taken["index"])
    assert set(stays["index"]) | set(taken["index"]) == set(rows["index"])


def test_both_sides_of_a_cut_are_in_proportion_and_in_order():
    rows = rows_of([0] * 60 + [1] * 30 + [2] * 10)
    for part, share in zip(cut(rows, 30, seed=0), (0.7, 0.3), strict=True):
        counts = np.bincount(part["label"], minlength=3)
        assert np.abs(counts - share * np.array([60, 30, 10])).max() <= 1
        assert list(part["index"]) == sorted(part["index"])


def test_a_row_keeps_its_label_through_a_cut():
    labels = draw(SHARES[0], 100, seed=0)
    for part in cut(rows_of(labels), 40, seed=0):
        assert all(labels[row["index"] // 10] == row["label"] for row in part)


@pytest.mark.parametrize(("most", "left"), [(50, 50), (51, 50), (49, 49), (1, 1)])
def test_limit_leaves_at_most_so_many(most, left):
    rows = limit(rows_of(draw(SHARES[0], 50, seed=0)), most, seed=0)
    assert len(set(rows["index"])) == len(rows) == left


def test_a_limit_is_in_proportion_and_holds_the_smaller_limit():
    rows = rows_of([0] * 60 + [1] * 30 + [2] * 10)
    twenty, ten = limit(rows, 20, seed=0), limit(rows, 10, seed=0)
    assert np.bincount(twenty["label"]).tolist() == [12, 6, 2]
    assert np.bincount(ten["label"]).tolist() == [6, 3, 1]
    assert set(ten["index"]) < set(twenty["index"])


def test_splits_count_their_rows_and_gather_notes():
    rows = rows_of([0, 1, 0])
    splits = Splits(rows, rows.select([0]), rows.select([0, 1]), ("a", "b"), "test", ("one",))
    assert splits.counts() == {"train": 3, "validation": 1, "test": 2}
    assert splits.noting("two", "three").notes == ("one", "two", "three")
    assert splits.notes == ("one",)
