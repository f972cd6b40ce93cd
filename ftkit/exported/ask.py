"""The first answer soon: texts and images by an exported file, with little imported."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ftkit.data.image_formats import is_image_file
from ftkit.data.named_data import named_paths, names_data
from ftkit.data.open_images import BadImage, look_at_image
from ftkit.exported.inputs import as_image
from ftkit.exported.model import Exported, columns_of

log = logging.getLogger(__name__)


def ask(exported: Exported, inputs: Sequence[str], texts: bool = False) -> dict[str, Any] | None:
    """Return the columns of answers to images or texts, as `ftkit predict` has them.

    None where a data set is named, or something is to be said of an image or a folder: then what
    reads data sets says it, and imports all that it needs.

    Args:
        inputs: as of `ftkit.prediction.predict.predict`.
        texts: they are texts, whatever they look like.
    """
    about = exported.about
    given: dict[str, list[Any]]
    if about.reads == "images":
        found = _plain_images(inputs)
        if found is None:
            return None
        rows: list[Any] = found
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
    for note in exported.notes_on(rows):
        log.info("test: %s", note)
    return {"index": np.arange(len(rows)), **given, **columns_of(about, answers)}


def _plain_images(inputs: Sequence[str]) -> list[str] | None:
    """Return the image files that words name, patterns and folders of images alone among them.

    None where anything else is named, or something is to be said of one of them.
    """
    found: list[str] = []
    for path in (path for text in inputs for path in named_paths(text)):
        there = sorted(os.listdir(path)) if path.is_dir() else [""]
        found += [str(path / name) if name else str(path) for name in there]
    return found if found and all(map(_is_plain_image, found)) else None


def _is_plain_image(path: str) -> bool:
    """Return whether a path is an image file of which nothing is to be said."""
    try:
        known = os.path.isfile(path) and is_image_file(path, os.path.basename(path))
        return known and not look_at_image(as_image(path))
    except BadImage:
        return False
