"""What a finished run's model says of other rows: `predict(run, inputs)`.

Rows go the way of the run's test rows, so their answers are those of predictions.parquet. Where
they have labels, the figures with their intervals come with them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.backbones import family_of
from ftkit.backbones.pretrained import PretrainedFamily
from ftkit.backbones.structure import place
from ftkit.data.named_data import names_data
from ftkit.data.open_images import BadImage
from ftkit.data.splits import Splits
from ftkit.errors import DataError, RecipeError, RunError
from ftkit.exported.model import is_export
from ftkit.hub.download import fetch
from ftkit.hub.names import is_hub_id
from ftkit.machine import runtime
from ftkit.prediction.answers import Predictions
from ftkit.prediction.exported import open_with_recipe, outputs_of
from ftkit.recipe import Recipe
from ftkit.recipe.strangers import harmless
from ftkit.runs.finished import (
    BASELINE,
    MODEL,
    OLDER,
    RECIPE,
    knows_all_files,
    read_recipe,
    require_verified,
)
from ftkit.runs.result import FILE, RunResult
from ftkit.tasks import task_of
from ftkit.tasks.rows_to_answer import RowsToAnswer, read_rows
from ftkit.tasks.writing import go_on

log = logging.getLogger(__name__)


def predict(
    run: str | Path,
    inputs: Sequence[str],
    split: str | None = None,
    changes: dict[str, Any] | None = None,
    texts: bool = False,
) -> Predictions:
    """Return what the model of a run says of these rows.

    Under `accelerate launch` every process calls this, takes its share of the rows, and gets all
    answers. What a language model writes to texts, each writes whole.

    Args:
        run: folder of a finished run, `OWNER/NAME` of one that was published on the Hub, or an
            export.
        inputs: image files, texts, or one data set, see `ftkit.tasks.rows_to_answer.read_rows`.
        split: of a data set with several; its test split when not given.
        changes: of the run's recipe, as `Recipe.override` takes them; such as
            {"task.text": "review"} where a column has another name. Python code that comes with
            the model runs only with {"backbone.trust_remote_code": True}.
        texts: the inputs are texts, whatever they look like, where the model reads texts.

    Raises:
        RunError: there is no finished run, or one of its files is damaged.
        DataError: the rows are not what the model reads.
        HubError: the Hub does not give the model or the rows.
    """
    machine = runtime.start(0)
    exported = None
    if is_export(run):
        recipe, exported = open_with_recipe(Path(os.path.expanduser(run)))
        recipe = harmless(recipe, changes or {}, str(run)).override(changes or {})
        folder = exported.file
    else:
        recipe, folder = runtime.main_first(lambda: open_run(run, changes or {}))
    task, told = task_of(recipe.task), texts or not any(map(names_data, inputs))
    if recipe.task.tells == "continuation" and told:
        return _written(recipe.backbone, recipe.task, inputs, folder, machine)
    names = exported.about.classes if exported else label_names_of(recipe, folder)
    asked = {path.partition(".")[2] for path in changes or {} if path.startswith("task.")}
    family, trained = family_of(recipe.backbone), task_of(recipe.task)

    def read(decode: bool) -> RowsToAnswer:
        return runtime.main_first(
            lambda: read_rows(inputs, task, names, split, recipe.data, asked, texts, decode)
        )

    def answer(given: RowsToAnswer) -> Any:
        if exported:
            return outputs_of(exported, given.task, given.rows)
        return family.answer(folder, recipe, trained, _as_splits(given, names), machine)

    given, outputs = _answered(read, answer, alone=machine.world_size == 1)
    splits = _as_splits(given, names)
    found = {**_row_names(splits), **task.columns(splits, outputs)}
    metrics, measured = {}, given.labelled
    if given.labelled.all():
        labels = task.label_array(splits.test, len(names))
        metrics = task.measure(labels, outputs)
    else:
        found = _without_labels(found, given.labelled)
        if measured.any() and isinstance(outputs, np.ndarray):
            rows = splits.test.select(np.flatnonzero(measured))
            metrics = task.measure(task.label_array(rows, len(names)), outputs[measured])
            log.info(
                "figures are of the %d of %d rows whose label is known", len(rows), len(measured)
            )
        elif measured.any():
            log.info(
                "no figures: %d of %d rows have no label; leave them out to measure the others",
                (~measured).sum(),
                len(measured),
            )
    index = splits.test.with_format("numpy")["index"][:]
    return Predictions({"index": index, **found}, metrics, names, int(measured.sum()))


def _answered(
    read: Callable[[bool], RowsToAnswer], answer: Callable[[RowsToAnswer], Any], alone: bool
) -> tuple[RowsToAnswer, Any]:
    """Return the rows that can be read, and the answers to them.

    Images are decoded once, when they are answered; one that is cut off shows before, by its last
    bytes. Where one turns out to be damaged all the same, all are decoded to find such ones, and
    the others are answered again. Several processes would not meet again if one of them found such
    an image, so they decode all beforehand.

    Args:
        read: takes whether images are decoded, as `read_rows` does.
        alone: this is the only process.
    """
    given = read(not alone)
    for note in given.notes:
        log.info("data: %s", note)
    try:
        return given, answer(given)
    except BadImage as error:
        reason = str(error).strip().splitlines()[-1]  # that of a reader comes with its traceback
        if not alone:
            raise DataError(f"an image was changed while it was read: {reason}") from error
    log.info("data: an image cannot be read (%s); all are read before they are answered", reason)
    again = read(True)
    for note in again.notes:
        if note not in given.notes:
            log.info("data: %s", note)
    return again, answer(again)


def _written(
    backbone: Any, task: Any, prompts: Sequence[str], folder: Path, machine: runtime.Machine
) -> Predictions:
    """Return what a language model writes to these texts."""
    family = PretrainedFamily(backbone)
    model, tokenizer = runtime.main_first(lambda: family.reload(folder, task_of(task)))
    place(model, None, machine.device)
    written = [go_on(task, model, tokenizer, prompt) for prompt in prompts]
    if lost := written.count(None):
        log.warning(
            "%d of %d texts have no answer: with %d tokens to be written they take more than the "
            "%s that the model reads; --set task.max_new_tokens=N asks for fewer",
            lost,
            len(written),
            task.max_new_tokens,
            task.max_length,
        )
    index = np.arange(len(prompts))
    return Predictions({"index": index, "prompt": list(prompts), "written": written}, {})


def open_run(run: str | Path, changes: Mapping[str, Any]) -> tuple[Recipe, Path]:
    """Return the recipe of a finished run, its task as it was trained, and the model's folder.

    A folder may have been downloaded as well as what the Hub gives, so both are a stranger's.
    """
    folder = Path(os.path.expanduser(run))
    foreign = not os.path.exists(folder) and str(run).count("/") == 1 and is_hub_id(str(run))
    if foreign:
        trusted = changes.get("backbone.trust_remote_code", False)
        folder = fetch(str(run), trust_remote_code=trusted, what="run")
    result = RunResult.read(folder)
    if not (folder / RECIPE).exists() and (folder / BASELINE).exists():
        raise RunError(f"{run} is a baseline ({result.strategy['kind']}), which leaves no model")
    recipe = read_recipe(folder)
    recipe = harmless(recipe, changes, str(run))
    try:
        recipe = Recipe(**recipe.model_dump(mode="json") | {"task": result.task})
    except RecipeError as error:
        raise RunError(f"{folder / FILE} does not fit its recipe: {error}") from None
    if getattr(recipe.task, "label", "") is None and getattr(recipe.task, "labels", None) is None:
        raise RunError(f"{folder / FILE} is damaged: its task names no label")
    flat = (folder / "config.json").is_file() and not (folder / MODEL).exists()
    model = folder if flat else folder / MODEL
    if not foreign:  # whose files the Hub has proven
        require_verified(model)
        if not knows_all_files(result):
            log.info("%s: %s", run, OLDER)
    return recipe.override(changes), model


def label_names_of(recipe: Recipe, folder: Path) -> tuple[str, ...]:
    """Return the classes of the saved model in its order; empty for numbers and texts."""
    if recipe.task.writes or recipe.task.tells == "number":
        return ()
    return task_of(recipe.task).class_names(family_of(recipe.backbone).label_names(folder))


def _as_splits(given: RowsToAnswer, names: tuple[str, ...]) -> Splits:
    """Return splits whose test rows are those given; a task also asks for other ones."""
    one = given.rows.select([0])
    return Splits(one, one, given.rows, names, test_split="given", task=given.task)


def _row_names(splits: Splits) -> dict[str, Any]:
    """Return what tells a person which row it is."""
    rows = splits.test
    found = {name: rows[name][:] for name in ("text", "pair") if name in rows.column_names}
    if "image" in rows.column_names:
        paths = [row and row["path"] for row in rows["image"]]
        found |= {"image": paths} if any(paths) else {}
    return found


def _without_labels(found: dict[str, Any], labelled: np.ndarray) -> dict[str, Any]:
    """Return the columns without labels, and without what rests on labels that are not known."""
    resting = {name: found[name] for name in ("label", "loss") if name in found}
    kept = {name: values for name, values in found.items() if name not in resting}
    if labelled.any():
        for name, values in resting.items():
            kept[name] = [v if known else None for v, known in zip(values, labelled, strict=True)]
    return kept
