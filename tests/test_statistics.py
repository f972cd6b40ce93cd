"""Intervals cover as often as they say, tests raise false alarms as rarely as they say.

Of 200 experiments the share that covers is itself uncertain by 3 points, so what is cheap is done
20 times 200 times.
"""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from ftkit.compare.statistics import holm, interval, mcnemar, paired_bootstrap
from ftkit.metrics.classes import measure_classes

EXPERIMENTS = 200
MANY = 20 * EXPERIMENTS


def two_models(random, N, both=0.90, lost=0.03, won=0.03):
    """Two models on N examples: both right, only the first, only the second, or neither."""
    kind = random.choice(4, N, p=[both, lost, won, 1 - both - lost - won])
    return kind <= 1, (kind == 0) | (kind == 2)


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(1)


def test_the_interval_of_an_accuracy_covers_the_truth():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(EXPERIMENTS):
        found = (random.random(360) > 0.9).astype(int)
        accuracy = measure_classes(np.zeros(360, int), found)["accuracy"]
        covered.append(accuracy.low <= 0.9 <= accuracy.high)
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize(("N", "most"), [(360, 0.97), (90, 0.98)], ids=["n=360", "n=90"])
def test_the_interval_of_a_difference_covers_the_truth(N, most):
    """A little more often where few examples tell."""
    random = np.random.default_rng(1)
    pairs = [mcnemar(*two_models(random, N, lost=0.02, won=0.05)) for _ in range(MANY)]
    assert 0.93 <= np.mean([pair.low <= 0.03 <= pair.high for pair in pairs]) <= most


@pytest.mark.parametrize(("N", "least"), [(360, 0.03), (90, 0.01)], ids=["n=360", "n=90"])
def test_mcnemar_raises_one_false_alarm_in_twenty(N, least):
    """Fewer where few examples tell."""
    random = np.random.default_rng(2)
    alarms = [mcnemar(*two_models(random, N)).p < 0.05 for _ in range(MANY)]
    assert least <= np.mean(alarms) <= 0.07


def test_the_paired_bootstrap_covers_the_truth_and_raises_one_false_alarm_in_twenty():
    """Means over three seeds: every example is harder or easier for all of them."""
    random = np.random.default_rng(3)
    covered, alarms, single = [], [], []
    for seed in range(5 * EXPERIMENTS):
        ease = random.beta(8, 1, 200)  # true accuracy 8/9 of both
        first, second = (random.random((2, 3, 200)) < ease).mean(1)
        paired = paired_bootstrap(mean_of(first), mean_of(second), 200, seed, 400)
        low, high = interval(mean_of(first), 200, seed, 400)
        single.append(low <= 8 / 9 <= high)
        covered.append(paired.low <= 0 <= paired.high)
        alarms.append(paired.p < 0.05)
    assert 0.93 <= np.mean(single) <= 0.97
    assert 0.93 <= np.mean(covered) <= 0.97
    assert 0.03 <= np.mean(alarms) <= 0.07


def test_mcnemar_by_hand():
    """Ten examples tell, eight of them for the second: mid-p from Pascal's triangle."""
    first = np.array([True] * 90 + [True] * 2 + [False] * 8)
    second = np.array([True] * 90 + [False] * 2 + [True] * 8)
    paired = mcnemar(first, second)
    assert paired.difference == pytest.approx(0.06)
    assert paired.p == pytest.approx(2 * (1 + 10 + 45 / 2) / 2**10)
    exact = binomtest(2, 10).pvalue
    assert paired.p == pytest.approx(exact - 45 / 2**10)
    assert paired.low < 0 < paired.high
    assert "10 examples tell" in paired.method
    back = mcnemar(second, first)
    assert (back.difference, back.p) == (pytest.approx(-0.06), paired.p)


def test_models_that_answer_alike_cannot_be_told_apart():
    right = np.array([True, False, True])
    assert mcnemar(right, right).p == 1
    paired = paired_bootstrap(mean_of(right), mean_of(right), 3)
    assert (paired.p, paired.difference) == (1, 0)


def test_a_large_difference_is_found_by_both():
    random = np.random.default_rng(4)
    first, second = two_models(random, 500, both=0.7, lost=0.01, won=0.15)
    assert mcnemar(first, second).p < 1e-4
    paired = paired_bootstrap(mean_of(first), mean_of(second), 500)
    assert (paired.p, paired.at_most) == (2 / 2001, True)
    assert paired.low > 0


def test_a_bootstrapped_figure_that_is_no_mean():
    """F1 of two models, of which the second is the better by construction."""
    random = np.random.default_rng(5)
    truth = random.random(400) < 0.3
    worse, better = (np.where(random.random(400) < rate, ~truth, truth) for rate in (0.3, 0.05))

    def f1(found):
        hits = truth & found
        return lambda weights: 2 * (weights @ hits) / (weights @ (truth.astype(int) + found))

    paired = paired_bootstrap(f1(worse), f1(better), 400)
    assert paired.difference == pytest.approx(f1_score(truth, better) - f1_score(truth, worse))
    assert paired.p < 0.01


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
