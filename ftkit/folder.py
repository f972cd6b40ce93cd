"""The run folder: who may write there, and the files that other programs read.

recipe.json          the resolved recipe; runs again with --recipe OUT/recipe.json
checks.json          what was odd with the rows before training
run.json             what was measured; written last, so where it lies the run is complete
predictions.parquet  a row per test example
log.jsonl            a line per logging step
plots/               learning curve and confusion matrix
checkpoints/         what --resume needs; removed when the run is complete
model/               loads with transformers and peft alone
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ftkit.data import Splits
from ftkit.errors import RunError
from ftkit.outcomes import columns, draw
from ftkit.plots import plot_learning_curve
from ftkit.recipe import Recipe
from ftkit.result import FILE


def is_complete(folder: Path, recipe: Recipe, resume: bool) -> bool:
    """Return whether `folder` already holds this run, finished.

    Raises:
        RunError: the folder holds something else, or a run and `resume` was not asked for.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / "recipe.json").is_file():
        raise RunError(f"output folder {folder} is not empty and holds no run; give another --out")
    there = Recipe.from_json((folder / "recipe.json").read_text(encoding="utf-8"))
    if not resume:
        state = "a finished" if (folder / FILE).exists() else "an unfinished"
        raise RunError(
            f"output folder {folder} holds {state} run of {there.name} ({there.strategy.kind}); "
            f"give another --out, or go on with it by --resume"
        )
    if there != recipe:
        raise RunError(
            f"output folder {folder} holds a run with other settings "
            f"({difference(there, recipe)}); give another --out, or resume with --recipe "
            f"{folder / 'recipe.json'}"
        )
    return (folder / FILE).exists()


def open_folder(folder: Path, recipe: Recipe) -> None:
    """Make the run folder and write the recipe into it.

    Raises:
        RunError: it cannot be written.
    """
    try:
        (folder / "plots").mkdir(parents=True, exist_ok=True)
        (folder / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
    except OSError as error:
        raise RunError(f"output folder {folder} cannot be written: {error.strerror}") from error


def write_checks(folder: Path, splits: Splits) -> None:
    """Write checks.json: what was odd with the rows, as far as it was seen in passing."""
    found = [asdict(finding) for finding in splits.findings]
    text = json.dumps({"findings": found}, indent=2, ensure_ascii=False)
    (folder / "checks.json").write_text(text + "\n", encoding="utf-8")


def write_predictions(file: Path, task: Any, splits: Splits, outputs: Any) -> None:
    """Write a row per test example: index, and what `ftkit.outcomes.columns` says of it.

    The names of the classes are in the schema's metadata under "label_names".
    """
    index = splits.test.with_format("numpy")["index"][:]
    found = {"index": index, **columns(task, splits, outputs)}
    metadata = {"label_names": json.dumps(list(splits.label_names))}
    pq.write_table(pa.table(found).replace_schema_metadata(metadata), file)


def write_plots(folder: Path, recipe: Recipe, splits: Splits, outputs: Any) -> None:
    """Draw plots/learning_curve.png, and what `ftkit.outcomes.draw` draws for the task."""
    title, plots = f"{recipe.name}, {recipe.strategy.kind}", folder / "plots"
    figure = recipe.task.chosen_by or recipe.task.figures[0]
    curve = plots / "learning_curve.png"
    plot_learning_curve(folder / "log.jsonl", curve, title, figure, recipe.task.loss)
    draw(recipe.task, splits, outputs, plots, title)


def difference(was: Recipe, now: Recipe) -> str:
    """Return the first setting in which two recipes differ, as 'train.epochs was 3, now 5'."""

    def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            inner = isinstance(value, dict)
            found |= flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
        return found

    old, new = flat(was.model_dump()), flat(now.model_dump())
    name = next(name for name in [*old, *new] if old.get(name) != new.get(name))
    return f"{name} was {old.get(name)}, now {new.get(name)}"
