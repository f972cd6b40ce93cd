"""Rows of a data set answered by an exported file, as a run's own model answers them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ftkit.errors import RunError
from ftkit.exported.about import About
from ftkit.exported.model import Exported, folder_of, open_export
from ftkit.recipe import Recipe
from ftkit.runs.finished import RECIPE, read_recipe
from ftkit.tasks.metrics.words import Tagged

log = logging.getLogger(__name__)


def open_with_recipe(path: Path) -> tuple[Recipe, Exported]:
    """Return an exported model and the recipe that lies beside it.

    Raises:
        RunError: there is no recipe, so what a table means to the model is not known.
    """
    exported = open_export(path)
    folder = folder_of(path)
    if not (folder / RECIPE).is_file():
        raise RunError(
            f"{folder} has no {RECIPE}, which says how a data set is read; give texts or images, "
            f"or export the run again"
        )
    return read_recipe(folder), exported


def rows_as_given(task: Any, rows: Dataset, about: About) -> list[Any]:
    """Return canonical rows as `ftkit.exported.inputs` takes them."""
    if about.reads == "images":
        return list(rows["image"])
    if about.reads == "words":
        return list(rows["tokens"][:])
    if about.reads == "table":
        return [task.cells(features) for features in rows["features"][:]]
    texts = rows["text"][:]
    return [list(two) for two in zip(texts, rows["pair"][:], strict=True)] if about.pair else texts


def outputs_of(exported: Exported, task: Any, rows: Dataset) -> Any:
    """Return the outputs that the task's figures and columns are computed from."""
    given = rows_as_given(task, rows, exported.about)
    for note in exported.notes_on(given):
        log.info("test: %s", note)  # as a run's own model says it
    logits = exported.answer(given).logits
    if exported.about.reads != "words":
        return logits
    return Tagged(exported.about.classes, [row.astype(np.float32) for row in logits])
