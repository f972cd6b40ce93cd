"""What a recipe chose for its own data, and what other data gets instead: the defaults.

A recipe for digits reads them small and never mirrors them, which is wrong for photos. One for the
language of names trains the pooler with the head, which did no better on other texts and worse on
few of them. Learning rates, epochs, batches and strategies belong to the backbone and stay.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from typing import Any

from ftkit.recipe import Augment, Backbone, Data, HeadOnly, Mlp, Recipe, Train
from ftkit.recipe.settings import Settings

log = logging.getLogger(__name__)
LEAST_STEPS = 150
"""Of a backbone on data of one's own, by more epochs where rows are few: 300 rows of CIFAR-10 and
the 5 epochs of effnet-digits are 45 steps. docs/choosing.md has what that gave."""


def for_own_data(recipe: Recipe, asked: Collection[str]) -> dict[str, Any]:
    """Return {path: default} of what the recipe chose for its own data, and log what they were.

    Args:
        asked: paths of the fields that the command sets itself, which are left out.
    """
    reset = _changed(recipe, asked)
    if reset:
        log.info(
            "your data gets usual settings instead of those that %s has for its own: %s",
            recipe.name,
            " ".join(f"--set {path}={_as_argument(_value_at(recipe, path))}" for path in reset),
            extra={"waits": True},  # for a run that is not refused
        )
    return usual_settings(recipe, asked)


def usual_settings(recipe: Recipe, asked: Collection[str]) -> dict[str, Any]:
    """Return what `for_own_data` does and log nothing, for a recipe that nobody has named."""
    reset = _changed(recipe, asked)
    return {path: value for path, value in reset.items() if not path.startswith("data.")}


def _changed(recipe: Recipe, asked: Collection[str]) -> dict[str, Any]:
    """Return {path: default} of the fields in which the recipe differs from it."""
    defaults = _defaults(recipe)
    if {"train.epochs", "train.max_steps"} & {*asked}:
        defaults.pop("train.least_steps", None)
    if any(_touches("strategy.pooler", other) for other in asked):
        defaults.pop("strategy.weight_decay", None)
    return {
        path: value
        for path, value in defaults.items()
        if _value_at(recipe, path) != value and not any(_touches(path, other) for other in asked)
    }


def _defaults(recipe: Recipe) -> dict[str, Any]:
    """Return the default of each field that suits one data set and not another.

    Label smoothing is left to recipes that write texts, where it belongs to the kind of task.
    """
    found: dict[str, Any] = {}
    if isinstance(recipe.backbone, Backbone):
        found |= _fields("backbone", Backbone, "image_size") | {"train.least_steps": LEAST_STEPS}
        if "augment" in type(recipe.task).model_fields:
            found |= _fields("task.augment", Augment, *Augment.model_fields)
    elif recipe.task.noun == "images":
        found |= _fields("backbone", Mlp, "image_size", "grey")
    if isinstance(recipe.strategy, HeadOnly) and recipe.strategy.pooler:
        found |= _fields("strategy", HeadOnly, "pooler", "weight_decay")
    if not recipe.task.writes:
        if "max_length" in type(recipe.task).model_fields:
            found |= _fields("task", type(recipe.task), "max_length")
        found |= _fields("train", Train, "label_smoothing")
    found |= _fields("train", Train, "class_weights")
    # `--data` replaces this section as a whole; what the recipe said of its splits is logged alone
    kept = ("path", "config", "revision", "on_bad_row")
    return found | _fields("data", Data, *(name for name in Data.model_fields if name not in kept))


def _fields(section: str, kind: type[Settings], *names: str) -> dict[str, Any]:
    return {f"{section}.{name}": kind.model_fields[name].default for name in names}


def _value_at(recipe: Recipe, path: str) -> Any:
    value: Any = recipe
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _touches(path: str, other: str) -> bool:
    """Return whether setting one of these paths sets the other as well."""
    return path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")


def _as_argument(value: Any) -> str:
    """Return the value as --set takes it, without blanks."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
