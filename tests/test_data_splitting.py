"""Cuts in whole groups: properties for any rows, and scikit-learn's splitter beside it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.model_selection import StratifiedGroupKFold

from ftkit.data.sampling import cut_off, limit_rows, stratified_order


@some.composite
def grouped_rows(draw):
    """Labels, groups of up to 12 rows, and how many rows to cut off."""
    sizes = draw(some.lists(some.integers(1, 12), min_size=2, max_size=60))
    groups = np.random.default_rng(draw(some.integers(0, 99))).permutation(
        np.repeat(np.arange(len(sizes)) * 7, sizes)
    )
    classes = draw(some.integers(1, 5))
    of_group = draw(some.booleans())
    random = np.random.default_rng(draw(some.integers(0, 99)))
    labels = random.integers(0, classes, len(groups))
    if of_group:
        labels = random.integers(0, classes, groups.max() + 1)[groups]
    size = draw(some.integers(1, len(groups) - 1))
    return labels, groups, size, draw(some.integers(0, 9))


@given(grouped_rows())
@settings(max_examples=150, deadline=None)
def test_no_group_is_on_two_sides_and_the_size_misses_by_less_than_a_group(rows):
    labels, groups, size, seed = rows
    off = cut_off(labels, groups, size, seed)
    stays = np.setdiff1d(np.arange(len(labels)), off)
    assert not set(groups[off]) & set(groups[stays])
    assert len(off)
    assert len(stays)
    assert np.all(np.diff(off) > 0)
    assert abs(len(off) - size) < max(2, np.bincount(groups).max())


@given(grouped_rows())
@settings(max_examples=100, deadline=None)
def test_a_limit_is_exact_and_tears_only_what_it_must(rows):
    labels, groups, size, seed = rows
    left = limit_rows(labels, groups, size, seed)
    assert len(left) == size
    assert np.all(np.diff(left) > 0)


@given(grouped_rows())
@settings(max_examples=100, deadline=None)
def test_where_every_row_is_its_own_group_the_rows_are_those_without_groups(rows):
    """So figures that were measured before groups came still hold."""
    labels, _, size, seed = rows
    alone = np.random.default_rng(seed).permutation(len(labels))
    before = np.sort(stratified_order(labels, seed)[:size])  # how earlier versions cut and limited
    for draw in (cut_off, limit_rows):
        np.testing.assert_array_equal(draw(labels, None, size, seed), before)
        np.testing.assert_array_equal(draw(labels, alone, size, seed), before)


def test_the_numbers_of_groups_do_not_matter_but_for_which_rows_share_one():
    random = np.random.default_rng(0)
    labels, groups = random.integers(0, 3, 200), random.integers(0, 60, 200)
    others = random.permutation(1000)[groups]
    np.testing.assert_array_equal(cut_off(labels, groups, 40, 1), cut_off(labels, others, 40, 1))


def distance(labels, off):
    """Sum over classes of how far their share cut off is from that of all rows."""
    counts = np.bincount(labels)
    return np.abs(
        np.bincount(labels[off], minlength=len(counts)) / len(off) - counts / counts.sum()
    ).sum()


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("pure", [True, False])
def test_classes_are_as_even_as_with_scikit_learn(pure):
    """Over 30 sets of 80 uneven groups: a fifth cut off, against a fold of StratifiedGroupKFold.

    Where groups are of one class we are nearer; where they hold several, it is by less than a
    hundredth, but misses the size.
    """
    ours, theirs, sizes = [], [], []
    for seed in range(30):
        random = np.random.default_rng(seed)
        groups = np.repeat(np.arange(80), random.geometric(0.2, 80))
        labels = random.choice(4, len(groups), p=[0.5, 0.3, 0.15, 0.05])
        if pure:
            labels = random.choice(4, 80, p=[0.5, 0.3, 0.15, 0.05])[groups]
        size = round(len(groups) / 5)
        off = cut_off(labels, groups, size, seed)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        _, fold = next(folds.split(labels, labels, groups))
        ours.append(distance(labels, off))
        theirs.append(distance(labels, fold))
        sizes.append((abs(len(off) - size), abs(len(fold) - size)))
    assert np.mean(ours) <= np.mean(theirs) + (0 if pure else 0.01)
    assert np.mean([one for one, _ in sizes]) < np.mean([other for _, other in sizes])


def test_a_group_of_many_rows_is_as_likely_to_be_cut_off_as_a_single_row():
    """Half of the rows alone, half in tens: a fifth of both, to four standard errors."""
    groups = np.concatenate([np.arange(500), 500 + np.repeat(np.arange(50), 10)])
    shares = []
    for seed in range(200):
        off = cut_off(np.zeros(1000, int), groups, 200, seed)
        shares.append(np.mean(off >= 500))
    error = np.std(shares) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - 0.5) < 4 * error


def test_many_rows_in_groups_of_many_classes_are_cut_by_class_too():
    """Ten rows of ten random classes out of a hundred in each group."""
    random = np.random.default_rng(0)
    labels, groups = random.integers(0, 100, 20_000), np.repeat(np.arange(2_000), 10)
    off = cut_off(labels, groups, 4_000, 0)
    assert len(off) == 4_000
    at_random = np.flatnonzero(random.permutation(2_000)[groups] < 400)
    assert distance(labels, off) < distance(labels, at_random) / 2
