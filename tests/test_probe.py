"""A better head for free: the optimum is the optimum, and what is chosen was tried honestly."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from ftkit import HeadOnly, ModelError, RecipeError, RunResult, finetune, runtime
from ftkit.adapt import adapt
from ftkit.features import Features, cache_features
from ftkit.heads import Head
from ftkit.probe import choose, measured, minimise, train_head
from ftkit.run import make_ready
from ftkit.tasks import Inputs
from ftkit.training import fit

N, D, C = 300, 7, 3


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def problem(tiny_recipe):
    """A head, features that do not part the classes cleanly, and the recipe."""
    draw = np.random.default_rng(0)
    labels = draw.choice(C, N, p=[0.6, 0.3, 0.1])
    values = draw.normal(size=(N, D)) * np.arange(1, D + 1) + 5 + labels[:, None]
    rows = Features(torch.from_numpy(values).float(), np.arange(N)[None], labels)
    module = SimpleNamespace(head=nn.Linear(D, C), config=SimpleNamespace(num_labels=C))
    head = Head.__new__(Head)
    nn.Module.__init__(head)
    head.head, head.config = module.head, module.config
    recipe = tiny_recipe.override(
        {"strategy": HeadOnly(solver="lbfgs"), "train.weight_decay": 0.03}
    )
    return head, Inputs(rows, rows, rows, rows), recipe


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_optimum_is_that_of_scikit_learn(problem, weights):
    head, inputs, recipe = problem
    found = minimise(head, inputs, recipe.override({"train.class_weights": weights}))
    rows = inputs.train
    # scikit-learn minimises C * sum of losses + |W|^2 / 2
    other = LogisticRegression(C=1 / (0.03 * N), tol=1e-9, max_iter=10_000)
    share = 1 if weights == "none" else N / (C * np.bincount(rows.labels))[rows.labels]
    other.fit(rows.values.double(), rows.labels, sample_weight=np.ones(N) * share)
    assert np.allclose(found.weight, other.coef_, atol=1e-3)
    centred = found.bias - found.bias.mean()  # a constant for all classes changes nothing
    assert np.allclose(centred, other.intercept_ - other.intercept_.mean(), atol=1e-2)
    assert found.losses[-1] == pytest.approx(min(found.losses), abs=1e-9)


def test_smoothing_does_not_make_weighted_classes_change_places(problem):
    head, _, recipe = problem
    labels = np.repeat([0, 1], [20, 980])
    head.head, head.config.num_labels = nn.Linear(1, 2), 2
    values = torch.from_numpy(labels).float()[:, None]  # which tells the classes apart
    rows = Features(values, np.arange(1000)[None], labels)
    weighted = recipe.override({"train.class_weights": "balanced", "train.weight_decay": 1e-6})
    recalls = []
    for smoothing in (0.0, 0.1):
        smoothed = weighted.override({"train.label_smoothing": smoothing})
        found = minimise(head, Inputs(rows, rows, rows, rows), smoothed)
        told = (values.numpy() @ found.weight.T + found.bias).argmax(1)
        recalls.append([(told[labels == one] == one).mean() for one in (0, 1)])
    assert recalls == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("bias", [True, False])
def test_nothing_is_left_to_descend_with_smoothing_views_and_no_bias(problem, bias, monkeypatch):
    monkeypatch.setattr("ftkit.probe.ROWS", 64)
    monkeypatch.setattr("ftkit.probe.HELD_BYTES", 0)  # as for features that are too large to hold
    head, inputs, recipe = problem
    head.head = nn.Linear(D, C, bias=bias)
    order = np.stack([np.arange(N), np.roll(np.arange(N), 7)])  # a second view of each example
    rows = Features(inputs.train.values, order, inputs.train.labels)
    smooth = recipe.override({"train.label_smoothing": 0.1})
    found = minimise(head, Inputs(rows, rows, rows, rows), smooth)
    W = torch.tensor(found.weight, requires_grad=True)
    b = torch.tensor(found.bias, requires_grad=True)
    X, y = rows.values[order.ravel()].double(), torch.from_numpy(np.tile(rows.labels, 2))
    loss = nn.functional.cross_entropy(X @ W.T + b, y, label_smoothing=0.1) + 0.015 * (W**2).sum()
    loss.backward()
    assert float(loss) == pytest.approx(found.losses[-1], abs=1e-9)
    assert W.grad.abs().max() < 1e-3
    assert bias == bool(found.bias.any())
    if bias:
        assert b.grad.abs().max() < 1e-4


def cached(recipe):
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    return Head(ready.model), cache_features(ready.model, ready.inputs, recipe, machine), machine


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train.schedule": "linear", "train.class_weights": "balanced", "train.best_by": "loss"},
        {"train.max_steps": 9, "train.label_smoothing": 0.1, "strategy.views": 2},
    ],
)
def test_trying_settings_gives_what_training_with_them_gives(tiny_recipe, changes, tmp_path):
    strategy = HeadOnly(learning_rate=3e-2)
    recipe = tiny_recipe.override({"strategy": strategy, "train.epochs": 3}).override(changes)
    head, inputs, machine = cached(recipe)
    tried = train_head(copy.deepcopy(head), inputs, recipe)
    fit(head, inputs, recipe, machine, tmp_path)
    assert measured(head, inputs, recipe) == pytest.approx(tried, rel=1e-4)


def test_the_better_of_two_settings_is_chosen_and_the_head_left_alone(tiny_recipe):
    slow = tiny_recipe.override({"strategy": HeadOnly(learning_rate=1e-3, search=True)})
    head, inputs, machine = cached(slow.override({"train.best_by": "loss"}))
    before = copy.deepcopy(head.state_dict())
    chosen = choose(head, inputs, slow, machine)
    assert chosen.strategy.learning_rate == pytest.approx(1e-2)  # all of the grid are too small
    assert all(torch.equal(before[name], value) for name, value in head.state_dict().items())
    figures = [train_head(copy.deepcopy(head), inputs, each)["loss"] for each in (slow, chosen)]
    assert figures[1] < figures[0]


def test_a_run_tells_what_was_chosen_and_is_an_ordinary_one(tiny_recipe, tmp_path):
    strategy = HeadOnly(solver="lbfgs", search=True)
    recipe = tiny_recipe.override({"strategy": strategy})
    result = finetune(recipe, tmp_path / "out")
    assert result.strategy["weight_decay"] in {1e-4, 1e-3, 1e-2, 1e-1}
    assert RunResult.read(tmp_path / "out") == result
    entries = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").open()]
    assert entries[0]["loss"] == pytest.approx(np.log(3), abs=0.05)  # it begins at zero weights
    assert entries[-2]["loss"] < entries[0]["loss"]
    assert entries[-1]["validation_accuracy"] == 1.0
    assert finetune(recipe, tmp_path / "out", resume=True) == result


def test_lbfgs_refuses_a_head_of_several_layers(tiny_recipe):
    model = make_ready(tiny_recipe, runtime.start(0)).model
    model.classifier = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    with pytest.raises(ModelError, match=r"one Linear layer.*Sequential.*solver=adamw"):
        adapt(HeadOnly(solver="lbfgs"), model)
    assert adapt(HeadOnly(), model) is model


@pytest.mark.parametrize("wish", [{"search": True}, {"solver": "lbfgs"}, {"views": 2}])
def test_what_needs_the_cache_is_refused_without_it(wish):
    with pytest.raises(RecipeError, match="needs cached features"):
        HeadOnly(cache=False, **wish)
