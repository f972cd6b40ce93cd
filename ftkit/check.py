"""Before training: load everything, check it, and say what would be done."""

from __future__ import annotations

import math

import numpy as np

from ftkit import runtime
from ftkit.data import Splits
from ftkit.recipe import Recipe
from ftkit.run import make_ready


def check(recipe: Recipe) -> list[str]:
    """Return what a run of this recipe would do, in lines for the screen. Writes nothing.

    Raises:
        RecipeError, DataError, ModelError, HubError: the request cannot be met.
    """
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    train, rows = recipe.train, len(ready.inputs.train)
    micro, accumulation = runtime.share_batch(
        train.batch_size, train.micro_batch_size, machine.world_size
    )
    steps = train.max_steps or train.epochs * math.ceil(rows / train.batch_size)
    lines = []
    for name in ("train", "validation", "test"):
        labels = np.asarray(getattr(ready.splits, name)["label"])
        lines.append(f"{name:<10} {len(labels):,} rows, {_spread(labels, ready.splits)}")
    return [
        f"recipe     {recipe.name}, strategy {recipe.strategy.kind}",
        *lines,
        f"steps      {steps:,} of {train.batch_size} rows "
        f"({machine.world_size} x {micro} x {accumulation}: processes, rows each, accumulation)",
        f"machine    {machine.device_name}, {runtime.choose_precision(train.precision, machine)}",
    ]


def _spread(labels: np.ndarray, splits: Splits) -> str:
    """Return how many rows a class has, or from where to where numbers go."""
    if not splits.label_names:
        return f"labels from {labels.min():g} to {labels.max():g}"
    classes = np.bincount(labels, minlength=len(splits.label_names))
    return f"{classes.min():,} to {classes.max():,} a class"
