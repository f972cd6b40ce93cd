"""Test rows as a reader wants to see them: a picture, a text or two, the columns of a table."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ftkit.compare.baselines import read_baseline
from ftkit.compare.finished_runs import Run, recipe_in
from ftkit.compare.report.sections import Example, shortened
from ftkit.data.open_images import open_rgb
from ftkit.errors import FtkitError
from ftkit.errors.addresses import is_address
from ftkit.recipe import Recipe
from ftkit.tasks import task_of
from ftkit.tasks.base import Task
from ftkit.tasks.loading import load_splits

log = logging.getLogger(__name__)
THUMBNAIL = 96
"""The pixels of the longer side of an image that is shown."""


def examples_of(table: pa.Table, run: Run, said: Mapping[int, str]) -> tuple[Example, ...]:
    """Return test rows with their inputs, and with what is said of each.

    Args:
        table: predictions of the run.
        said: by the number of a row in the table.
    """
    index = {row: table["index"][row].as_py() for row in said}
    found = inputs_of(run, list(index.values()))
    return tuple(Example(i, said[row], **found.get(i, {})) for row, i in index.items())


def inputs_of(run: Run, index: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return for these test rows, by index, what an `Example` takes: `image` or `texts`.

    Nothing where the data cannot be read again, or lie at an address that only a run folder names.
    """
    recipe = recipe_of(run)
    if recipe is None or not len(index):
        return {}
    data = run.data or recipe.data.model_copy(update={"outside": False})
    if run.data is None and is_address(data.path):
        log.info("the report shows no inputs: those of %s would be fetched again", run.folder)
        return {}
    try:
        splits = load_splits(data, task_of(recipe.task))
    except FtkitError as error:
        log.warning("the report shows no inputs: %s", error)
        return {}
    test, task = splits.test, task_of(splits.task or recipe.task)
    place = {number: row for row, number in enumerate(test["index"][:])}
    return {number: _shown(test[place[number]], task) for number in index if number in place}


def recipe_of(run: Run) -> Recipe | None:
    """Return the recipe of a run, or that of a baseline's rows; None when there is none."""
    found = read_baseline(run.folder)
    return found[1] if found else recipe_in(run.folder)


def _shown(row: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Return what an `Example` takes of a canonical row of the task."""
    if "image" in row:
        return {"image": _uri(open_rgb(row["image"]))}
    if "pair" in row:
        return {"texts": (("first", shortened(row["text"])), ("second", shortened(row["pair"])))}
    if "features" in row:
        told = ", ".join(f"{name} {value}" for name, value in task.told(row["features"]) if value)
        return {"texts": (("", shortened(told)),)}
    return {"texts": (("", shortened(row["text"])),)}


def _uri(image: Any) -> str:
    """Return a small picture as a data URI."""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    kind = "PNG" if max(image.size) <= 32 else "JPEG"
    image.save(file, kind, quality=82)
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{text}"
