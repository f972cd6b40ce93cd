"""An image in, any number of classes out: none, one or several."""

from __future__ import annotations

from dataclasses import replace

from ftkit.recipe import Recipe
from ftkit.tasks.images import Images
from ftkit.tasks.tags import Tags
from ftkit.tasks.wording import HERE, Wording, listed, wording_of_classes


class ImageTagging(Tags, Images):
    """Any number of C classes for each image."""

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the card says, the threshold among it."""
        usual, threshold = wording_of_classes(recipe, label_names), self.settings.threshold or 0.5
        told = f"""from transformers import pipeline

tell = pipeline("image-classification", model="{HERE}")
for answer in tell("image.png", top_k={len(label_names)}, function_to_apply="sigmoid"):
    print(answer["label"], answer["score"], answer["score"] > {threshold:.3g})"""
        return replace(
            usual,
            answers=f"It tells which of {len(label_names)} classes an image has, none, one or "
            f"several: {listed(label_names)}. {self._said_of_threshold()}",
            any_input="a probability for each of the classes above",
            picture="Precision recall",
            snippet=usual.snippet if recipe.strategy.adapter_alone else told,
        )
