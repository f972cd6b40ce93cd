"""An image in, one number out."""

from __future__ import annotations

from dataclasses import replace

from ftkit.recipe import Recipe
from ftkit.tasks.images import Images
from ftkit.tasks.numbers import Numbers
from ftkit.tasks.wording import HERE, Wording, wording_of_classes


class ImageRegression(Numbers, Images):
    """One number for each image."""

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the card says."""
        usual = wording_of_classes(recipe, label_names)
        told = f"""from transformers import pipeline

tell = pipeline("image-classification", model="{HERE}")
print(tell("image.png", function_to_apply="none")[0]["score"])"""
        snippet = usual.snippet if recipe.strategy.adapter_alone else told
        return replace(usual, same="numbers", snippet=snippet)
