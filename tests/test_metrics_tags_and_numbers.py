"""Figures of tagged texts and of told numbers against scikit-learn and scipy."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from ftkit import TabularRegression, TextRegression, TextTagging
from ftkit.tasks import task_of
from ftkit.tasks.metrics.numbers import numeric_figures


def tagged(N=300, C=5, seed=0):
    """Labels (N, C) of 0 and 1, and logits that know something of them."""
    random = np.random.default_rng(seed)
    labels = (random.random((N, C)) < np.linspace(0.1, 0.6, C)).astype(np.float32)
    return labels, random.normal(2 * labels - 1, 1.5).astype(np.float32)


def test_figures_of_tags_are_those_of_scikit_learn():
    labels, logits = tagged()
    found = logits > 0
    wanted = {
        "micro_f1": f1_score(labels, found, average="micro"),
        "macro_f1": f1_score(labels, found, average="macro"),
        "auroc": roc_auc_score(labels, logits, average="macro"),
        "accuracy": accuracy_score(labels, found),
    }
    measured = task_of(TextTagging()).measure(labels, logits)
    assert {name: figure.value for name, figure in measured.items()} == pytest.approx(wanted)
    assert list(measured) == list(TextTagging.figures)
    assert all(figure.low < figure.value < figure.high for figure in measured.values())
    scored = task_of(TextTagging()).score(labels, logits)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits), torch.from_numpy(labels)
    )
    assert scored.pop("loss") == pytest.approx(loss.item(), rel=1e-6)
    assert scored == pytest.approx(wanted)


def test_a_class_that_never_occurs_and_is_never_told_does_not_count():
    labels, logits = tagged()
    wider = np.c_[labels, np.zeros(len(labels))], np.c_[logits, np.full(len(labels), -1)]
    for name in ("micro_f1", "macro_f1", "auroc"):
        assert task_of(TextTagging()).measure(*wider)[name].value == pytest.approx(
            task_of(TextTagging()).measure(labels, logits)[name].value
        )


def test_rows_without_any_tag_can_be_measured():
    measured = task_of(TextTagging()).measure(np.zeros((4, 3)), np.full((4, 3), -1.0))
    assert measured["accuracy"].value == 1
    assert measured["micro_f1"].value == 0
    assert "auroc" not in measured


def test_the_interval_of_micro_f1_covers_the_truth():
    # of independent labels: hits .4, misses .1, false .1 of each cell
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        cells = random.choice(4, (150, 3), p=[0.4, 0.1, 0.1, 0.4])
        labels, logits = (cells < 2).astype(float), np.where(cells % 2 == 0, 1.0, -1.0)
        logits = np.where(cells == 3, -1.0, logits)
        found = task_of(TextTagging()).measure(labels, logits, seed)["micro_f1"]
        covered += found.low <= 0.8 <= found.high
    assert covered >= 52


def numbers(N=200, seed=0):
    random = np.random.default_rng(seed)
    labels = random.normal(0, 2, N).round(1)  # with ties
    return labels, (labels + random.normal(0, 1, N)).round(1)


def test_figures_of_numbers_are_those_of_scipy_and_scikit_learn():
    labels, predictions = numbers()
    wanted = {
        "pearson": stats.pearsonr(labels, predictions).statistic,
        "spearman": stats.spearmanr(labels, predictions).statistic,
        "r2": r2_score(labels, predictions),
        "rmse": root_mean_squared_error(labels, predictions),
        "mae": mean_absolute_error(labels, predictions),
    }
    measured = task_of(TextRegression()).measure(labels, predictions[:, None])
    assert list(measured) == list(TextRegression.figures)
    assert {name: figure.value for name, figure in measured.items()} == pytest.approx(wanted)
    assert all(figure.low < figure.value < figure.high for figure in measured.values())
    table = task_of(TabularRegression()).measure(labels, predictions[:, None])
    assert list(table) == ["r2", "rmse", "mae"]


def test_a_weight_counts_an_example_several_times():
    labels, predictions = numbers()
    weights = np.random.default_rng(1).integers(0, 3, len(labels))
    found = numeric_figures(weights.astype(float), predictions, labels)
    again = np.repeat(labels, weights), np.repeat(predictions, weights)
    assert found["spearman"] == pytest.approx(stats.spearmanr(*again).statistic)
    assert found["pearson"] == pytest.approx(stats.pearsonr(*again).statistic)
    assert found["r2"] == pytest.approx(r2_score(*again))


def test_a_constant_correlates_with_nothing():
    labels, _ = numbers()
    measured = task_of(TextRegression()).measure(labels, np.ones((len(labels), 1)))
    assert measured["pearson"].value == measured["spearman"].value == 0


def test_numbers_that_are_told_exactly_have_intervals_with_a_width():
    labels, _ = numbers(60)
    measured = task_of(TextRegression()).measure(labels, labels[:, None])
    for name in ("r2", "pearson", "spearman"):
        assert 0.9 < measured[name].low < measured[name].value == measured[name].high == 1
    for name in ("rmse", "mae"):
        assert measured[name].low == measured[name].value == 0 < measured[name].high < 1


def test_tags_that_are_all_right_have_intervals_with_a_width():
    labels, _ = tagged(60)
    for name, figure in task_of(TextTagging()).measure(labels, 2 * labels - 1).items():
        assert 0.8 < figure.low < figure.value == figure.high == 1, name


def test_copies_of_a_number_do_not_narrow_its_interval():
    labels, predictions = numbers(100)
    once = task_of(TabularRegression()).measure(labels, predictions[:, None])
    copies = np.repeat(labels, 4), np.repeat(predictions, 4)[:, None]
    found = task_of(TabularRegression()).measure(*copies, 0, np.repeat(np.arange(100), 4))
    for name, figure in found.items():
        width = once[name].high - once[name].low
        assert figure.high - figure.low == pytest.approx(width, rel=0.1)


def test_pearsons_interval_is_fishers_for_normal_numbers():
    random = np.random.default_rng(0)
    labels = random.normal(0, 1, 2000)
    predictions = 0.8 * labels + 0.6 * random.normal(0, 1, 2000)
    found = task_of(TextRegression()).measure(labels, predictions[:, None])["pearson"]
    wanted = stats.pearsonr(labels, predictions).confidence_interval()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.004)
