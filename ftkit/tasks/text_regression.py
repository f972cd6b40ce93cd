"""A text, or a pair of texts, in, one number out."""

from __future__ import annotations

from dataclasses import replace

from ftkit.recipe import Recipe
from ftkit.tasks.numbers import Numbers
from ftkit.tasks.texts import Texts
from ftkit.tasks.wording import HERE, Wording, wording_of_classes


class TextRegression(Numbers, Texts):
    """One number for each text."""

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the card says."""
        usual = wording_of_classes(recipe, label_names)
        told = f"""from transformers import pipeline

tell = pipeline("text-classification", model="{HERE}")
print(tell({self._example}, function_to_apply="none")[0]["score"])"""
        return replace(usual, same="numbers", snippet=self._told_by(recipe, usual, told))
