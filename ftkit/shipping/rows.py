"""The test rows of a run, as people have them, and what the run said of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from ftkit.backbones import family_of
from ftkit.data.splits import Splits
from ftkit.errors import DataError, FtkitError, RunError
from ftkit.exported.about import About
from ftkit.machine import runtime
from ftkit.prediction.exported import rows_as_given
from ftkit.recipe import Recipe
from ftkit.tasks import task_of
from ftkit.tasks.base import Task
from ftkit.tasks.loading import load_splits

PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True)
class Measured:
    """What a run said of its test rows."""

    rows: list[Any]
    """Each as `ftkit.exported.inputs` takes it."""
    index: np.ndarray
    """(N,) the number of each row in its split."""
    columns: dict[str, list[Any]]
    """`label`, `prediction`, and `probability` or `confidence`, as in predictions.parquet."""
    source: str
    """Where the answers are from, for people."""
    splits: Splits
    task: Task


def measured_rows(
    recipe: Recipe, run: Path, model_folder: Path, about: About, scratch: Path
) -> Measured:
    """Return the test rows of a run and its answers to them, from predictions.parquet.

    A published model has no such file; then the saved model is asked.

    Args:
        scratch: a folder for images that lie in no file of their own.

    Raises:
        DataError: the rows cannot be had any more.
        RunError: they are not those that the run was measured on.
    """
    try:
        splits = load_splits(recipe.data, task_of(recipe.task))
    except FtkitError as error:
        raise DataError(
            f"the test rows that the file must be proven on cannot be had: {error}; give them by "
            f"--data, or export without the proof by --unproven"
        ) from None
    task = task_of(splits.task)
    index = np.asarray(splits.test.with_format("numpy")["index"][:])
    rows = raw_rows(task, splits.test, about, scratch)
    file = run / PREDICTIONS
    if file.is_file():
        stored = pd.read_parquet(file)
        columns = {name: stored[name].tolist() for name in stored.columns}
        _require_same(columns, task, splits, index, file)
        return Measured(rows, index, columns, PREDICTIONS, splits, task)
    machine = runtime.start(0)
    family = family_of(recipe.backbone)
    outputs = family.answer(model_folder, recipe, task_of(recipe.task), splits, machine)
    columns = {name: list(values) for name, values in task.columns(splits, outputs).items()}
    return Measured(rows, index, columns, "the saved model, asked now", splits, task)


def _require_same(
    stored: dict[str, list[Any]], task: Task, splits: Splits, index: np.ndarray, file: Path
) -> None:
    """Refuse answers that are not to these rows."""
    same = stored["index"] == index.tolist()
    if same and "text" in stored:
        same = stored["text"] == splits.test["text"][:]
    if not same:
        raise RunError(
            f"{file} has {len(stored['index'])} rows, and the data now has {len(index)} test rows, "
            f"which are others; bring the data back as they were, or train again"
        )


def raw_rows(task: Any, rows: Dataset, about: About, scratch: Path) -> list[Any]:
    """Return canonical rows as another process can be given them: each image as a file."""
    found = rows_as_given(task, rows, about)
    if about.reads != "images":
        return found
    return [_file_of(image, scratch, place) for place, image in enumerate(found)]


def _file_of(image: Any, scratch: Path, place: int) -> str:
    """Return the file of an image, written where its bytes lie in a table."""
    if image["bytes"] is None:
        return str(Path(image["path"]).resolve())
    file = scratch / f"{place:07d}"
    file.write_bytes(image["bytes"])
    return str(file)
