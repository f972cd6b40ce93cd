"""Every family of backbones, one added later too, loads, saves and answers as its class says."""

from typing import get_args

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from ftkit import Backbone, Mlp, Recipe
from ftkit.backbones import FAMILIES, family_of
from ftkit.backbones.base import Family
from ftkit.machine import runtime
from ftkit.strategies import strategy_of
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits
from ftkit.training.fit import fit
from ftkit.training.fitted import Session

SETTINGS = {"pretrained": Backbone(id="made up"), "mlp": Mlp(hidden=(8,))}
"""Of each kind of backbone; a new one adds its own."""


@pytest.fixture(scope="module", params=SETTINGS)
def saved(request, tiny_recipe, tmp_path_factory):
    """A recipe of this family, its rows, a model after a short training, and its folder."""
    recipe, machine = tiny_recipe, runtime.start(0)
    if request.param != "pretrained":
        values = {**dict(tiny_recipe), "backbone": SETTINGS[request.param]}
        recipe = Recipe(**values).override({"strategy.learning_rate": 1e-2})
    splits = load_splits(recipe.data, task_of(recipe.task))
    loaded = family_of(recipe.backbone).load(task_of(splits.task), splits, seed=0)
    strategy, folder = strategy_of(recipe.strategy), tmp_path_factory.mktemp("run")
    model = strategy.adapt(loaded.model)
    fit(model, strategy, loaded.inputs, recipe, Session(machine, folder))
    family_of(recipe.backbone).save(
        model, loaded.processor, recipe, folder / "model", strategy.for_saving
    )
    return recipe, splits, loaded, folder / "model", machine


def test_every_kind_of_backbone_has_a_family_bound_to_its_settings():
    known = get_args(Recipe.model_fields["backbone"].annotation)
    kinds = {get_args(each)[0].model_fields["kind"].default for each in known}
    assert kinds == SETTINGS.keys() == FAMILIES.keys()
    for kind, settings in SETTINGS.items():
        family = family_of(settings)
        assert isinstance(family, Family)
        assert family.settings is settings
        assert type(family).__module__ == f"ftkit.backbones.{FAMILIES[kind]}"
        assert family.opened_by


def test_a_loaded_model_answers_for_every_class(saved):
    recipe, splits, loaded, _, machine = saved
    outputs = loaded.task.predict(loaded.model, loaded.inputs.test, recipe.train, machine)
    assert outputs.shape == (len(splits.test), len(splits.label_names))
    for role, rows in splits.counts().items():
        assert len(getattr(loaded.inputs, role)) == rows


def test_the_same_seed_loads_the_same_weights(saved):
    recipe, splits, *_ = saved

    def load(seed):
        loaded = family_of(recipe.backbone).load(task_of(splits.task), splits, seed)
        return [parameter.detach().clone() for parameter in loaded.model.parameters()]

    assert all(map(torch.equal, load(1), load(1)))
    assert not all(map(torch.equal, load(1), load(2)))


def test_a_saved_model_answers_as_the_trained_one(saved):
    recipe, splits, loaded, folder, machine = saved
    family, task = family_of(recipe.backbone), task_of(splits.task)
    assert family.label_names(folder) == splits.label_names
    expected = task.predict(loaded.model, loaded.inputs.test, recipe.train, machine)
    found = family.answer(folder, recipe, task, splits, machine)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_pretrained_model_folder_needs_no_ftkit(saved):
    *_, loaded, folder, _ = saved
    if not isinstance(loaded.model, PreTrainedModel):
        pytest.skip("perceptrons are opened by ftkit")
    again = type(loaded.model).from_pretrained(folder)
    for name, parameter in loaded.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], parameter), name
