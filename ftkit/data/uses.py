"""What a task reads the columns of a table for, where the file does not say what they are."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from datasets import Features, Value

from ftkit.data.columns import IMAGE_NAMES, is_number, named, resolve_columns
from ftkit.data.kinds import Use
from ftkit.errors import DataError
from ftkit.recipe import ImageClassification, TabularRegression, TextRegression, TextTagging

AS_TEXT = ("image", "text", "pair", "source", "target", "prompt", "answer", "tokens", "messages")
"""Fields of a task that name columns of texts, or of names of files."""


def uses_of(task: Any, features: Features) -> dict[str, Use]:
    """Return the columns that a task reads as texts, or as classes, of those that there are.

    Where it cannot be told which they are, those that are asked for by name.
    """
    if isinstance(task, ImageClassification):  # files may be called 00012
        names = {n for n in named(IMAGE_NAMES, features) if is_number(features[n])}
        features = Features({**features, **dict.fromkeys(names, Value("string"))})
    with suppress(DataError):
        task = resolve_columns(task, features)
    found: dict[str, Use] = {}
    for field in AS_TEXT:
        column = getattr(task, field, None)
        if column is not None and column in features:
            found[column] = "text"
    found |= dict.fromkeys(getattr(task, "categories", {}), "text")
    label = getattr(task, "label", None)
    numbers = isinstance(task, (TextRegression, TabularRegression))
    if label is not None and label in features and not numbers:
        found[label] = "text" if isinstance(task, TextTagging) else "class"
    return found
