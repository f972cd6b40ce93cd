"""A Linear head solved to the end: what is chosen was tried on rows that were held out."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import leave_unverified
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, r2_score
from sklearn.preprocessing import StandardScaler
from torch import nn

from ftkit import HeadOnly, ImageClassification, RunResult, TextRegression, TextTagging, finetune
from ftkit.strategies.features import Features
from ftkit.strategies.heads import Head
from ftkit.strategies.linear_head import solve_head
from ftkit.strategies.penalty import PENALTIES, folds_of
from ftkit.tasks.inputs import Inputs

RECIPE_TASK = ImageClassification()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))


def head_of(D, C, bias=True):
    head = Head.__new__(Head)
    nn.Module.__init__(head)
    head.head, head.config = nn.Linear(D, C, bias=bias), SimpleNamespace(num_labels=C)
    return head


def rows_of(values, labels):
    values = torch.from_numpy(np.asarray(values)).float()
    return Features(values, np.arange(len(labels))[None], labels)


def inputs_of(values, labels, validation):
    """Return the inputs whose last rows are validation rows."""
    cut = len(labels) - validation
    train, held = rows_of(values[:cut], labels[:cut]), rows_of(values[cut:], labels[cut:])
    return Inputs(train, train, held, held)


def drawn(N, D, C, seed, size=1.0):
    """Return features, classes drawn by a true Linear head of them, and that head's weights."""
    draw = np.random.default_rng(seed)
    W = np.random.default_rng(99).normal(size=(C, D)) * size / np.sqrt(D)
    X = draw.normal(size=(N, D)).astype(np.float32)
    noise = draw.gumbel(size=(N, C))  # the largest of logits with it is a draw from their softmax
    return X, (X @ W.T + noise).argmax(1), W


