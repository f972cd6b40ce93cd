"""Paired tests give the p-values that others compute, and alarms are as rare as they say.

The shares of docs/comparing.md come from scripts/simulate_comparisons.py, which does the same more
often.
"""

from itertools import combinations, product

import numpy as np
import pytest
from answers import EXPERIMENTS, parts_of, share
from scipy.stats import binomtest, permutation_test, tukey_hsd
from scipy.stats import t as student

from ftkit.compare.statistics import critical, influence, paired_differences, step_down


def pairs_of(count):
    return np.array([*combinations(range(count), 2)])


def family_of(values, rate=True, **options):
    """Tests of all pairs of strategies, of values (L, S, N)."""
    values = np.asarray(values)
    N = values.shape[2]
    return paired_differences(parts_of(values), share, pairs_of(len(values)), N, rate, **options)


def of_counts(both, lost, won, neither=0):
    """Two single runs: right both, the first alone, the second alone, or neither."""
    first = [1] * both + [1] * lost + [0] * won + [0] * neither
    second = [1] * both + [0] * lost + [1] * won + [0] * neither
    return np.array([[first], [second]])


@pytest.mark.parametrize(("lost", "won"), [(0, 4), (0, 5), (2, 8), (3, 9), (1, 7)])
def test_of_two_single_runs_p_is_mcnemars_mid_p(lost, won):
    """Exact p less the probability of what was seen, from scipy's binomial distribution."""
    (paired,) = family_of(of_counts(300, lost, won, 20))
    exact = binomtest(lost, lost + won)
    seen = binomtest(lost, lost + won, alternative="less").pvalue
    rarer = binomtest(lost - 1, lost + won, alternative="less").pvalue if lost else 0
    assert paired.p == pytest.approx(exact.pvalue - (seen - rarer))
    assert paired.difference == pytest.approx((won - lost) / (320 + lost + won))
    assert f"{lost + won} rows tell" in paired.method


def test_where_many_rows_tell_the_drawn_exchanges_come_close_to_all_of_them():
    (paired,) = family_of(of_counts(300, 10, 24))
    seen = binomtest(10, 34).pvalue - (
        binomtest(10, 34, alternative="less").pvalue - binomtest(9, 34, alternative="less").pvalue
    )
    assert paired.p == pytest.approx(seen, abs=0.006)  # three standard errors of 10,000 draws


