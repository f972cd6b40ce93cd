"""Intervals cover the truth; of seeds that answer alike they are those of one run.

The shares of docs/intervals.md come from scripts/simulate_intervals.py.
"""

from functools import partial

import numpy as np
import pytest
from answers import EXPERIMENTS, parts_of, share
from scipy.stats import binomtest
from scipy.stats import t as student

from ftkit.compare.intervals import by_row, interval
from ftkit.compare.row_statistics import RunStatistics, StrategyStatistics, bleu_of
from ftkit.recipe import Translation
from ftkit.tasks import task_of
from ftkit.tasks.metrics.classes import measure_classes
from ftkit.tasks.metrics.language import measured_perplexity
from ftkit.tasks.metrics.moments import r2_of
from ftkit.tasks.metrics.numbers import measure_numbers
from ftkit.tasks.metrics.tags import measured_f1
from ftkit.tasks.metrics.translation import Overlap, Translated


def test_the_interval_of_an_accuracy_covers_the_truth():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(EXPERIMENTS):
        found = (random.random(360) > 0.9).astype(int)
        accuracy = measure_classes(np.zeros(360, int), found)["accuracy"]
        covered.append(accuracy.low <= 0.9 <= accuracy.high)
    assert 0.93 <= np.mean(covered) <= 0.97


def note_on_seeds(right):
    """StrategyStatistics of right answers (S, N)."""
    index = np.arange(right.shape[1])
    answers = {seed: RunStatistics(index, part) for seed, part in enumerate(parts_of(right))}
    return StrategyStatistics(answers, share)


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.97, 0.99])
@pytest.mark.parametrize("n", [40, 90, 360, 2000])
@pytest.mark.parametrize("alike", [True, False], ids=["alike", "beta"])
def test_the_interval_of_a_mean_over_seeds_covers_the_truth(n, accuracy, alike):
    """Rows that all seeds have right or wrong alike, and rows of beta-distributed ease.

    Of 400 experiments a share of 0.95 has a standard error of 0.011, and the lowest of 32 such
    shares lies 3.3 of them below in one case of 65.
    """
    random, covered = np.random.default_rng([n, int(100 * accuracy)]), []
    for _ in range(2 * EXPERIMENTS):
        if alike:
            right = np.repeat(random.random((1, n)) < accuracy, 3, 0)
        else:
            right = random.random((3, n)) < random.beta(5 * accuracy, 5 * (1 - accuracy), n)
        low, high, _ = interval(note_on_seeds(right), "accuracy", float(right.mean()))
        covered.append(low <= accuracy <= high)
    assert np.mean(covered) >= 0.914


def test_seeds_that_answer_alike_are_as_sure_as_one():
    right = np.repeat(np.arange(90)[None] < 86, 3, 0)
    low, high, method = interval(note_on_seeds(right), "accuracy", 86 / 90)
    one = binomtest(86, 90).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((one.low, one.high))
    assert method == "Wilson score at an effective n of 90"


def test_all_right_is_no_certainty():
    low, high, _ = interval(note_on_seeds(np.ones((3, 40))), "accuracy", 1.0)
    one = binomtest(40, 40).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((one.low, one.high))
    # each row right in two of three seeds: no variance is seen
    right = (np.arange(40)[None] + np.arange(3)[:, None]) % 3 > 0
    low, high, _ = interval(note_on_seeds(right), "accuracy", 2 / 3)
    p, z = 2 / 3, 1.959964
    middle, reach = p + z**2 / 80, z * np.sqrt(p * (1 - p) / 40 + z**2 / 6400)
    expected = (middle - reach) / (1 + z**2 / 40), (middle + reach) / (1 + z**2 / 40)
    assert (low, high) == pytest.approx(expected)


def test_independent_seeds_are_as_sure_as_so_many_answers():
    """Korn and Graubard's effective number is that of all answers, within what chance gives."""
    right = np.random.default_rng(6).random((3, 5000)) < 0.8
    _, _, method = interval(note_on_seeds(right), "accuracy", float(right.mean()))
    assert float(method.rpartition(" ")[2]) == pytest.approx(15000, rel=0.05)


def test_groups_are_drawn_together():
    """Ten groups of twenty rows that stand or fall together tell as much as ten rows."""
    group = np.repeat(np.arange(10), 20)
    right = (group < 7)[None]
    answers = RunStatistics(np.arange(200), parts_of(right)[0], group)
    _, _, method = interval(StrategyStatistics({0: answers}, share), "accuracy", 0.7)
    few, many = student.ppf(0.975, 9), student.ppf(0.975, 199)
    # variances of 10 groups and of 200 rows, each with one degree of freedom less
    wanted = 10 * (many / few) ** 2 * (9 / 10) / (199 / 200)
    assert float(method.rpartition(" ")[2]) == pytest.approx(wanted, abs=0.5)
    sure = RunStatistics(np.arange(200), parts_of(np.ones((1, 200)))[0], group)
    assert interval(StrategyStatistics({0: sure}, share), "accuracy", 1.0)[2].endswith("n of 10")


