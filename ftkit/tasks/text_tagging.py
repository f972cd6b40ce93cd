"""A text, or a pair of texts, in, any number of classes out: none, one or several."""

from __future__ import annotations

from dataclasses import replace

from ftkit.recipe import Recipe
from ftkit.tasks.tags import Tags
from ftkit.tasks.texts import Texts
from ftkit.tasks.wording import HERE, Wording, listed, wording_of_classes


class TextTagging(Tags, Texts):
    """Any number of C classes for each text."""

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the card says, the threshold among it."""
        usual, threshold = wording_of_classes(recipe, label_names), self.settings.threshold or 0.5
        told = f"""from transformers import pipeline

tell = pipeline("text-classification", model="{HERE}")
for answer in tell({self._example}, top_k=None, function_to_apply="sigmoid"):
    print(answer["label"], answer["score"], answer["score"] > {threshold:.3g})"""
        return replace(
            usual,
            answers=f"It tells which of {len(label_names)} classes a text has, none, one or "
            f"several: {listed(label_names)}. {self._said_of_threshold()}",
            any_input="a probability for each of the classes above",
            picture="Precision recall",
            snippet=self._told_by(recipe, usual, told),
        )