def test_of_means_over_seeds_p_is_that_of_scipys_exchange_of_samples():
    """Twelve rows, all exchanges: no two differences are equal, so half of two of 4,096 is left."""
    values = np.random.default_rng(0).normal(np.array([0, 0.5])[:, None, None], size=(2, 3, 12))
    (paired,) = family_of(values, rate=False)
    theirs = permutation_test(
        values.mean(1),
        lambda first, second: np.mean(second - first),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert paired.p == pytest.approx(theirs.pvalue - 1 / 2**12)
    assert paired.difference == pytest.approx(theirs.statistic)


def test_three_strategies_are_tested_together_as_by_hand():
    """Every exchange of eight rows, one toss for all pairs, counted in plain loops."""
    values = np.random.default_rng(1).normal(np.array([0, 0.3, 1.2])[:, None, None], size=(3, 1, 8))
    rows = [values[b, 0] - values[a, 0] for a, b in pairs_of(3)]
    scale = [np.sqrt((row**2).sum()) for row in rows]
    seen = [abs(row.sum()) / s for row, s in zip(rows, scale, strict=True)]
    drawn = [
        [abs((np.array(signs) * row).sum()) / s for row, s in zip(rows, scale, strict=True)]
        for signs in product((-1, 1), repeat=8)
    ]
    order, expected, least = np.argsort(seen)[::-1], {}, 0.0
    for rank, place in enumerate(order):
        largest = [max(one[other] for other in order[rank:]) for one in drawn]
        count = sum(
            0.5 if abs(one - seen[place]) < 1e-9 else float(one > seen[place]) for one in largest
        )
        least = max(least, count / 2**8)
        expected[place] = least
    found = [paired.p for paired in family_of(values, rate=False)]
    assert found == pytest.approx([expected[place] for place in range(3)])
    assert found[1] < found[0]  # the larger difference


def test_step_down_by_hand():
    """Four draws of two: 3 is above all, 2 is reached by one draw of its own and by one not."""
    drawn = np.array([[1.0, 1.0], [0.5, 2.5], [2.5, 0.5], [0.1, 0.2]])
    assert step_down(np.array([3.0, 2.0]), drawn, complete=True).tolist() == [0, 0.25]
    assert step_down(np.array([2.5, 2.0]), drawn, complete=True).tolist() == [0.25, 0.25]
    assert step_down(np.array([0.0, 0.0]), drawn).tolist() == [1, 1]


def test_strategies_that_answer_alike_cannot_be_told_apart_and_may_still_differ():
    right = np.array([[[1, 0, 1] * 30]] * 2)
    (paired,) = family_of(right)
    assert (paired.p, paired.difference) == (1, 0)
    # two rows more, one for each side: Bonett and Price 2012, by hand
    assert paired.high == pytest.approx(1.959964 * np.sqrt(2 / 92) / np.sqrt(92), rel=1e-4)
    assert paired.low == pytest.approx(-paired.high)


def test_the_interval_of_a_difference_of_rates_is_bonett_and_prices():
    (paired,) = family_of(of_counts(300, 12, 40))
    down, up = 13 / 354, 41 / 354
    reach = 1.959964 * np.sqrt((down + up - (up - down) ** 2) / 354)
    assert (paired.low, paired.high) == pytest.approx((up - down - reach, up - down + reach))


def test_an_interval_does_not_pass_no_difference_where_the_test_excludes_it_and_else_holds_it():
    """Among them the counts of which mid-p and interval say otherwise: 0:5, 1:7, 4:12 of 360."""
    for lost, won in product(range(6), range(14)):
        (paired,) = family_of(of_counts(360 - lost - won, lost, won))
        if paired.p < 0.05:
            assert paired.low >= 0 or paired.high <= 0
        else:
            assert paired.low <= 0 <= paired.high
        assert paired.low <= paired.difference <= paired.high


def test_intervals_of_three_means_are_about_as_wide_as_tukeys():
    """Of independent strategies of one variance that is the studentised range's width."""
    values = np.random.default_rng(2).normal(size=(3, 1, 2000))
    theirs = tukey_hsd(*values[:, 0]).confidence_interval()
    for (first, second), paired in zip(pairs_of(3), family_of(values, rate=False), strict=True):
        width = theirs.high[second, first] - theirs.low[second, first]
        assert paired.high - paired.low == pytest.approx(width, rel=0.04)


def test_of_one_pair_an_interval_of_numbers_is_students():
    values = np.random.default_rng(3).normal(size=(2, 1, 30))
    gaps = values[1, 0] - values[0, 0]
    (paired,) = family_of(values, rate=False)
    reach = student.ppf(0.975, 29) * gaps.std(ddof=1) / np.sqrt(30)
    assert paired.high == pytest.approx(gaps.mean() + reach)
    moves = influence(parts_of(values), share)
    assert critical(moves, pairs_of(2)) == pytest.approx(1.959964)
    np.testing.assert_allclose(moves[1], values[1, 0] - values[1, 0].mean(), atol=1e-12)


def test_of_equal_strategies_any_is_told_apart_in_one_comparison_of_twenty():
    random, alarms = np.random.default_rng(4), []
    for seed in range(2 * EXPERIMENTS):
        ease = random.beta(4.5, 0.5, 200)
        right = random.random((6, 1, 200)) < ease
        alarms.append(min(pair.p for pair in family_of(right, seed=seed, count=400)) < 0.05)
    assert 0.02 <= np.mean(alarms) <= 0.075


def test_the_intervals_of_all_differences_hold_together():
    random, holds = np.random.default_rng(5), []
    for seed in range(EXPERIMENTS):
        ease = random.beta(4.5, 0.5, 200)
        right = random.random((4, 3, 200)) < ease
        pairs = family_of(right, seed=seed, count=400)
        holds.append(all(pair.low <= 0 <= pair.high for pair in pairs))
    assert np.mean(holds) >= 0.92
