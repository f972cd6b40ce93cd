"""Metrics against scikit-learn, their intervals against formula and simulation, torch's losses."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
)

from ftkit.tasks.metrics.classes import Classification, figures, mean_cross_entropy, softmax
from ftkit.tasks.metrics.classes import measure_classes as measure
from ftkit.tasks.metrics.intervals import measured_share
from ftkit.tasks.metrics.matrices import FIGURES, matrix_interval

CASES = {
    "three classes": (range(3), range(3)),
    "a class that never occurs": ((0, 2, 3), range(4)),
    "a class that is never predicted": (range(4), (0, 1, 3)),
    "a class that neither occurs nor is predicted": ((0, 4), (0, 2, 4)),
    "one true class": ((2,), range(4)),
    "nothing in common": ((0, 1), (2, 3)),
}


def draw(case, n=200, seed=0):
    """Labels and predictions out of these classes, half of the predictions right where they can."""
    random = np.random.default_rng(seed)
    occur, predicted = CASES[case]
    labels = random.choice(list(occur), n)
    predictions = random.choice(list(predicted), n)
    right = np.isin(labels, list(predicted)) & (random.random(n) < 0.5)
    return labels, np.where(right, labels, predictions)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:y_true contains a single label")
@pytest.mark.parametrize("case", CASES)
def test_figures_are_those_of_scikit_learn(case):
    labels, predictions = draw(case)
    expected = {
        "accuracy": accuracy_score(labels, predictions),
        "balanced_accuracy": balanced_accuracy_score(labels, predictions),
        "macro_f1": f1_score(labels, predictions, average="macro", zero_division=0),
        "matthews": matthews_corrcoef(labels, predictions),
    }
    measured = measure(labels, predictions)
    assert {name: figure.value for name, figure in measured.items()} == pytest.approx(expected)
    computed = Classification().compute(predictions=predictions, references=labels)
    assert computed == pytest.approx(expected)


def test_batches_add_up_to_the_whole():
    labels, predictions = draw("three classes")
    metric = Classification()
    for start in range(0, 200, 70):
        metric.add_batch(
            predictions=predictions[start : start + 70], references=labels[start : start + 70]
        )
    assert metric.compute()["accuracy"] == pytest.approx(accuracy_score(labels, predictions))


def test_figures_of_a_hand_worked_matrix():
    # rows are true: class 0 has 3 right of 4, class 1 has 1 right of 2, class 2 does not occur
    counts = np.array([[3, 1, 0], [0, 1, 1], [0, 0, 0]])
    found = figures(counts.sum(1), counts.sum(0), counts.diagonal())
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["macro_f1"] == pytest.approx((6 / 7 + 2 / 4 + 0) / 3)


def test_figures_of_many_matrices_at_once_are_those_of_each():
    counts = np.random.default_rng(0).integers(0, 5, (7, 4, 4))
    together = figures(counts.sum(2), counts.sum(1), np.diagonal(counts, axis1=1, axis2=2))
    for number, matrix in enumerate(counts):
        labels, predictions = (
            np.repeat(axis, matrix.ravel()) for axis in np.indices((4, 4)).reshape(2, -1)
        )
        assert together["matthews"][number] == pytest.approx(matthews_corrcoef(labels, predictions))
        assert together["macro_f1"][number] == pytest.approx(
            f1_score(labels, predictions, average="macro")
        )


@pytest.mark.parametrize(("right", "n"), [(0, 5), (1, 1), (90, 100), (360, 360), (7, 9)])
def test_accuracy_has_the_wilson_interval(right, n):
    labels = np.arange(n) % 2
    predictions = np.where(np.arange(n) < right, labels, 1 - labels)
    # Wilson 1927: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    z, p = 1.959963984540054, right / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    accuracy = measure(labels, predictions)["accuracy"]
    assert accuracy.value == pytest.approx(p)
    assert accuracy.low == pytest.approx(centre - half, abs=1e-9)
    assert accuracy.high == pytest.approx(centre + half, abs=1e-9)
    assert "Wilson" in accuracy.method


def joint_of(shares, recalls):
    """Shares (C, C) of true and predicted classes, errors spread over the other classes."""
    errors = np.asarray(shares) * (1 - np.eye(len(shares)))
    errors = errors / errors.sum(1, keepdims=True) * (shares * (1 - np.asarray(recalls)))[:, None]
    return errors + np.diag(shares * np.asarray(recalls))


def truth_of(joint):
    """The figures by their textbook formulas, of a known joint distribution."""
    true, predicted = joint.sum(1), joint.sum(0)
    return {
        "balanced_accuracy": (joint.diagonal() / true).mean(),
        "macro_f1": np.mean(2 * joint.diagonal() / (true + predicted)),
        "matthews": (joint.trace() - true @ predicted)
        / np.sqrt((1 - true @ true) * (1 - predicted @ predicted)),
    }


@pytest.mark.parametrize(
    ("shares", "recalls", "N"),
    [
        ((0.6, 0.3, 0.1), (0.95, 0.8, 0.6), 500),
        ((0.5, 0.5), (0.97, 0.97), 90),
        ((0.9, 0.06, 0.04), (0.9, 0.9, 0.9), 360),
        ((0.9, 0.06, 0.04), (0.97, 0.97, 0.97), 360),
    ],
)
def test_intervals_cover_the_truth_about_95_times_of_100(shares, recalls, N):
    joint = joint_of(np.array(shares), recalls)
    truth, C, random, times = truth_of(joint), len(shares), np.random.default_rng(1), 400
    covered = dict.fromkeys(FIGURES, 0)
    for _ in range(times):
        cells = random.choice(C * C, N, p=joint.ravel())
        counts = np.bincount(cells, minlength=C * C).reshape(C, C)
        values = figures(counts.sum(1), counts.sum(0), counts.diagonal())
        for name in FIGURES:
            low, high = matrix_interval(float(values[name]), name, counts, cells // C, cells % C)
            covered[name] += low <= truth[name] <= high
    shares_covered = {name: count / times for name, count in covered.items()}
    assert all(0.925 <= share <= 0.985 for share in shares_covered.values()), shares_covered


@pytest.mark.parametrize("C", [2, 3, 10])
def test_no_interval_is_empty_where_all_is_right(C):
    labels = np.arange(45) % C
    for name, figure in measure(labels, labels).items():
        assert figure.value == figure.high == 1
        # as one row of 45 could well be wrong, whose share is 0.022, and of its class's F1 more
        assert 0.7 < figure.low < 1 - 1 / 45, name


def test_derivatives_are_those_of_scikit_learn_by_differences():
    counts = np.array([[30, 4, 1], [3, 20, 2], [2, 5, 9]], float)
    scorers = {
        "balanced_accuracy": (balanced_accuracy_score, 1),
        "macro_f1": (lambda *a, **k: f1_score(*a, average="macro", **k), 1),
        "matthews": (matthews_corrcoef, 0.5),  # is on a scale from 0 to 1
    }
    rows, columns = np.indices((3, 3)).reshape(2, -1)
    for name, (derive, _) in FIGURES.items():
        scorer, unit = scorers[name]
        _, slopes = derive(counts / counts.sum())
        slopes = slopes - (counts * slopes).sum() / counts.sum()
        for cell in range(9):
            ends = []
            for step in (1e-4, -1e-4):
                weights = counts.ravel() + step * (np.arange(9) == cell)
                ends.append(scorer(rows, columns, sample_weight=weights))
            wanted = unit * (ends[0] - ends[1]) / 2e-4 * counts.sum()
            assert slopes.ravel()[cell] == pytest.approx(wanted, abs=1e-4)


def test_copies_of_a_row_do_not_narrow_an_interval():
    labels, predictions = draw("three classes", 300)
    once, groups = measure(labels, predictions), np.repeat(np.arange(300), 6)
    copies = np.repeat(labels, 6), np.repeat(predictions, 6)
    for name, figure in measure(*copies, groups).items():
        width = once[name].high - once[name].low
        assert figure.high - figure.low == pytest.approx(width, rel=0.05)
        assert "300 groups" in figure.method


def test_intervals_of_groups_cover_the_truth():
    # 60 positions of 1 to 8 rows; of one in ten, nine rows of ten are wrong, of the others none
    random, covered = np.random.default_rng(0), 0
    for _ in range(600):
        sizes = random.choice([1, 4, 8], 60)
        groups = np.repeat(np.arange(60), sizes)
        wrong = (random.random(60) < 0.1)[groups] & (random.random(len(groups)) < 0.9)
        found = measured_share(1.0 - wrong, groups=groups)
        covered += found.low <= 0.91 <= found.high
    assert 0.925 <= covered / 600 <= 0.98


def test_intervals_hold_the_value():
    labels, predictions = draw("a class that never occurs")
    assert all(0 <= f.low <= f.value <= f.high <= 1 for f in measure(labels, predictions).values())


def test_an_interval_of_four_times_the_rows_is_half_as_wide():
    labels, predictions = draw("three classes", 400)
    few, many = measure(labels, predictions), measure(np.tile(labels, 4), np.tile(predictions, 4))
    for name in few:
        ratio = (few[name].high - few[name].low) / (many[name].high - many[name].low)
        assert ratio == pytest.approx(2, rel=0.1)


def test_a_single_right_row_can_be_measured():
    measured = measure(np.array([1]), np.array([1]))
    assert measured.pop("matthews").value == 0  # one class: nothing is correlated
    assert {figure.value for figure in measured.values()} == {1.0}


@pytest.mark.parametrize("N", [1, 2, 10, 50])
def test_one_class_is_as_sure_as_its_accuracy_and_says_nothing_of_correlation(N):
    measured = measure(np.zeros(N, int), np.zeros(N, int))
    wanted = binomtest(N, N).proportion_ci(method="wilson").low
    assert measured["balanced_accuracy"].low == pytest.approx(wanted)
    assert measured["macro_f1"].low == pytest.approx(2 * wanted / (1 + wanted))  # precision is 1
    assert (measured["matthews"].low, measured["matthews"].high) == (-1, 1)
    assert measured["matthews"].method.startswith("none")


def test_one_class_with_errors():
    measured = measure(np.zeros(10, int), np.array([0] * 7 + [1] * 3))
    wanted = binomtest(7, 10).proportion_ci(method="wilson")
    found = measured["balanced_accuracy"]
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    # of the two classes one has no F1
    assert measured["macro_f1"].high == pytest.approx(wanted.high / (1 + wanted.high))


def test_a_row_of_each_class_is_as_sure_as_accuracy():
    labels = np.arange(100)
    measured = measure(labels, np.where(labels < 90, labels, (labels + 1) % 100))
    wanted = binomtest(90, 100).proportion_ci(method="wilson")
    for figure in measured.values():  # balanced accuracy is the same number here
        assert (figure.low, figure.high) == pytest.approx((wanted.low, wanted.high), abs=0.01)


def test_the_loss_of_no_example_is_that_of_guessing():
    nothing = mean_cross_entropy(np.zeros(0, int), np.zeros((0, 4)))
    assert nothing == pytest.approx(math.log(4))


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_softmax_and_cross_entropy_are_those_of_torch(scale):
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, scale, (50, 7)), random.integers(0, 7, 50)
    there = torch.from_numpy(logits)
    expected = torch.softmax(there, 1).numpy()
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-12, atol=1e-15)
    assert mean_cross_entropy(labels, logits) == pytest.approx(
        torch.nn.functional.cross_entropy(there, torch.from_numpy(labels)).item()
    )