def softmax(logits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@pytest.mark.parametrize(("N", "size"), [(120, 1.0), (120, 8.0), (600, 3.0)])
def test_no_penalty_of_the_grid_does_much_better_on_fresh_rows(tiny_recipe, N, size):
    D, C = 40, 3
    X, y, _ = drawn(N, D, C, seed=1, size=size)
    recipe = tiny_recipe.override({"strategy": HeadOnly()})
    found = solve_head(head_of(D, C), inputs_of(X, y, N // 10), recipe)
    assert PENALTIES[0] > found.penalty > PENALTIES[-1]
    fresh, truth, _ = drawn(20_000, D, C, seed=2, size=size)
    ours = log_loss(truth, softmax(fresh @ found.weight.T + found.bias))
    scaler = StandardScaler().fit(X)
    others = []
    for penalty in PENALTIES:
        other = LogisticRegression(C=1 / (penalty * N), max_iter=2000)
        other.fit(scaler.transform(X), y)
        others.append(log_loss(truth, other.predict_proba(scaler.transform(fresh))))
    assert ours < 1.1 * min(others) < 0.7 * max(others)


def test_the_figures_are_those_of_rows_that_the_head_had_not_seen(tiny_recipe):
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(200, 300)), draw.integers(0, 2, 200)  # nothing to be learned
    inputs = inputs_of(X, y, 20)
    weak = tiny_recipe.override({"strategy": HeadOnly(weight_decay=1e-4)})
    assert solve_head(head_of(300, 2), inputs, weak).figures is None
    found = solve_head(head_of(300, 2), inputs, tiny_recipe.override({"strategy": HeadOnly()}))
    assert found.rows == 200
    assert 0.35 < found.figures["accuracy"] < 0.65
    assert found.figures["loss"] == pytest.approx(np.log(2), abs=0.05)


def test_held_out_figures_agree_with_fresh_rows(tiny_recipe):
    held, fresh = [], []
    for seed in range(8):
        X, y, _ = drawn(300, 20, 4, seed, size=3.0)
        found = solve_head(head_of(20, 4), inputs_of(X, y, 30), tiny_recipe)
        held.append(found.figures["loss"])
        others, truth, _ = drawn(5000, 20, 4, seed=100 + seed, size=3.0)
        fresh.append(log_loss(truth, softmax(others @ found.weight.T + found.bias)))
    error = np.std(np.subtract(held, fresh), ddof=1) / np.sqrt(8)
    assert np.mean(held) == pytest.approx(np.mean(fresh), abs=4 * error)


@pytest.fixture
def tiny_recipe(tiny_recipe):
    return tiny_recipe.override({"strategy": HeadOnly()})


@pytest.mark.parametrize(("ratio", "size"), [(0.97, 1.0), (0.97, 2.0), (0.94, 2.0)])
def test_the_bias_suits_the_weights_where_classes_are_uneven(tiny_recipe, ratio, size):
    """Multiplied like the weights, that of a strong penalty named the most common class only: the
    losses of fresh rows were 10.8, 6.8 and 12.1, and 12 languages had an accuracy of .109."""
    N, D, C = 1200, 200, 12
    share = np.log(ratio ** np.arange(C))

    def draw(rows, seed):
        random = np.random.default_rng(seed)
        W = np.random.default_rng(9).normal(size=(C, D)) * size / np.sqrt(D)
        X = random.normal(size=(rows, D)).astype(np.float32)
        return X, (X @ W.T + share + random.gumbel(size=(rows, C))).argmax(1)

    X, y = draw(N, 1)
    recipe = tiny_recipe.override({"strategy": HeadOnly()})
    found = solve_head(head_of(D, C), inputs_of(X, y, N // 10), recipe)
    fresh, truth = draw(5000, 2)
    ours = log_loss(truth, softmax(fresh @ found.weight.T + found.bias))
    assert ours < log_loss(truth, np.tile(np.bincount(y) / N, (len(truth), 1)))
    assert ours == pytest.approx(found.figures["loss"], abs=0.1)


def test_without_refit_validation_rows_play_no_part(tiny_recipe):
    X, y, _ = drawn(200, 10, 3, seed=0, size=3.0)
    recipe = tiny_recipe.override({"strategy.refit": False})
    other = y.copy()
    other[180:] = (y[180:] + 1) % 3
    one, two = (
        solve_head(head_of(10, 3), inputs_of(X, labels, 20), recipe) for labels in (y, other)
    )
    assert one.rows == 180
    assert np.array_equal(one.weight, two.weight)
    with_them = tiny_recipe.override({"strategy.refit": True})
    one, two = (
        solve_head(head_of(10, 3), inputs_of(X, labels, 20), with_them) for labels in (y, other)
    )
    assert not np.allclose(one.weight, two.weight, atol=1e-3)


def test_tags_are_fitted_to_training_rows_alone(tiny_recipe):
    """Validation rows choose their thresholds."""
    X, y, _ = drawn(200, 10, 3, seed=0, size=3.0)
    tags = np.stack([y == 0, y != 1], 1).astype(np.float32)
    recipe = tiny_recipe.model_copy(update={"task": TextTagging()})
    head, inputs = head_of(10, 2), inputs_of(X, tags, 20)
    found = solve_head(head, inputs, recipe)
    assert (found.rows, found.figures) == (180, None)
    told = inputs.validation.values.numpy() @ found.weight.T + found.bias > 0
    assert f1_score(inputs.validation.labels, told, average="micro") > 0.75


def test_a_given_penalty_is_taken_and_validation_rows_judge(tiny_recipe):
    X, y, _ = drawn(200, 10, 3, seed=0, size=3.0)
    recipe = tiny_recipe.override({"strategy.weight_decay": 0.02})
    found = solve_head(head_of(10, 3), inputs_of(X, y, 20), recipe)
    assert (found.penalty, found.rows, found.figures) == (0.02, 180, None)
    scaler = StandardScaler().fit(X[:180])
    other = LogisticRegression(C=1 / (0.02 * 180), tol=1e-9, max_iter=10_000)
    other.fit(scaler.transform(X[:180]), y[:180])
    assert np.allclose(found.weight, other.coef_ / scaler.scale_, atol=1e-4)
    searched = recipe.override({"strategy.search": True})
    assert solve_head(head_of(10, 3), inputs_of(X, y, 20), searched).figures is not None


def test_where_all_held_out_rows_are_right_probabilities_stay_below_one(tiny_recipe):
    X = np.repeat(np.eye(3), 30, 0) + np.random.default_rng(0).normal(0, 0.01, (90, 3))
    y = np.repeat([0, 1, 2], 30)
    order = np.random.default_rng(1).permutation(90)
    found = solve_head(head_of(3, 3), inputs_of(X[order], y[order], 9), tiny_recipe)
    assert found.figures["accuracy"] == 1.0
    sure = softmax(X @ found.weight.T + found.bias).max(1)
    assert 0.9 < sure.mean() < 0.9999  # one in 92 is as sure as 90 right ones can say


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weights_and_smoothing_together_keep_the_common_class(tiny_recipe, smoothing):
    """The right answer of both classes is the nearer mean, whatever their shares."""
    draw = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 6])
    order = draw.permutation(306)
    X = draw.normal(size=(306, 5)) + 2.5 * y[:, None]
    wish = {"train.class_weights": "balanced", "train.label_smoothing": smoothing}
    found = solve_head(head_of(5, 2), inputs_of(X[order], y[order], 30), tiny_recipe.override(wish))
    truth = np.repeat([0, 1], 1000)
    fresh = draw.normal(size=(2000, 5)) + 2.5 * truth[:, None]
    told = (fresh @ found.weight.T + found.bias).argmax(1)
    assert balanced_accuracy_score(truth, told) > 0.97


def test_numbers_far_from_zero_are_learned_at_their_level(tiny_recipe):
    draw = np.random.default_rng(0)
    X = draw.normal(size=(300, 20))
    y = (38 + 9 * (X[:, 0] - X[:, 1]) / np.sqrt(2) + draw.normal(size=300)).astype(np.float32)
    recipe = tiny_recipe.model_copy(update={"task": TextRegression()})
    found = solve_head(head_of(20, 1), inputs_of(X, y, 30), recipe)
    assert found.figures["r2"] == pytest.approx(1 - 1 / 82, abs=0.02)
    assert found.bias[0] == pytest.approx(38, abs=0.3)
    assert found.weight[0, :2] == pytest.approx([9 / np.sqrt(2), -9 / np.sqrt(2)], abs=0.3)


def test_a_head_without_bias_is_judged_by_the_numbers_that_it_gives(tiny_recipe):
    """Features around zero cannot give the mean of 50, and the held-out figures have to say so."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(80, 5))
    y = 50 + X @ np.arange(5.0)
    recipe = tiny_recipe.model_copy(update={"task": TextRegression()})
    found = solve_head(head_of(5, 1, bias=False), inputs_of(X, y, 20), recipe)
    fresh = draw.normal(size=(2000, 5))
    truth = 50 + fresh @ np.arange(5.0)
    assert not found.bias.any()
    assert found.figures["r2"] < r2_score(truth, fresh @ found.weight.T) / 3 < -10
    X[:, 0] = 5.0  # a feature that does not move serves as the bias
    y = 50 + X[:, 1:] @ np.arange(1.0, 5.0)
    weak = recipe.override({"strategy.weight_decay": 1e-6})
    found = solve_head(head_of(5, 1, bias=False), inputs_of(X, y, 20), weak)
    assert found.weight[0] == pytest.approx([10, 1, 2, 3, 4], abs=1e-2)


def test_where_it_would_take_long_one_fold_is_held_out(tiny_recipe, monkeypatch):
    X, y, _ = drawn(300, 10, 3, seed=0, size=3.0)
    all_of_them = solve_head(head_of(10, 3), inputs_of(X, y, 30), tiny_recipe)
    monkeypatch.setattr("ftkit.strategies.penalty.DEAREST", 0)
    one = solve_head(head_of(10, 3), inputs_of(X, y, 30), tiny_recipe)
    assert (all_of_them.folds, one.folds) == (5, 1)
    assert one.rows == 300
    assert one.figures["accuracy"] * 60 == pytest.approx(round(one.figures["accuracy"] * 60))


def test_every_class_is_spread_over_the_folds():
    labels = np.repeat([0, 1, 2, 3], [50, 10, 3, 1])
    which = folds_of(RECIPE_TASK, labels, seed=0)
    for number, size in ((0, 10), (1, 2)):
        assert np.array_equal(np.bincount(which[labels == number], minlength=5), [size] * 5)
    assert len(set(which[labels == 2])) == 3
    assert which[labels == 3] == -1  # a head that lacks the class is not judged by it
    assert set(folds_of(RECIPE_TASK, np.array([0, 0, 1, 1]), 0)) == {0, 1}
    assert not folds_of(RECIPE_TASK, np.array([0, 1, 2]), 0).any()


def test_one_row_of_each_class_gives_a_head_that_validation_rows_judge(tiny_recipe):
    X, y, _ = drawn(40, 10, 3, seed=0, size=8.0)
    first = [int(np.flatnonzero(y == number)[0]) for number in range(3)]
    train = rows_of(X[first], y[first])
    held = rows_of(X[20:21], y[20:21])
    found = solve_head(head_of(10, 3), Inputs(train, train, held, held), tiny_recipe)
    assert found.figures is not None  # the row of validation makes a class of two
    three = Inputs(train, train, train, train)
    once = tiny_recipe.override({"strategy.refit": False})
    alone = solve_head(head_of(10, 3), three, once)
    assert (alone.rows, alone.figures) == (3, None)
    assert (X[first] @ alone.weight.T + alone.bias).argmax(1).tolist() == y[first].tolist()


def test_a_run_says_what_was_chosen_and_whose_figures_they_are(
    tiny_recipe, tmp_path, caplog, monkeypatch
):
    leave_unverified(monkeypatch)
    caplog.set_level(logging.INFO)
    result = finetune(tiny_recipe, tmp_path / "out")
    assert result.strategy["solver"] == "lbfgs"
    assert result.strategy["weight_decay"] in PENALTIES
    assert RunResult.read(tmp_path / "out") == result
    entries = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").open()]
    assert entries[-1]["validation_by"] == "cross-validation, 5 folds"
    assert result.validation["accuracy"] == entries[-1]["validation_accuracy"] == 1.0
    assert all("loss" in entry for entry in entries[:-1])
    assert "play no part (--set strategy.solver=adamw uses them)" in caplog.text
    assert "held out in 5 folds" in caplog.text
    assert finetune(tiny_recipe, tmp_path / "out", resume=True) == result
