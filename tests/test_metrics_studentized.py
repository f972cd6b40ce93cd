"""The bootstrap-t's interval next to Student's, and where it has none."""

import numpy as np
import pytest
from scipy.stats import t

from ftkit.tasks.metrics.studentized import studentized


def parts_of(values):
    """Return (N, 2): each value, and that it counts once."""
    return np.stack([values, np.ones_like(values)], axis=1)


def mean(sums):
    return sums[:, 0] / sums[:, 1]


def test_the_interval_of_a_mean_of_normal_values_is_near_students():
    values = np.random.default_rng(0).normal(5, 2, 100)
    low, high = studentized(parts_of(values), mean)
    wanted = t.interval(0.95, 99, values.mean(), values.std(ddof=1) / 10)
    assert (low, high) == pytest.approx(wanted, abs=0.15 * (wanted[1] - wanted[0]))


def test_of_skewed_values_it_reaches_further_to_the_long_side():
    values = np.random.default_rng(0).exponential(1, 30)
    low, high = studentized(parts_of(values), mean)
    assert high - values.mean() > values.mean() - low > 0


@pytest.mark.parametrize(("groups", "there"), [(9, False), (10, True)])
def test_nine_groups_are_too_few_and_ten_are_not(groups, there):
    values = np.random.default_rng(0).normal(5, 2, 40)
    found = studentized(parts_of(values), mean, groups=np.arange(40) % groups)
    assert (found is not None) is there


def test_rows_that_are_all_alike_have_no_interval():
    assert studentized(parts_of(np.full(40, 3.0)), mean) is None


def test_copies_of_rows_in_one_group_add_nothing():
    values = np.random.default_rng(0).normal(5, 2, 30)
    copies = parts_of(np.repeat(values, 4))
    found = studentized(copies, mean, groups=np.repeat(np.arange(30), 4))
    assert found == pytest.approx(studentized(parts_of(values), mean))
