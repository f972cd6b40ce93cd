"""Which strategy suits rows with few labels of each class; docs/choosing.md has the figures."""

from __future__ import annotations

import math

import numpy as np

from ftkit.recipe import Contrastive, Mlp, Recipe
from ftkit.recipe.task import TaskSettings

FEW_LABELS = {"texts": 64, "images": 32}
"""Where a class has so many rows or fewer, contrastive training told more test rows right than
training the whole backbone from a new head did, in the mean of the data sets in docs/choosing.md.
"""
FROM_A_NEW_HEAD = ("full", "lora", "bitfit")
"""Strategies that move the backbone through a head that has learned nothing yet."""


def rows_of_class(task: TaskSettings, labels: np.ndarray) -> float:
    """Return how many rows a class has in the mean; infinite where rows are not told a class each.

    Args:
        labels: (N,) of the training rows.
    """
    if task.tells != "class" or not len(labels):
        return math.inf
    return len(labels) / len(np.unique(labels))


def suited_to(noun: str, rows: float) -> str | None:
    """Return the strategy that suits so few rows of a class; None where they are not few.

    Args:
        noun: what a row is, as `TaskSettings.noun` has it.
    """
    return Contrastive().kind if 0 < rows <= FEW_LABELS.get(noun, 0) else None


def tip_on_few_labels(recipe: Recipe, labels: np.ndarray) -> str:
    """Return a sentence on a strategy that suits these rows better than the recipe's, or nothing.

    Args:
        labels: (N,) of the training rows.
    """
    task, kind = recipe.task, recipe.strategy.kind
    rows = rows_of_class(task, labels)
    suited = suited_to(task.noun, rows)
    if suited is None or kind not in FROM_A_NEW_HEAD or isinstance(recipe.backbone, Mlp):
        return ""
    return (
        f"a class has {rows:.3g} {task.noun} in the mean: few for {kind}, which moves the backbone "
        f"through a new head; --strategy {suited} did better with so few"
    )
