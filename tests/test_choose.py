"""Strategy, epochs and image size that fit into a budget."""

import math

import pytest

from ftkit import RecipeError, choose, registry, runtime
from ftkit.cli import main
from ftkit.estimate import Estimate
from ftkit.recipe import Recipe


def chosen(recipe, budget, monkeypatch, per_step=1.0, strategy=True, imports=0.0):
    """Choose as if a step took so many seconds, validation and test nothing, the process new."""

    def measured(recipe, ready, machine):
        steps = recipe.train.epochs * math.ceil(len(ready.inputs.train) / recipe.train.batch_size)
        return Estimate(steps, per_step, steps * per_step, 0.0, {})

    monkeypatch.setattr(choose, "estimate", measured)
    monkeypatch.setattr(choose, "LEAST_STEPS", 60)
    monkeypatch.setattr(choose.Clock, "elapsed", lambda self: 0.0)
    machine = runtime.start(0)
    return choose.choose(recipe, machine, budget, strategy, imports)


@pytest.fixture
def recipe(tiny_recipe, checkpoint):
    """52 training rows, 7 steps an epoch, of a CNN."""
    path = str(checkpoint("resnet"))
    return tiny_recipe.override({"backbone.id": path, "train.epochs": 20})


def test_epochs_fill_nine_tenths_of_the_budget(recipe, monkeypatch):
    found = chosen(recipe, 100.0, monkeypatch)
    assert found.recipe.strategy.kind == "full"
    assert 8 <= found.recipe.train.epochs <= 12  # 0.9 * 100 s at 7 s, without loading again
    assert found.recipe.backbone.image_size is None
    assert "full: 1" in found.why
    assert "the head alone has accuracy" in found.why


def test_no_more_epochs_than_the_recipe_has(recipe, monkeypatch):
    assert chosen(recipe, 1e4, monkeypatch).recipe.train.epochs == 20
    assert chosen(recipe, None, monkeypatch).recipe.train.epochs == 20


def test_images_become_smaller_before_the_backbone_is_given_up(recipe, monkeypatch):
    found = chosen(recipe, 30.0, monkeypatch)
    assert found.recipe.backbone.image_size == 16  # a quarter of the pixels of 32
    assert found.recipe.train.epochs >= choose.LEAST_STEPS / 7


def test_the_head_is_what_remains_of_a_short_time(recipe, monkeypatch):
    found = chosen(recipe, 5.0, monkeypatch)
    assert found.recipe.strategy.kind == "head"
    assert "full would need" in found.why


def test_on_a_machine_that_is_too_busy_nothing_more_is_tried(recipe, monkeypatch):
    monkeypatch.setattr(choose, "LOOKING", -1.0)
    found = chosen(recipe, 1e4, monkeypatch)
    assert found.recipe.strategy.kind == "head"
    assert "too much to try more" in found.why


def test_what_does_not_fit_into_memory_is_passed_over(recipe, monkeypatch):
    monkeypatch.setitem(choose.BYTES_PER_PARAMETER, "full", 1e12)
    found = chosen(recipe, 1e4, monkeypatch)
    assert found.recipe.strategy.kind == "lora"
    assert "full does not fit into memory" in found.why


def test_a_head_that_is_right_ends_the_search(recipe, monkeypatch):
    monkeypatch.setattr(choose, "ENOUGH", 0.0)
    assert chosen(recipe, 1e4, monkeypatch).recipe.strategy.kind == "head"


def test_a_given_strategy_stays(recipe, monkeypatch):
    found = chosen(recipe.with_strategy("lora"), 50.0, monkeypatch, strategy=False)
    assert found.recipe.strategy.kind == "lora"
    assert found.recipe.train.epochs < 20
    with pytest.raises(RecipeError, match=r"--budget 1 s is too short for .*lora would need"):
        chosen(recipe.with_strategy("lora"), 1.0, monkeypatch, strategy=False)


def test_a_perceptron_is_refused(monkeypatch):
    with pytest.raises(RecipeError, match="perceptron"):
        chosen(registry.find("mlp-digits"), 100.0, monkeypatch)


def test_the_command_trains_what_it_chose(tiny_recipe, tmp_path, capsys, caplog):
    (tmp_path / "recipe.json").write_text(tiny_recipe.to_json())
    words = ["train", str(tmp_path / "recipe.json"), "--strategy", "auto", "--budget", "2h"]
    with caplog.at_level("INFO"):
        assert main([*words, "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    said = [record.message for record in caplog.records if record.message.startswith("auto: ")]
    assert len(said) == 1
    recipe = Recipe.from_json((tmp_path / "out" / "recipe.json").read_text())
    assert said[0].startswith(f"auto: {recipe.strategy.kind}: ")
    assert main([*words, "--out", str(tmp_path / "out"), "--resume"]) == 0
