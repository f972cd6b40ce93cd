"""Every strategy of the recipe, one added later too, does what its class says."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from test_strategies import pixels_for, trained_names
from transformers import AutoModelForImageClassification

from ftkit import Backbone, Bitfit, ImageClassification
from ftkit.backbones import family_of
from ftkit.backbones.pretrained import load_model
from ftkit.backbones.structure import place
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.recipe import STRATEGIES
from ftkit.strategies import strategy_of
from ftkit.strategies.base import Strategy
from ftkit.tasks import task_of
from ftkit.training.fitted import Fitted, Session

IMAGES = task_of(ImageClassification())


@dataclass
class Trained:
    """A model after a short training by a strategy."""

    strategy: Strategy
    recipe: Any
    model: Any
    processor: Any
    before: dict[str, torch.Tensor]
    """Parameters and buffers of the adapted model, before the training."""
    fitted: Fitted


@pytest.fixture(scope="module", params=STRATEGIES)
def strategy(request):
    return strategy_of(STRATEGIES[request.param]())


@pytest.fixture(scope="module", params=["vit", "resnet"])  # one without BatchNorm, one with it
def trained(request, strategy, tiny_recipe, checkpoint, tmp_path_factory):
    settings = strategy.settings
    recipe = tiny_recipe.override({"backbone.id": str(checkpoint(request.param))})
    recipe = recipe.override({"strategy": settings, "train.max_steps": 3})
    recipe = recipe.override({f"strategy.{path}": 1e-2 for path in strategy.peak_rates()})
    machine = runtime.start(0)
    ready = make_ready(recipe, machine)
    place(ready.model, None, machine.device)
    before = {name: tensor.clone() for name, tensor in tensors(ready.model).items()}
    strategy, folder = strategy_of(recipe.strategy), tmp_path_factory.mktemp("run")
    fitted = strategy.train(ready.model, ready.inputs, recipe, Session(machine, folder))
    return Trained(strategy, recipe, ready.model, ready.processor, before, fitted)


def tensors(model):
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_strategy_is_found_by_its_settings_and_bound_to_them(kind):
    settings = STRATEGIES[kind]()
    strategy = strategy_of(settings)
    assert strategy.settings is settings
    assert type(strategy).__module__ == f"ftkit.strategies.{kind.replace('-', '_')}"
    assert strategy.__doc__


def test_bitfit_moves_vectors_and_the_head_alone(checkpoint):
    model, _ = load_model(Backbone(id=str(checkpoint("resnet"))), ("a", "b"), 0, task=IMAGES)
    adapted = strategy_of(Bitfit()).adapt(model)
    moving = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert {name for name, p in moving.items() if p.ndim > 1} == {"classifier.1.weight"}
    assert all(p.ndim > 1 for name, p in adapted.named_parameters() if name not in moving)
    norms = [m for m in adapted.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.keeps_statistics for norm in norms)


def test_finding_strategies_needs_no_torch():
    code = "import sys, ftkit.strategies; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_exactly_what_it_says_moves(trained):
    assert trained.strategy.moves(trained.model)
    assert trained_names(trained.model) == trained.strategy.moves(trained.model)


def test_a_frozen_parameter_or_statistic_has_not_changed_by_a_bit(trained):
    moves, now = trained.strategy.moves(trained.model), tensors(trained.model)
    moving = {name.rpartition(".")[0] for name in moves}
    # statistics may follow the scale beside them
    moves |= {n for n, _ in trained.model.named_buffers() if n.rpartition(".")[0] in moving}
    changed = {name for name in now if not now[name].equal(trained.before[name])}
    assert changed
    assert changed - moves == set()


def test_the_saved_model_reloads_to_equal_logits(trained, tmp_path):
    family, adapter = family_of(trained.recipe.backbone), trained.strategy.for_saving
    family.save(trained.model, trained.processor, trained.recipe, tmp_path, adapter)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    pixels = pixels_for(again)
    with torch.inference_mode():
        expected = trained.model.eval()(pixel_values=pixels).logits
        assert torch.allclose(again(pixel_values=pixels).logits, expected, atol=1e-5)


def test_it_says_which_settings_it_used_and_what_came_out(trained):
    assert trained.fitted.strategy.kind == trained.recipe.strategy.kind
    assert trained.fitted.validation[trained.recipe.best_by] >= 0
    assert Fitted.from_json(trained.fitted.to_json()) == trained.fitted


def test_rates_decay_and_unfreezing_speak_of_parameters_that_there_are(trained):
    names = set(dict(trained.model.named_parameters()))
    factors = trained.strategy.learning_rates(trained.model)
    assert set(factors) <= names
    assert all(factor > 0 for factor in factors.values())
    assert {type(trained.strategy.decays(name)) for name in names} == {bool}
    assert {name for group in trained.strategy.unfreezing(trained.model) for name in group} <= names


def test_every_learning_rate_of_the_settings_is_named(strategy, tiny_recipe):
    found = tiny_recipe.override({"strategy": strategy.settings})
    rates = strategy.peak_rates()
    assert rates["learning_rate"] == strategy.settings.learning_rate
    for path, rate in rates.items():
        found = found.override({f"strategy.{path}": 2 * rate})
    assert strategy_of(found.strategy).peak_rates() == {p: 2 * rate for p, rate in rates.items()}
    assert str(found.strategy).count("learning_rate=") == len(rates)


def test_what_is_told_before_training_agrees(strategy, tiny_recipe):
    recipe = tiny_recipe.override({"strategy": strategy.settings})
    field, least = strategy.least_steps(recipe)
    assert recipe.override({field: least}) == recipe
    assert strategy.epochs(recipe, rows=50) * 7 >= least  # 7 steps of 8 rows each
    assert strategy.long_enough(recipe, 50).train.epochs == strategy.epochs(recipe, 50)
    assert strategy.settings.what_was_trained(new_head=True)
    assert not strategy.settings.adapter_alone
