"""What training must beat: the most frequent class, a linear model of words, boosted trees of
columns, the names of classes, and the nearest training rows.

Their folders hold run.json and predictions.parquet as every run's does, and baseline.json
instead of recipe.json; there is no model/.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ftkit.compare.baseline_answers import BaselineAnswers, Unfit, rows_of, threshold_of
from ftkit.compare.classical import boosted_trees, linear_on_words
from ftkit.compare.neighbours import nearest
from ftkit.compare.zero_shot import by_class_names
from ftkit.errors import RecipeError, RunError
from ftkit.finetuning.clock import Clock, now
from ftkit.finetuning.folder import write_predictions
from ftkit.machine import runtime
from ftkit.recipe import Recipe
from ftkit.runs.finished import BASELINE
from ftkit.runs.result import FILE, RunResult, Seconds

log = logging.getLogger(__name__)


def run_baseline(kind: str, recipe: Recipe, folder: Path) -> RunResult:
    """Return what the baseline of that kind reaches, and leave its folder. Every rank calls this.

    Args:
        recipe: whose rows, and features, it takes; see `ftkit.compare.ladder`.
        folder: that of a finished baseline is read.

    Raises:
        RunError: the folder holds something else.
        Unfit: it cannot tell rows like these, and no folder is left.
        RecipeError, DataError, ModelError, HubError: the request cannot be met.
    """
    clock, machine = Clock(), runtime.start(recipe.train.seed)
    if runtime.on_main(lambda: holds(kind, recipe, folder)):
        return RunResult.read(folder)
    runtime.on_main(lambda: _begin_folder(kind, recipe, folder))
    clock.lap("data")
    try:
        told = KINDS[kind](recipe, machine)
    except Unfit:
        runtime.on_main(lambda: _end_folder(folder))
        raise
    clock.lap("evaluate")

    def finish() -> RunResult:
        splits = told.splits
        labels = told.task.label_array(splits.test, len(splits.label_names))
        result = RunResult(
            recipe=recipe.name,
            strategy={"kind": kind, **told.settings},
            task=told.task.settings.model_dump(mode="json"),
            dataset=recipe.data.path,
            split=splits.test_split,
            n=len(labels),
            metrics=told.task.measure(labels, told.outputs, recipe.train.seed, splits.groups),
            parameters_total=told.parameters,
            parameters_trained=0,
            seconds=Seconds(
                data=clock.seconds["data"],
                features=told.features_seconds,
                train=told.train_seconds,
                evaluate=clock.seconds["evaluate"] - told.features_seconds - told.train_seconds,
                total=clock.total(),
            ),
            examples_per_second=0.0,
            peak_memory_bytes=runtime.peak_memory(machine),
            model_bytes=told.size,
            latency_seconds=told.latency.median if told.latency else None,
            latency=told.latency,
            seed=recipe.train.seed,
            world_size=machine.world_size,
            device=machine.device_name,
            precision="fp32",
            versions=runtime.versions(),
            commit=runtime.commit(),
            started=clock.started,
            finished=now(),
            status="complete",
        )
        write_predictions(folder / "predictions.parquet", told.task, splits, told.outputs)
        result.write(folder)
        return result

    return runtime.on_main(finish)


def holds(kind: str, recipe: Recipe, folder: Path) -> bool:
    """Return whether this baseline is finished in the folder.

    Raises:
        RunError: the folder holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    there = read_baseline(folder)
    if there is None or (there[0], there[1].as_written()) != (kind, recipe.as_written()):
        raise RunError(f"{folder} holds something else than this baseline; give another --out")
    return (folder / FILE).exists()


def read_baseline(folder: Path) -> tuple[str, Recipe] | None:
    """Return which baseline the folder holds, and whose rows it took; None where it holds none."""
    file = folder / BASELINE
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return values["baseline"], Recipe.from_json(json.dumps(values["recipe"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, RecipeError):
        return None


def _begin_folder(kind: str, recipe: Recipe, folder: Path) -> None:
    values = {"baseline": kind, "recipe": recipe.model_dump(mode="json")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / BASELINE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"output folder {folder} cannot be written: {error.strerror}") from error


def _end_folder(folder: Path) -> None:
    """Remove what `_begin_folder` left."""
    with suppress(OSError):  # something else lies there
        (folder / BASELINE).unlink()
        folder.rmdir()


def majority(recipe: Recipe, machine: runtime.Machine) -> BaselineAnswers:
    """Tell the mean label of the training rows for every row: most often the frequent class.

    Of any number of classes a row those are told that have the best micro-F1 on the training rows.
    The best set is always that of the commonest classes, so a threshold of their shares gives it.
    """
    splits, task = rows_of(recipe)
    targets = task.targets(splits.train, len(splits.label_names))
    mean = targets.mean(0, keepdims=True)
    outputs = task.outputs_of_means(mean)
    task = task.with_best_threshold(targets, outputs.repeat(len(targets), 0))
    outputs = outputs.repeat(len(splits.test), 0)
    return BaselineAnswers(splits, task, outputs, threshold_of(task), size=mean.nbytes)


KINDS: dict[str, Callable[[Recipe, runtime.Machine], BaselineAnswers]] = {
    "majority": majority,
    "tfidf": linear_on_words,
    "boosting": boosted_trees,
    "zeroshot": by_class_names,
    "knn": nearest,
}
