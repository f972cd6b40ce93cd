"""Metrics against scikit-learn, their intervals against formula and simulation, torch's losses."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
)

from ftkit.metrics import softmax
from ftkit.metrics.classes import Classification, figures, mean_cross_entropy
from ftkit.metrics.classes import measure_classes as measure

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


def test_bootstrap_intervals_cover_the_truth_about_95_times_of_100():
    shares, recalls = np.array([0.6, 0.3, 0.1]), np.array([0.95, 0.8, 0.6])
    joint = np.full((3, 3), 0.0)
    for label in range(3):
        joint[label] = shares[label] * (1 - recalls[label]) / 2
        joint[label, label] = shares[label] * recalls[label]
    f1 = np.mean(2 * joint.diagonal() / (joint.sum(0) + joint.sum(1)))
    true, predicted = joint.sum(1), joint.sum(0)
    matthews = (joint.trace() - true @ predicted) / np.sqrt(
        (1 - true @ true) * (1 - predicted @ predicted)
    )
    truth = {"balanced_accuracy": recalls.mean(), "macro_f1": f1, "matthews": matthews}
    covered = dict.fromkeys(truth, 0)
    random = np.random.default_rng(1)
    for seed in range(100):
        cells = random.choice(9, 500, p=joint.ravel())
        measured = measure(cells // 3, cells % 3, seed)
        for name, value in truth.items():
            covered[name] += measured[name].low <= value <= measured[name].high
    assert all(90 <= times <= 99 for times in covered.values()), covered


def test_intervals_hold_the_value_and_are_the_same_for_the_same_seed():
    labels, predictions = draw("a class that never occurs")
    measured = measure(labels, predictions, seed=3)
    assert all(0 <= f.low <= f.value <= f.high <= 1 for f in measured.values())
    assert measure(labels, predictions, seed=3) == measured
    assert measure(labels, predictions, seed=4) != measured


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
