"""The first answer soon: texts and image files by an exported file, with little imported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ftkit.data.image_formats import is_image_file
from ftkit.data.named_data import names_data
from ftkit.data.open_images import BadImage, look_at_image
from ftkit.exported.inputs import as_image
from ftkit.exported.model import Exported, columns_of


def ask(exported: Exported, inputs: Sequence[str], texts: bool = False) -> dict[str, Any] | None:
    """Return the columns of answers to image files or texts, as `ftkit predict` has them.

    None where a data set is named, or an image is odd or cannot be read: then what reads data sets
    says what there is to say.

    Args:
        inputs: as of `ftkit.prediction.predict.predict`.
        texts: they are texts, whatever they look like.
    """
    about = exported.about
    given: dict[str, list[Any]]
    if about.reads == "images":
        if not all(map(_is_plain_image, inputs)):
            return None
        rows: list[Any] = [os.path.expanduser(path) for path in inputs]
        given = {"image": rows}
    elif about.reads == "table" or about.pair or (not texts and any(map(names_data, inputs))):
        return None
    else:
        rows = [text.split() for text in inputs] if about.reads == "words" else list(inputs)
        given = {"tokens" if about.reads == "words" else "text": rows}
    try:
        answers = exported.answer(rows)
    except BadImage:
        return None
    return {"index": np.arange(len(rows)), **given, **columns_of(about, answers)}


def _is_plain_image(path: str) -> bool:
    """Return whether a word names one image file of which nothing is to be said."""
    path = os.path.expanduser(path)
    try:
        known = os.path.isfile(path) and is_image_file(path, os.path.basename(path))
        return known and not look_at_image(as_image(path))
    except BadImage:
        return False
