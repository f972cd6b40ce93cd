"""Heads on cached features: what is chosen was tried honestly."""

import copy
import logging

import pytest
import torch
from torch import nn

from ftkit import Full, HeadOnly, Lpft, ModelError, RecipeError
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.strategies import strategy_of
from ftkit.strategies.features import cache_features
from ftkit.strategies.heads import Head
from ftkit.strategies.probe import search_settings, solver_of, train_head, validation_figures
from ftkit.training.fit import fit
from ftkit.training.fitted import Session


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))


def cached(recipe):
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    return Head(ready.model), cache_features(ready.model, ready.inputs, recipe, machine), machine


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train.schedule": "linear", "train.class_weights": "balanced"},
        {"train.max_steps": 9, "train.label_smoothing": 0.1, "strategy.views": 2},
    ],
)
def test_trying_settings_gives_what_training_with_them_gives(tiny_recipe, changes, tmp_path):
    strategy = HeadOnly(learning_rate=3e-2, solver="adamw")
    wish = {"strategy": strategy, "train.epochs": 3, "train.best_by": "loss"}
    recipe = tiny_recipe.override(wish).override(changes)
    head, inputs, machine = cached(recipe)
    tried = train_head(copy.deepcopy(head), inputs, recipe)
    fit(head, strategy_of(strategy), inputs, recipe, Session(machine, tmp_path))
    assert validation_figures(head, inputs, recipe) == pytest.approx(tried, rel=1e-4)


def test_the_better_of_two_settings_is_chosen_and_the_head_left_alone(tiny_recipe):
    slow = tiny_recipe.override(
        {"strategy": HeadOnly(learning_rate=1e-3, search=True, solver="adamw")}
    )
    head, inputs, _ = cached(slow.override({"train.best_by": "loss"}))
    before = copy.deepcopy(head.state_dict())
    chosen = search_settings(head, inputs, slow)
    assert chosen.strategy.learning_rate == pytest.approx(1e-2)  # all of the grid are too small
    assert all(torch.equal(before[name], value) for name, value in head.state_dict().items())
    figures = [train_head(copy.deepcopy(head), inputs, each)["loss"] for each in (slow, chosen)]
    assert figures[1] < figures[0]


def test_lbfgs_refuses_a_head_of_several_layers(tiny_recipe):
    model = make_ready(tiny_recipe, runtime.start(0)).model
    model.classifier = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    with pytest.raises(ModelError, match=r"one Linear layer.*Sequential.*strategy.solver=adamw"):
        strategy_of(HeadOnly(solver="lbfgs")).adapt(model)
    assert strategy_of(HeadOnly()).adapt(model) is model
    assert strategy_of(Lpft()).adapt(model) is model


def test_the_solver_is_told_by_the_head(tiny_recipe, caplog):
    caplog.set_level(logging.INFO)
    model = make_ready(tiny_recipe, runtime.start(0)).model
    assert solver_of(HeadOnly(), Head(model)) == "lbfgs"
    assert solver_of(HeadOnly(solver="adamw"), Head(model)) == "adamw"
    model.classifier = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    assert solver_of(HeadOnly(), Head(model)) == "adamw"
    assert "several layers, trained by AdamW" in caplog.text


def long_enough(recipe, rows):
    return strategy_of(recipe.strategy).long_enough(recipe, rows)


def test_a_head_takes_at_least_so_many_steps(tiny_recipe):
    recipe = tiny_recipe.override({"strategy": HeadOnly(), "train.epochs": 3})
    assert long_enough(recipe, rows=50).train.epochs == 72  # 7 steps of 8 rows each: 504
    assert long_enough(recipe, rows=8 * 167).train.epochs == 3  # 501
    assert long_enough(recipe, rows=8 * 166).train.epochs == 4
    assert long_enough(recipe.override({"train.max_steps": 2}), rows=50).train.epochs == 3
    assert long_enough(recipe.override({"strategy.least_steps": 0}), rows=50).train.epochs == 3


def test_few_rows_get_the_epochs_of_the_least_steps(tiny_recipe):
    recipe = tiny_recipe.override({"train.epochs": 3, "train.least_steps": 150})
    assert long_enough(recipe, rows=270).train.epochs == 5  # 34 steps of 8 rows each: 170
    assert long_enough(recipe, rows=8 * 50).train.epochs == 3
    assert long_enough(recipe.override({"train.max_steps": 2}), rows=50).train.epochs == 3
    assert long_enough(tiny_recipe, rows=8).train.epochs == tiny_recipe.train.epochs


@pytest.mark.parametrize(
    ("strategy", "epochs"),
    [
        (Full(), 5),  # 34 steps of 8 rows each
        (HeadOnly(), 15),  # 500 steps
        (HeadOnly(epochs=20), 20),
        (HeadOnly(cache=False), 5),  # the backbone runs in each
        (HeadOnly(cache=False, epochs=4), 5),
    ],
)
def test_epochs_are_those_of_the_least_steps(strategy, epochs, tiny_recipe):
    changes = {"train.epochs": 3, "train.least_steps": 150, "strategy": strategy}
    bound = strategy_of(strategy)
    assert bound.epochs(tiny_recipe.override(changes), rows=270) == epochs
    asked = strategy.epochs or 3 if isinstance(strategy, HeadOnly) else 3
    assert bound.epochs(tiny_recipe.override(changes | {"train.max_steps": 2}), rows=270) == asked


@pytest.mark.parametrize("wish", [{"search": True}, {"solver": "lbfgs"}, {"views": 2}])
def test_what_needs_the_cache_is_refused_without_it(wish):
    with pytest.raises(RecipeError, match="needs cached features"):
        HeadOnly(cache=False, **wish)
