"""The optimum of a Linear head is the optimum: scikit-learn finds the same."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch import nn

from ftkit import ImageClassification, TextRegression, TextTagging, Train, TrainingError
from ftkit.strategies.features import Features
from ftkit.strategies.lbfgs import QUIETEST, Examples, centred, minimise, shares_of
from ftkit.tasks import task_of

N, D, C = 300, 7, 3
CPU = torch.device("cpu")


@pytest.fixture
def rows():
    """Features that do not part the classes cleanly, of different sizes, and none is quiet."""
    draw = np.random.default_rng(0)
    labels = draw.choice(C, N, p=[0.6, 0.3, 0.1])
    values = draw.normal(size=(N, D)) * np.arange(2, D + 2) + 5 + labels[:, None]
    return Features(torch.from_numpy(values).float(), np.arange(N)[None], labels)


def solved(rows, penalty, task=None, settings=None, classes=C, smoothing=0.0, **more):
    """Return (weight, bias) for features as they are, the solution and its examples."""
    examples = Examples([rows], CPU, classes, centre=more.get("bias", True))
    task, settings = task or ImageClassification(), settings or Train()
    loss = task_of(task).row_loss(settings, torch.from_numpy(rows.labels), classes, smoothing)
    found = minimise(examples, loss, penalty, classes, **more)
    W = found.weight[0].numpy() * examples.scale.numpy()
    return W, found.bias[0].numpy() - W @ examples.mean.numpy(), found, examples


@pytest.mark.parametrize("weights", ["none", "balanced", (0.5, 1.0, 4.0)])
def test_the_optimum_is_that_of_scikit_learn_on_standardised_features(rows, weights):
    W, b, found, _ = solved(rows, 0.03, settings=Train(class_weights=weights))
    scaler = StandardScaler().fit(rows.values.double().numpy())
    # scikit-learn minimises C * sum of losses + |W|^2 / 2
    other = LogisticRegression(C=1 / (0.03 * N), tol=1e-9, max_iter=10_000)
    counts = np.bincount(rows.labels)
    share = {"none": np.ones(C), "balanced": N / (C * counts)}.get(weights, np.array(weights))
    X = scaler.transform(rows.values.double().numpy())
    other.fit(X, rows.labels, sample_weight=share[rows.labels])
    assert np.allclose(W, other.coef_ / scaler.scale_, atol=1e-4)
    expected = other.decision_function(X)
    logits = rows.values.double().numpy() @ W.T + b
    centred = logits - logits.mean(1, keepdims=True)  # a constant for all classes changes nothing
    assert np.allclose(centred, expected - expected.mean(1, keepdims=True), atol=1e-3)
    assert found.losses[-1] == pytest.approx(min(found.losses), abs=1e-9)


@pytest.mark.parametrize("bias", [True, False])
def test_nothing_is_left_to_descend_with_smoothing_views_and_no_bias(rows, bias, monkeypatch):
    monkeypatch.setattr("ftkit.strategies.lbfgs.ROWS", 64)
    monkeypatch.setattr(
        "ftkit.strategies.lbfgs.HELD_BYTES", 0
    )  # as for features that are too large to hold
    order = np.stack([np.arange(N), np.roll(np.arange(N), 7)])  # a second view of each example
    rows = Features(rows.values, order, rows.labels)
    given, free, _, examples = solved(rows, 0.03, smoothing=0.1, bias=bias)
    W = torch.tensor(given / examples.scale.numpy(), requires_grad=True)  # of standardised features
    X = rows.values[order.ravel()].double()
    middle = X.mean(0) if bias else torch.zeros(D)
    deviation = (X - middle).square().mean(0).sqrt()
    b = torch.tensor(free + given @ middle.numpy(), requires_grad=True)
    y = torch.from_numpy(np.tile(rows.labels, 2))
    logits = (X - middle) / deviation @ W.T + b
    (nn.functional.cross_entropy(logits, y, label_smoothing=0.1) + 0.015 * (W**2).sum()).backward()
    assert W.grad.abs().max() < 2e-5
    if bias:
        assert b.grad.abs().max() < 2e-5
    else:
        assert not free.any()


def test_a_quiet_feature_is_divided_by_a_share_of_the_mean_deviation(rows):
    values = rows.values * torch.tensor([1e-3, 0.1, 1, 1, 1, 1, 1])
    W, b, _, _ = solved(Features(values, rows.places, rows.labels), 0.03)
    X = values.double().numpy()
    deviation = X.std(0)
    scale = np.maximum(deviation, QUIETEST * deviation.mean())
    assert (scale > deviation).tolist() == [True, True] + 5 * [False]
    X = (X - X.mean(0)) / scale
    other = LogisticRegression(C=1 / (0.03 * N), tol=1e-9, max_iter=10_000).fit(X, rows.labels)
    assert np.allclose(W, other.coef_ / scale, atol=1e-4)
    expected = other.decision_function(X)
    logits = values.double().numpy() @ W.T + b
    gone = [v - v.mean(1, keepdims=True) for v in (logits, expected)]
    assert np.allclose(*gone, atol=1e-3)


def test_a_feature_that_was_nearly_always_zero_does_not_decide_a_row(rows):
    """After a ReLU a feature can be 1e-4 in one training row, 0 in all others, and 3 elsewhere."""
    draw = np.random.default_rng(3)
    spoken = draw.normal(size=(N, 4))
    numbers = (spoken.sum(1) + 0.1 * draw.normal(size=N)).astype(np.float32)
    silent = np.zeros((N, 1))
    silent[numbers.argmax()] = 1e-4
    values = torch.from_numpy(np.hstack([spoken, silent])).float()
    rows = Features(values, np.arange(N)[None], numbers)
    W, _, _, _ = solved(rows, 1e-3, task=TextRegression(), classes=1)
    assert abs(3 * W[0, 4]) < numbers.std()


def test_one_feature_of_huge_size_leaves_the_others_heard(rows):
    values = rows.values.repeat(1, 45)
    values[:, -1] *= 20  # some dimensions of a Transformer's states are like that
    deviation = values.double().std(0, correction=0)
    examples = Examples([Features(values, rows.places, rows.labels)], CPU, C)
    assert torch.allclose(examples.scale * deviation, torch.ones(315, dtype=torch.float64))


def test_numbers_are_solved_as_by_ridge_regression(rows):
    draw = np.random.default_rng(1)
    numbers = rows.values.numpy() @ draw.normal(size=D) + draw.normal(size=N)
    rows = Features(rows.values, rows.places, numbers.astype(np.float32))
    W, b, _, _ = solved(rows, 0.5, task=TextRegression(), classes=1)
    scaler = StandardScaler().fit(rows.values.double().numpy())
    # scikit-learn minimises the sum of squares + alpha |W|^2; ours is the mean + 0.25 |W|^2
    other = Ridge(alpha=0.25 * N).fit(
        scaler.transform(rows.values.double().numpy()), rows.labels.astype(np.float64)
    )
    assert np.allclose(W[0], other.coef_ / scaler.scale_, atol=1e-4)
    expected = other.intercept_ - (other.coef_ / scaler.scale_) @ scaler.mean_
    assert b[0] == pytest.approx(expected, abs=1e-3)


def test_tags_are_solved_as_one_logistic_regression_for_each(rows):
    tags = np.stack([rows.labels == 0, rows.labels > 1], 1).astype(np.float32)
    rows = Features(rows.values, rows.places, tags)
    W, _, _, _ = solved(rows, 0.04, task=TextTagging(), classes=2)
    scaler = StandardScaler().fit(rows.values.double().numpy())
    for tag in range(2):  # the mean over two tags halves each one's loss
        other = LogisticRegression(C=1 / (2 * 0.04 * N), tol=1e-9, max_iter=10_000)
        other.fit(scaler.transform(rows.values.double().numpy()), tags[:, tag])
        assert np.allclose(W[tag], other.coef_[0] / scaler.scale_, atol=1e-4)


def test_problems_side_by_side_have_the_optima_that_they_have_alone(rows):
    parts = np.ones((2, N))
    parts[0, ::3], parts[1, 1::3] = 0, 0
    examples = Examples([rows], CPU, 2 * C)
    loss = task_of(ImageClassification()).row_loss(Train(), torch.from_numpy(rows.labels), C)
    together = minimise(examples, loss, 0.03, C, parts)
    X = (rows.values.double() - examples.mean) * examples.scale
    for part in range(2):
        kept = parts[part].astype(bool)
        other = LogisticRegression(C=1 / (0.03 * kept.sum()), tol=1e-9, max_iter=10_000)
        other.fit(X[kept].numpy(), rows.labels[kept])
        assert np.allclose(together.weight[part].numpy(), other.coef_, atol=1e-3)
    scores = together.scores(examples)
    for part in range(2):
        assert torch.allclose(scores[:, part], X @ together.weight[part].T)


def test_the_bias_beside_scores_is_the_one_of_least_loss(rows):
    """Without scores it is the logarithm of the classes' shares, whatever the rows' weights."""
    examples = Examples([rows], CPU, C)
    loss = task_of(ImageClassification()).row_loss(Train(), torch.from_numpy(rows.labels), C)
    parts = np.ones((2, N))
    parts[1, ::3] = 0
    shares, none = shares_of(parts, examples), torch.zeros(N, 2, C, dtype=torch.float64)
    bias = centred(none, loss, shares, torch.zeros(2, C, dtype=torch.float64)).softmax(-1)
    for part in range(2):
        counts = np.bincount(rows.labels[parts[part].astype(bool)], minlength=C)
        assert np.allclose(bias[part].numpy(), counts / counts.sum(), atol=1e-4)
    found = minimise(examples, loss, 0.03, C)
    again = centred(found.scores(examples), loss, shares_of(None, examples), 0 * found.bias)
    gone = [bias - bias.mean(-1, keepdim=True) for bias in (again, found.bias)]
    assert torch.allclose(*gone, atol=1e-4)


def test_a_constant_column_gets_no_weight_whatever_rounding_makes_of_it(rows):
    values = torch.cat([rows.values, torch.full((N, 1), 0.1)], 1)
    values[::2, -1] += 1e-8  # below what float32 tells apart
    W, _, _, examples = solved(Features(values, rows.places, rows.labels), 0.03)
    assert examples.scale[-1] == 0
    assert not W[:, -1].any()


def test_the_rows_of_two_splits_are_one_problem(rows):
    first, second = np.arange(100)[None], np.arange(100, N)[None]
    splits = [
        Features(rows.values, first, rows.labels[:100]),
        Features(rows.values, second, rows.labels[100:]),
    ]
    examples = Examples(splits, CPU, C)
    assert np.array_equal(examples.labels, rows.labels)
    loss = task_of(ImageClassification()).row_loss(Train(), torch.from_numpy(examples.labels), C)
    both = minimise(examples, loss, 0.03, C).weight
    alone = minimise(Examples([rows], CPU, C), loss, 0.03, C).weight
    assert torch.allclose(both, alone, atol=1e-4)


def test_smoothing_does_not_make_weighted_classes_change_places():
    labels = np.repeat([0, 1], [20, 980])
    values = torch.from_numpy(labels).float()[:, None]  # which tells the classes apart
    rows = Features(values, np.arange(1000)[None], labels)
    for smoothing in (0.0, 0.1):
        balanced = Train(class_weights="balanced")
        W, b, _, _ = solved(rows, 1e-6, settings=balanced, classes=2, smoothing=smoothing)
        told = (values.numpy() @ W.T + b).argmax(1)
        assert np.array_equal(told, labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_and_labels_that_are_no_numbers_are_refused(rows, value):
    values, labels = rows.values.clone(), rows.labels.astype(float)
    values[3, 2], labels[5] = value, value
    with pytest.raises(TrainingError, match="features that are NaN or infinite"):
        solved(Features(values, rows.places, rows.labels), 0.1)
    numbers = Features(rows.values, rows.places, labels)
    with pytest.raises(TrainingError, match=r"the head's loss became (nan|inf).*the labels"):
        solved(numbers, 0.1, task=TextRegression(), classes=1)