def test_rows_of_which_only_some_have_a_group_stay_alone():
    parts = parts_of(np.ones((1, 4)))[0]
    alone = RunStatistics(np.array([0, 1, 2, 3]), parts)
    grouped = RunStatistics(np.array([4, 5, 6, 7]), parts, np.array([0, 0, 1, 1]))
    _, groups = by_row(StrategyStatistics({0: grouped, 1: alone}, share))
    assert groups[4:].tolist() == [0, 0, 1, 1]
    assert len({*groups[:4].tolist()} - {0, 1}) == 4


def copies(parts, figure, group=None, seeds=2):
    """What one strategy made of rows in seeds that all answer alike."""
    index = np.arange(len(parts))
    return StrategyStatistics(
        {seed: RunStatistics(index, parts, group) for seed in range(seeds)}, figure
    )


def test_names_of_seeds_that_answer_alike_have_the_interval_of_one():
    random = np.random.default_rng(0)
    there = random.integers(20, 60, 20).astype(float)
    hits = there - random.integers(0, 3, 20)
    parts = np.stack([2 * hits, 2 * there], 1)
    for group in (None, np.arange(20) // 2):
        one = measured_f1(hits, there, there, group)
        low, high, _ = interval(copies(parts, share, group), "f1", one.value)
        assert (low, high) == pytest.approx((one.low, one.high), abs=1e-3)


@pytest.mark.parametrize("group", [None, np.arange(60) // 3], ids=["rows", "groups"])
def test_seeds_that_answer_alike_have_the_interval_of_one(group):
    random = np.random.default_rng(1)
    labels = random.normal(size=60) + 1.7e9
    told = labels + random.normal(0, 0.3, 60)
    one = measure_numbers(labels, told, groups=group)["r2"]
    low, high, method = interval(copies(np.stack([labels, told], 1), r2_of, group), "r2", one.value)
    assert (low, high) == pytest.approx((one.low, one.high), rel=1e-4)
    assert method == one.method

    tokens = random.integers(1, 40, 60).astype(float)
    nats = tokens * random.gamma(4, 0.4, 60)
    value = float(np.exp(nats.sum() / tokens.sum()))
    one = measured_perplexity(value, nats, tokens, 0, group)
    texts = copies(np.stack([nats, tokens], 1), lambda sums: np.exp(share(sums)), group)
    low, high, method = interval(texts, "perplexity", value)
    assert (low, high) == pytest.approx((one.low, one.high), rel=1e-4)
    assert method == one.method


def test_bleu_of_seeds_that_translate_alike_stays_on_its_scale():
    references = np.array([f"the cat number {n} sat on the mat" for n in range(12)], object)
    told = tuple(references[:8]) + ("the dog sat on the mat",) * 4
    one = task_of(Translation()).measure(references, Translated(np.ones(12), np.ones(12), told))[
        "bleu"
    ]
    overlap = Overlap()
    parts = overlap.bleu_counts(list(told), list(references))
    found = copies(parts.astype(float), partial(bleu_of, overlap))
    low, high, _ = interval(found, "bleu", one.value)
    assert (low, high) == pytest.approx((one.low, one.high), rel=1e-6)
    assert 0 < low < high < 100


def test_independent_seeds_narrow_the_interval_of_names():
    """Three independent answers to each of 200 texts of five names are three times the names."""
    random = np.random.default_rng(2)
    hits = random.binomial(5, 0.8, (3, 200)).astype(float)
    parts = np.stack([2 * hits, np.full((3, 200), 10.0)], -1)
    index = np.arange(200)
    worth = []
    for seeds in (1, 3):
        found = StrategyStatistics(
            {seed: RunStatistics(index, parts[seed]) for seed in range(seeds)}, share
        )
        value = float(share(parts[:seeds].sum(1)).mean())
        worth.append(float(interval(found, "f1", value)[2].rpartition(" ")[2]))
    # a missed name counts twice here, told and there, of the 1.2 times five of a text
    assert worth[0] == pytest.approx(1200 * 0.6, rel=0.2)
    assert worth[1] / worth[0] == pytest.approx(3, rel=0.3)


def test_r_squared_of_few_rows_is_covered():
    """Labels are skewed, the model explains four fifths of them."""
    random, covered = np.random.default_rng(7), []

    def r2(sums):
        errors, squares, total, count = np.moveaxis(sums, -1, 0)
        return 1 - errors / (squares - total**2 / count)

    for _ in range(2 * EXPERIMENTS):
        y = random.gamma(2, 1, 30)
        p = y + random.normal(size=(2, 30)) * np.sqrt(0.4)  # variance 2, of which 0.4 is left
        parts = np.stack([(y - p) ** 2, *np.broadcast_arrays(y * y, y, 1.0, p)[:3]], -1)
        answers = {seed: RunStatistics(np.arange(30), part) for seed, part in enumerate(parts)}
        value = float(r2(parts.sum(1)).mean())
        low, high, _ = interval(StrategyStatistics(answers, r2), "r2", value)
        covered.append(low <= 0.8 <= high)
    assert np.mean(covered) >= 0.91
