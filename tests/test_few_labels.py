"""Which strategy suits few labels of a class, and what is said where another one is taken."""

import math

import numpy as np
import pytest

from ftkit import finetune, registry
from ftkit.planning.check import check
from ftkit.recipe import Contrastive
from ftkit.strategies.few_labels import rows_of_class, suited_to, tip_on_few_labels

TEXTS, IMAGES = registry.find("minilm-langid"), registry.find("effnet-digits")


def labels(classes, rows):
    return np.repeat(np.arange(classes), rows)


def test_rows_of_a_class_are_counted_in_the_mean_and_only_where_a_class_is_told():
    assert rows_of_class(TEXTS.task, np.array([0, 0, 0, 5])) == 2
    numbers = registry.find("mlp-diabetes").task
    assert rows_of_class(numbers, np.array([0.5, 0.5])) == math.inf
    assert rows_of_class(TEXTS.task, np.array([])) == math.inf


def test_few_texts_and_images_suit_pairs():
    assert (suited_to("texts", 64), suited_to("texts", 64.5)) == ("contrastive", None)
    assert (suited_to("images", 32), suited_to("images", 32.5)) == ("contrastive", None)
    assert suited_to("rows", 3) is None
    assert suited_to("texts", math.inf) is None


@pytest.mark.parametrize("kind", ["full", "lora", "head"])
def test_a_backbone_that_moves_through_a_new_head_gets_a_tip(kind):
    tip = tip_on_few_labels(TEXTS.with_strategy(kind), labels(3, 8))
    if kind == "head":
        assert tip == ""
        return
    assert f"a class has 8 texts in the mean: few for {kind}" in tip
    assert "--strategy contrastive" in tip
    assert tip_on_few_labels(TEXTS.with_strategy(kind), labels(3, 65)) == ""


def test_images_take_more_and_longer_steps_than_texts_unless_the_recipe_says_how_many():
    texts, images = (each.with_strategy("contrastive").strategy for each in (TEXTS, IMAGES))
    assert texts == Contrastive()
    assert (images.steps, images.learning_rate) == (120, 2e-4)
    own = IMAGES.model_copy(update={"alternatives": (Contrastive(steps=7),)})
    assert own.with_strategy("contrastive").strategy.steps == 7


def test_a_perceptron_gets_no_tip():
    assert tip_on_few_labels(registry.find("mlp-text"), labels(3, 8)) == ""
    assert tip_on_few_labels(registry.find("mlp-digits"), labels(10, 8)) == ""


def test_training_and_check_say_it(tiny_recipe, tmp_path, caplog):
    caplog.set_level("INFO")
    few = tiny_recipe.override({"data.train_rows": 40, "train.epochs": 1})
    finetune(few, tmp_path / "run")
    assert "few for full, which moves the backbone through a new head; --strategy contrastive" in (
        caplog.text
    )
    assert any("few for full" in note for note in check(few).notes)
    assert not any("few for full" in note for note in check(few.with_strategy("head")).notes)
