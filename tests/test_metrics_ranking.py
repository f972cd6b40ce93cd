"""AUROC against scikit-learn, and its bootstrap against scikit-learn on the drawn rows."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ftkit import TextClassification
from ftkit.metrics import measure, score, softmax
from ftkit.metrics.ranking import auroc, class_areas, measure_auroc, one_hot


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
    measured = measure(TextClassification(), labels, logits)["auroc"]
    assert measured.value == pytest.approx(wanted)
    assert measured.low < measured.value < measured.high
    assert "bootstrap" in measured.method
    assert score(TextClassification(), labels, logits)["auroc"] == pytest.approx(wanted)


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
    assert "auroc" not in measure(TextClassification(), labels, logits)
    assert score(TextClassification(), labels, logits)["auroc"] == 0.5


def test_weights_count_an_example_several_times():
    labels, logits = draw(80, 3, digits=1)
    weights = np.random.default_rng(1).integers(0, 3, (5, 80)).astype(np.float32)
    areas = np.stack(list(class_areas(one_hot(labels, 3), logits, weights)))
    for number, weight in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(80), weight)
        for c in range(3):
            wanted = roc_auc_score(labels[rows] == c, logits[rows, c])
            assert areas[c, number] == pytest.approx(wanted, abs=1e-6)


def test_a_resample_without_a_class_counts_its_other_classes():
    labels = np.r_[np.zeros(30, int), np.ones(30, int), 2]
    _, logits = draw(61, 3)
    measured = measure_auroc(one_hot(labels, 3), logits)["auroc"]
    assert 0 <= measured.low <= measured.high <= 1


def test_the_interval_covers_the_truth_about_95_times_of_100():
    covered = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        labels = random.integers(0, 2, 200)
        scores = random.normal(labels, 1)[:, None]
        found = measure_auroc(labels[:, None] == 1, scores, seed)["auroc"]
        covered += found.low <= 0.7602499 <= found.high  # Phi(1 / sqrt 2)
    assert 89 <= covered <= 99
