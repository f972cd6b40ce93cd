"""Strategy, epochs and image size that fit into a budget."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest

from ftkit import RecipeError, registry
from ftkit.cli.main import main
from ftkit.finetuning.estimate import Estimate
from ftkit.machine import runtime
from ftkit.planning import choose
from ftkit.recipe import Recipe
from ftkit.strategies.few_labels import FEW_LABELS
from ftkit.strategies.full import FullStrategy
from ftkit.strategies.head import HeadOnlyStrategy


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
def recipe(tiny_recipe, checkpoint, monkeypatch):
    """52 training rows, 7 steps an epoch, of a CNN, as if 17 images of a class were many."""
    monkeypatch.setitem(FEW_LABELS, "images", 16)
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
    monkeypatch.setattr(choose, "MOST_SPENT_ON_HEAD", -1.0)
    found = chosen(recipe, 1e4, monkeypatch)
    assert found.recipe.strategy.kind == "head"
    assert "too much to try more" in found.why


def test_what_does_not_fit_into_memory_is_passed_over(recipe, monkeypatch):
    monkeypatch.setattr(FullStrategy, "bytes_per_parameter", 1e12)
    found = chosen(recipe, 1e4, monkeypatch)
    assert found.recipe.strategy.kind == "lora"
    assert "full does not fit into memory" in found.why


def test_a_head_that_is_surely_right_ends_the_search(recipe, monkeypatch):
    monkeypatch.setattr(choose, "head_is_enough", lambda *_: True)
    found = chosen(recipe, 1e4, monkeypatch)
    assert found.recipe.strategy.kind == "head"
    assert "nothing more is needed" in found.why


@pytest.mark.parametrize(("right", "rows"), [(16, 16), (380, 380), (381, 381), (994, 1000)])
def test_a_head_is_enough_by_the_lower_end_of_scipys_interval(right, rows, recipe):
    low = binomtest(right, rows).proportion_ci(method="wilson").low
    labels = np.arange(rows) % 2
    assert choose.head_is_enough(recipe, right / rows, labels) == (low >= 0.99) == (rows == 381)


def test_other_figures_and_one_class_that_is_nearly_all_rows_say_nothing(recipe):
    labels = np.arange(5000) % 2
    assert choose.head_is_enough(recipe, 1.0, labels)
    assert not choose.head_is_enough(recipe.override({"train.best_by": "auroc"}), 1.0, labels)
    assert not choose.head_is_enough(recipe.override({"train.best_by": "loss"}), 1.0, labels)
    assert not choose.head_is_enough(recipe, 1.0, np.arange(5000) < 25)


def test_accuracy_of_words_or_of_rows_in_groups_says_nothing(recipe):
    texts = np.empty(5000, object)
    texts[:] = [[0, 1]] * 5000
    assert not choose.head_is_enough(recipe, 1.0, texts)
    grouped = recipe.override({"data.group": "patient"})
    assert not choose.head_is_enough(grouped, 1.0, np.arange(5000) % 2)


def test_sixteen_of_sixteen_right_do_not_end_the_search(recipe, monkeypatch):
    train = HeadOnlyStrategy.train

    def all_right(strategy, model, inputs, *rest):
        fitted = train(strategy, model, inputs, *rest)
        return replace(fitted, validation={**fitted.validation, "accuracy": 1.0})

    monkeypatch.setattr(HeadOnlyStrategy, "train", all_right)
    found = chosen(recipe, 1e4, monkeypatch)
    assert found.recipe.strategy.kind == "full"
    assert "the head alone has accuracy 1.000" in found.why


def test_the_figure_of_a_head_is_what_its_solver_measured(recipe, monkeypatch):
    """A head that learned from the validation rows too cannot be measured on them."""
    train = HeadOnlyStrategy.train

    def learned_from_all(strategy, model, inputs, *rest):
        return replace(train(strategy, model, inputs, *rest), validation={"accuracy": 0.625})

    monkeypatch.setattr(HeadOnlyStrategy, "train", learned_from_all)
    assert "the head alone has accuracy 0.625" in chosen(recipe, 1e4, monkeypatch).why


def test_a_given_strategy_stays(recipe, monkeypatch):
    found = chosen(recipe.with_strategy("lora"), 50.0, monkeypatch, strategy=False)
    assert found.recipe.strategy.kind == "lora"
    assert found.recipe.train.epochs < 20
    with pytest.raises(RecipeError, match=r"--budget 1 s is too short for .*lora would need"):
        chosen(recipe.with_strategy("lora"), 1.0, monkeypatch, strategy=False)


def test_few_labels_of_a_class_get_the_strategy_that_suits_them(recipe, monkeypatch):
    few = recipe.override({"data.train_rows": 40})
    found = chosen(few, 1e4, monkeypatch)
    assert found.recipe.strategy.kind == "contrastive"
    assert "a class has 13.3 images in the mean" in found.why
    assert "the head alone has accuracy" in found.why
    shorter = chosen(few, 24.0, monkeypatch)  # what contrastive takes cannot be shortened
    assert shorter.recipe.strategy.kind == "lpft"
    assert "contrastive would need" in shorter.why
    assert chosen(few, 1.0, monkeypatch).recipe.strategy.kind == "head"  # no time for more


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


@pytest.mark.parametrize(
    ("budget", "verifying"),
    [
        (1e6, 2 * 256.0),  # there is time for 256 rows, each twice as long as in the test
        (100.0, 2 * 16.0 + 10.0),  # for 16 and for a tenth of the budget
        (1.0, 2 * 16.0 + 2.0),
    ],
)
def test_verification_is_planned_with_as_many_rows_as_it_takes(budget, verifying, monkeypatch):
    monkeypatch.setattr(choose.Clock, "elapsed", lambda self: 0.0)
    ready = SimpleNamespace(inputs=SimpleNamespace(test=range(1000)))
    measured = Estimate(1, 1.0, 1.0, 1000.0, {})  # a second for each test row
    left = choose.Clock(budget, 0.0).left(ready, measured, 1, 0.0)
    assert left == pytest.approx(choose.PLANNED_SHARE * (budget - 1000.0 - verifying))
