"""A text, or a pair of texts, in, one class out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from datasets import Dataset

from ftkit.data.encoders import Encoder, NgramEncoder
from ftkit.recipe import Mlp
from ftkit.tasks.texts import Texts


class TextClassification(Texts):
    """One class out of C for each text."""

    problem_type = "single_label_classification"
    for_numbers = (
        """to predict numbers use --set 'task={"kind": "text-regression"}' """
        "with a pretrained backbone"
    )
    for_several = """several classes a row need --set 'task={"kind": "text-tagging"}'"""

    def encoder(self, backbone: Mlp, train: Dataset) -> Encoder:
        """Return what counts the character n-grams of a text."""
        return NgramEncoder(*backbone.ngrams, backbone.buckets)

    def raw_inputs(self, rows: Dataset) -> Iterable[Any]:
        """Return the texts."""
        return rows["text"][:]
