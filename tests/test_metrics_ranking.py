"""AUROC against scikit-learn, its interval against DeLong's and simulations of a known truth."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from ftkit import TextClassification
from ftkit.tasks import task_of
from ftkit.tasks.metrics.classes import softmax
from ftkit.tasks.metrics.ranking import auroc, curves, measure_auroc, one_hot


def draw(N=300, C=4, seed=0, digits=3):
    """Labels, and logits that know something; rounded, so that there are ties."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, C, N)
    return labels, (random.normal(0, 1, (N, C)) + one_hot(labels, C)).round(digits)


@pytest.mark.parametrize("C", [3, 4, 12])
@pytest.mark.parametrize("digits", [0, 3])
def test_auroc_is_that_of_scikit_learn(C, digits):
    labels, logits = draw(C=C, digits=digits)
    wanted = roc_auc_score(labels, softmax(logits), multi_class="ovr", average="macro")
    assert auroc(one_hot(labels, C), softmax(logits)) == pytest.approx(wanted)
    measured = task_of(TextClassification()).measure(labels, logits)["auroc"]
    assert measured.value == pytest.approx(wanted)
    assert measured.low < measured.value < measured.high
    assert task_of(TextClassification()).score(labels, logits)["auroc"] == pytest.approx(wanted)


def test_of_two_classes_it_is_that_of_the_second():
    labels, logits = draw(C=2)
    wanted = roc_auc_score(labels, softmax(logits)[:, 1])
    assert auroc(one_hot(labels, 2), softmax(logits)) == pytest.approx(wanted)


def test_classes_without_examples_are_left_out():
    labels, logits = draw(C=3)
    wider = np.c_[logits, np.full(len(labels), -1.0)]
    parts = [roc_auc_score(labels == c, wider[:, c]) for c in range(3)]
    assert auroc(one_hot(labels, 4), wider) == pytest.approx(np.mean(parts))


def test_where_only_one_class_occurs_there_is_nothing_to_measure():
    labels, logits = np.zeros(20, int), draw(20, 3)[1]
    assert np.isnan(auroc(one_hot(labels, 3), logits))
    assert measure_auroc(one_hot(labels, 3), logits) == {}
    assert "auroc" not in task_of(TextClassification()).measure(labels, logits)
    assert task_of(TextClassification()).score(labels, logits)["auroc"] == 0.5


def hand_worked():
    """Two classes: scores of three rows of the second, 3 2 2, and of four of the first, 2 1 0 0."""
    truth = np.array([1, 1, 1, 0, 0, 0, 0], bool)[:, None]
    return truth, np.array([3.0, 2, 2, 2, 1, 0, 0])[:, None]


def test_placements_of_a_hand_worked_case():
    (curve,) = curves(*hand_worked())
    assert curve.placements == pytest.approx([1, 7 / 8, 7 / 8, 2 / 3, 1, 1, 1])
    assert curve.area == pytest.approx(11 / 12)


def test_far_from_the_ends_the_interval_is_delongs_with_students_quantile():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 1500)
    scores = random.normal(0.4 * labels, 1)
    found = measure_auroc(labels[:, None] == 1, scores[:, None])["auroc"]
    own, others = scores[labels == 1], scores[labels == 0]
    above = (own[:, None] > others).mean(1), (own[:, None] > others).mean(0)
    error = np.sqrt(sum(np.var(part, ddof=1) / len(part) for part in above))
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.001)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.001)
    assert "DeLong" in found.method


@pytest.mark.parametrize("C", [2, 3, 10])
def test_an_area_of_one_has_a_width(C):
    labels = np.arange(60) % C
    truth = one_hot(labels, C)
    found = measure_auroc(truth, truth.astype(float))["auroc"]
    assert found.value == found.high == 1
    assert 0.85 < found.low < 0.99


def test_copies_of_a_row_do_not_narrow_the_interval():
    labels, logits = draw(200, 2)
    once = measure_auroc(one_hot(labels, 2), logits)["auroc"]
    copies = one_hot(np.repeat(labels, 5), 2), np.repeat(logits, 5, axis=0)
    found = measure_auroc(*copies, np.repeat(np.arange(200), 5))["auroc"]
    assert found.high - found.low == pytest.approx(once.high - once.low, rel=0.05)
    assert "200 groups" in found.method
    alone = measure_auroc(*copies)["auroc"]
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


@pytest.mark.parametrize(("area", "N"), [(0.76, 200), (0.97, 60), (0.99, 90)])
def test_the_interval_covers_the_truth_about_95_times_of_100(area, N):
    covered, apart = 0, np.sqrt(2) * norm.ppf(area)  # Phi(d / sqrt 2) is the area of two normals
    random = np.random.default_rng(0)
    for _ in range(400):
        labels = np.arange(N) % 2
        scores = random.normal(apart * labels, 1)[:, None]
        found = measure_auroc(labels[:, None] == 1, scores)["auroc"]
        covered += found.low <= area <= found.high
    assert 0.93 <= covered / 400 <= 0.99
