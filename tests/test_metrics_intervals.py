"""Intervals of shares against scipy, hand-worked cases and simulations of a known truth."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ftkit.tasks.metrics.intervals import effective_n, wilson


@pytest.mark.parametrize(("right", "n"), [(0, 5), (1, 1), (90, 100), (360, 360), (7, 9)])
def test_wilson_is_that_of_scipy(right, n):
    wanted = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right / n, n) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_rows_that_are_right_or_wrong_count_once_each():
    values = np.random.default_rng(0).random(300) < 0.9
    assert effective_n(values) == pytest.approx(300)
    assert effective_n(values, groups=np.arange(300)) == pytest.approx(300)


def test_copies_of_a_row_count_once():
    values = np.random.default_rng(0).random(400) < 0.8
    copies, groups = np.repeat(values, 5), np.repeat(np.arange(400), 5)
    assert effective_n(copies, groups) == pytest.approx(400, rel=0.01)
    assert effective_n(copies.reshape(-1, 5).sum(1), counts=np.full(400, 5)) == pytest.approx(
        400, rel=0.01
    )


def test_independent_seeds_make_a_row_worth_more():
    values = (np.random.default_rng(0).random((20_000, 3)) < 0.9).mean(1)
    assert effective_n(values, seeds=3) == pytest.approx(60_000, rel=0.03)
    assert effective_n(values) == 20_000  # never more than the answers there are


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_where_all_are_alike_each_group_counts_once(value):
    values, groups = np.full(90, value), np.repeat(np.arange(30), 3)
    assert effective_n(values) == 90
    assert effective_n(values, groups) == 30
    assert effective_n(values * 4, counts=np.full(90, 4)) == 90


def test_the_interval_of_a_mean_over_seeds_covers_high_accuracies():
    # three seeds that all have the same hard rows wrong: the percentile bootstrap covers .69 here
    random, covered = np.random.default_rng(0), 0
    for _ in range(2000):
        hard = random.random(40) < 0.04
        values = 1 - (hard[:, None] & (random.random((40, 3)) < 0.75)).mean(1)
        low, high = wilson(values.mean(), effective_n(values, seeds=3))
        covered += low <= 0.97 <= high
    assert 0.93 <= covered / 2000 <= 0.985
