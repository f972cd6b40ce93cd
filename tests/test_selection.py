"""Which epoch is kept: the figure decides, then the loss; and what counts as a gain."""

import math

import pytest

from ftkit import registry
from ftkit.training.selection import (
    FEWEST_IMAGES,
    best_validation,
    choose_epoch,
    rank,
    without_gain,
)


def validations(*pairs, by="accuracy"):
    return [{by: figure, "loss": loss} for figure, loss in pairs]


# epochs 3, 4 and 5 of three trainings on 270 rows of CIFAR-10, the epoch that tested best last
SEEN = [
    (((0.633, 1.33), (0.633, 0.97), (0.633, 0.91)), 2),
    (((0.567, 1.77), (0.633, 1.238), (0.633, 1.232)), 2),
    (((0.633, 1.24), (0.667, 1.14), (0.667, 1.12)), 2),
]


@pytest.mark.parametrize(("pairs", "best"), SEEN)
def test_of_equal_figures_that_with_the_lower_loss_is_kept(pairs, best):
    assert best_validation(validations(*pairs), "accuracy") == best


def test_a_better_figure_wins_over_a_lower_loss_and_the_earliest_of_equals_stays():
    assert best_validation(validations((0.5, 1.0), (0.6, 2.0), (0.5, 0.5)), "accuracy") == 1
    assert best_validation(validations((0.5, 1.0), (0.5, 1.0)), "accuracy") == 0


def test_figures_that_fall_and_figures_that_are_no_numbers():
    assert best_validation(validations((9.0, 2.2), (7.0, 1.9), by="perplexity"), "perplexity") == 1
    assert best_validation([{"loss": 2.0}, {"loss": 1.0}], "loss") == 1
    assert best_validation(validations((math.nan, 1.0), (0.1, 2.0), by="auroc"), "auroc") == 1
    assert rank({"r2": math.nan, "loss": math.nan}, "r2") == (-math.inf, -math.inf)


def test_a_lower_loss_at_an_equal_figure_is_a_gain_but_one_that_creeps_is_not():
    assert without_gain(validations((0.6, 1.0), (0.6, 0.9), (0.6, 0.95)), "accuracy") == 1
    assert without_gain(validations((0.6, 1.0), (0.6, 0.99999), (0.6, 0.99998)), "accuracy") == 2
    assert without_gain(validations((0.6, 1.0), (0.5, 0.2), (0.6, 0.9)), "accuracy") == 0
    creeping = [(0.5, 1 - 1e-6 * number) for number in range(10)]
    assert without_gain(validations(*creeping), "accuracy") == 9
    assert without_gain([], "accuracy") == 0


def test_validation_rows_choose_an_epoch_but_few_images_do_not():
    recipe = registry.find("effnet-digits")
    assert choose_epoch(recipe, FEWEST_IMAGES)
    assert not choose_epoch(recipe, FEWEST_IMAGES - 1)
    for asked in ({"train.best_by": "loss"}, {"train.early_stopping": 3}):
        assert choose_epoch(recipe.override(asked), 4)
    assert choose_epoch(recipe.with_strategy("head"), 4)
    assert choose_epoch(registry.find("minilm-langid"), 4)
