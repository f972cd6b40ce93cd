"""What a baseline of `ftkit.compare.baselines` is asked, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ftkit.data.splits import Splits
from ftkit.errors import RecipeError
from ftkit.machine import runtime
from ftkit.recipe import Recipe
from ftkit.runs.result import Latency
from ftkit.tasks import task_of
from ftkit.tasks.base import Task
from ftkit.tasks.loading import load_splits, screen


class Unfit(RecipeError):
    """A baseline cannot tell rows like these, which only the rows say."""


@dataclass(frozen=True)
class BaselineAnswers:
    """What a baseline tells of the test rows."""

    splits: Splits
    task: Task
    outputs: np.ndarray
    """What a model of the task would give for the test rows."""
    settings: dict[str, Any]
    parameters: int = 0
    features_seconds: float = 0.0
    train_seconds: float = 0.0
    size: int = 0
    """The bytes that the baseline needs to answer."""
    latency: Latency | None = None


def rows_of(recipe: Recipe) -> tuple[Splits, Task]:
    """Return the rows of a recipe as its task reads them. Every rank must call this."""
    splits = runtime.main_first(lambda: load_splits(recipe.data, task_of(recipe.task)))
    splits = screen(splits, recipe.data.on_bad_row, runtime.on_main)
    return splits, task_of(splits.task or recipe.task)


def threshold_of(task: Task) -> dict[str, Any]:
    """Return the threshold for the table of settings, when there is one."""
    threshold = getattr(task.settings, "threshold", None)
    return {} if threshold is None else {"threshold": threshold}
