"""What may be a backbone for some rows: which model, how many of its layers, images of which side.

A candidate is a few settings of a recipe. A Transformer may end after any of its layers, and its
head may read the first token or the mean of all where both can be had; a CNN takes images of any
side.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from PIL import Image

from ftkit.backbones import pooling
from ftkit.backbones.layers import count_layers
from ftkit.backbones.pretrained import load_model, source_of
from ftkit.backbones.structure import is_convolutional
from ftkit.errors import FtkitError, ModelError
from ftkit.hub.names import PREFIX
from ftkit.machine import runtime
from ftkit.recipe import Backbone, Recipe
from ftkit.recipe.backbone import AXES
from ftkit.tasks import task_of

log = logging.getLogger(__name__)
SIDES = (32, 64, 96, 128, 160, 192, 224, 256, 320, 384)
"""Sides of images in pixels that are tried with a CNN, up to the one that it was trained on."""
DEPTHS = 6
"""A Transformer is tried with so many numbers of layers at most, evenly spread."""


@dataclass(frozen=True)
class Candidate:
    """A backbone, and how it is used."""

    id: str
    layers: int | None = None
    image_size: int | None = None
    pooling: Literal["auto", "first", "mean"] = "auto"

    def of(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this backbone."""
        changes: dict[str, Any] = {f"backbone.{name}": getattr(self, name) for name in AXES}
        if self.id != recipe.backbone.id:  # whose author alone the recipe trusts
            changes |= {"backbone.id": self.id, "backbone.revision": None}
            changes |= {"backbone.trust_remote_code": False, "backbone.allow_pickle": False}
        return recipe.override(changes)

    def __str__(self) -> str:
        short = self.id.removeprefix(PREFIX)
        said = [self.id if Path(short).exists() else short]
        if self.layers is not None:
            said.append(f"{self.layers} layer{'' if self.layers == 1 else 's'}")
        if self.pooling != "auto":
            said.append({"first": "first token", "mean": "mean token"}[self.pooling])
        if self.image_size is not None:
            said.append(f"{self.image_size} px")
        return " ".join(said)


def candidates_of(
    recipe: Recipe,
    backbones: Sequence[str],
    label_names: tuple[str, ...],
    settled: Collection[str] = (),
) -> tuple[list[Candidate], list[str]]:
    """Return the candidates of these backbones, and why some of them have none.

    Every rank must call this.

    Args:
        backbones: Hub ids, local folders, or names of embedded ones.
        label_names: of the classes.
        settled: those of `AXES` that stay as the recipe has them.

    Raises:
        ModelError, HubError: no backbone can be had; what the first one lacks.
    """
    found: list[Candidate] = []
    refused: list[FtkitError] = []
    for name in dict.fromkeys(backbones):
        try:
            found += _of_one(recipe, name, label_names, settled)
        except FtkitError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found, [str(error) for error in refused]


def _of_one(
    recipe: Recipe, name: str, label_names: tuple[str, ...], settled: Collection[str]
) -> Iterator[Candidate]:
    """Yield the candidates of one backbone, the whole one first."""
    own = cast(Backbone, recipe.backbone)
    kept = {axis: getattr(own, axis) for axis in AXES if axis in settled}
    backbone = cast(Backbone, Candidate(name, **kept).of(recipe).backbone)
    task = task_of(recipe.task)
    model, processor = runtime.main_first(lambda: load_model(backbone, label_names, 0, task))
    if getattr(model, "keeps_head", False):
        raise ModelError(
            f"backbone '{name}' can tell these classes already, so its features cannot be compared "
            f"with those of others by a new head"
        )
    axes: dict[str, list[Any]] = {axis: [kept.get(axis, getattr(backbone, axis))] for axis in AXES}
    if "layers" not in settled:
        axes["layers"] = _depths(model, own.layers if name == own.id else None)
    if "image_size" not in settled and recipe.task.noun == "images":
        axes["image_size"] = _sides(model, processor, own.image_size if name == own.id else None)
    if "pooling" not in settled and recipe.task.noun == "texts":
        axes["pooling"] = _poolings(model, backbone)
    for layers in axes["layers"]:
        for side in axes["image_size"]:
            for way in axes["pooling"]:
                yield Candidate(name, layers, side, way)


def _depths(model: Any, asked: int | None) -> list[int | None]:
    """Return numbers of layers, all of them as None, and that which the recipe has."""
    count = count_layers(model.config)
    if count is None:
        return [None]
    count -= any(".layer." in part for part in pooling.pooling_parts(model))  # the added one
    few = min(DEPTHS, count)
    fewer = {round(count * part / few) for part in range(1, few)} | {asked or count}
    return [None, *sorted(fewer - {count}, reverse=True)]


def _sides(model: Any, processor: Any, asked: int | None) -> list[int | None]:
    """Return sides of images, the backbone's own as None, and that which the recipe has."""
    if not is_convolutional(model):
        return [asked]
    blank = processor(Image.new("RGB", (64, 64)), return_tensors="pt")["pixel_values"]
    own = blank.shape[-1]
    smaller = {side for side in SIDES if side < own} | {asked or own}
    return [None, *sorted(smaller - {own}, reverse=True)]


def _poolings(model: Any, backbone: Backbone) -> list[str]:
    """Return the ways from tokens to a vector, that of `auto` first."""
    if not pooling.can_pool(model):
        return ["auto"]
    by_mean = pooling.was_trained_by_mean(Path(source_of(backbone)))
    return ["auto", "first" if by_mean else "mean"]
