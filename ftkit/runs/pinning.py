"""A recipe's commits and licences on the Hub: what a run began with, what others may be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import RepoCard, try_to_load_from_cache

from ftkit.errors.addresses import shown
from ftkit.hub.download import Kind, resolve
from ftkit.hub.names import PREFIX, is_hub_id, is_pinned
from ftkit.recipe import Backbone, Recipe


def pin(recipe: Recipe) -> Recipe:
    """Return the recipe with the commits that its backbone and its data are at now.

    Raises:
        HubError: the Hub has no such thing, or cannot be asked and there is no cached copy.
    """
    pinned = {}
    backbone = recipe.backbone
    if isinstance(backbone, Backbone) and is_hub_id(backbone.id):
        pinned["backbone.revision"] = resolve("model", backbone.id, backbone.revision)
    if is_hub_id(recipe.data.path):
        pinned["data.revision"] = resolve("dataset", recipe.data.path, recipe.data.revision)
    return recipe.override(pinned) if pinned else recipe


def revision_of(recipe: Recipe) -> str | None:
    """Return the revision of the backbone, None for a perceptron."""
    return getattr(recipe.backbone, "revision", None)


def shareable(recipe: Recipe) -> Recipe:
    """Return a pinned recipe without the folders of this machine; of a path the name alone stays.

    Whoever runs it sends his checkpoints where he wants.
    """
    backbone: Any = recipe.backbone
    changes: dict[str, Any] = {"train.push_checkpoints": None}
    paths = {"data.path": (recipe.data.path, recipe.data.revision)}
    if isinstance(backbone, Backbone):
        paths["backbone.id"] = (backbone.id, backbone.revision)
    elif backbone.start is not None:
        paths["backbone.start"] = (backbone.start, None)
    for field, (name, revision) in paths.items():
        if not name.startswith(PREFIX) and not is_pinned(revision):
            changes[field] = f"./{Path(shown(name)).name}"
    return recipe.override(changes)


@dataclass(frozen=True)
class Licences:
    """What the cards of a backbone and of a data set name as their licence."""

    backbone: str | None = None
    data: str | None = None

    @property
    def non_commercial(self) -> tuple[str, ...]:
        """Which of the two forbid commercial use, as the name of their licence tells."""
        named = {"backbone": self.backbone, "data": self.data}
        return tuple(what for what, name in named.items() if name and "-nc" in name.lower())


def licences(recipe: Recipe) -> Licences:
    """Return the licences of a pinned recipe's backbone and data, from the cards in the cache."""
    return Licences(
        _licence("model", recipe.backbone.id, revision_of(recipe)),
        _licence("dataset", recipe.data.path, recipe.data.revision),
    )


def _licence(kind: Kind, name: str, commit: str | None) -> str | None:
    if not is_pinned(commit):
        return None
    card = try_to_load_from_cache(name, "README.md", revision=commit, repo_type=kind)
    if not isinstance(card, str):
        return None
    try:
        named = RepoCard.load(card, ignore_metadata_errors=True).data.to_dict().get("license")
    except ValueError:  # a card without metadata
        return None
    return ", ".join(map(str, named)) if isinstance(named, list) else named
