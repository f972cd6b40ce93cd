"""Which backbones a command leaves to measurement, and which rows they can be compared by."""

from __future__ import annotations

from importlib import metadata

from ftkit.backbones.embedded import PACKAGES
from ftkit.errors import RecipeError
from ftkit.hub.names import PREFIX
from ftkit.recipe import Mlp, Recipe

EMBEDDED = {
    "images": ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"),
    "texts": ("minilm-l6",),
}
"""Backbones that need no network, by what a row is."""


def backbones_at_hand(recipe: Recipe) -> tuple[str, ...]:
    """Return the recipe's own backbone, and those that need no network for its rows."""
    found = [recipe.backbone.id]
    for name in EMBEDDED.get(recipe.task.noun, ()):
        try:
            metadata.version(PACKAGES[name])
        except metadata.PackageNotFoundError:
            continue
        found.append(PREFIX + name)
    return tuple(dict.fromkeys(found))


def require_probes(recipe: Recipe) -> None:
    """Refuse a recipe whose backbones cannot be compared by a probe.

    Raises:
        RecipeError: so it is.
    """
    if isinstance(recipe.backbone, Mlp):
        raise RecipeError(
            f"recipe {recipe.name} trains a perceptron, which has no backbone to choose; name a "
            f"recipe with a pretrained one"
        )
    if recipe.task.tells not in ("class", "number", "tags"):
        raise RecipeError(
            f"recipe {recipe.name}: backbones are compared by one vector of each row, and "
            f"{recipe.task.kind} has none; try each with ftkit train --backbone NAME"
        )
