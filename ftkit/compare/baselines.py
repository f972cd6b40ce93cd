"""What training must beat: the most frequent class, and the nearest training rows.

Both give the mean of training labels: of all rows, or of the nearest ones in the frozen backbone's
features. Their folders hold run.json and predictions.parquet as every run's does, and baseline.json
instead of recipe.json; there is no model/.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.backbones.structure import count_parameters, place
from ftkit.compare.neighbours import features_of, latency_of_votes, vote
from ftkit.data.splits import Splits
from ftkit.errors import RecipeError, RunError
from ftkit.finetuning.clock import Clock, now
from ftkit.finetuning.finetune import make_ready
from ftkit.finetuning.folder import write_predictions
from ftkit.machine import runtime
from ftkit.recipe import Recipe
from ftkit.runs.finished import BASELINE
from ftkit.runs.result import FILE, Latency, RunResult, Seconds
from ftkit.tasks import task_of
from ftkit.tasks.base import Task
from ftkit.tasks.loading import load_splits, screen

log = logging.getLogger(__name__)
NEIGHBOURS = (1, 5, 20)
"""Numbers of neighbours that are tried on the validation rows; 20 is DINO's."""


@dataclass(frozen=True)
class BaselineAnswers:
    """What a baseline tells of the test rows."""

    splits: Splits
    task: Task
    outputs: np.ndarray
    """What a model of the task would give for the test rows."""
    settings: dict[str, Any]
    parameters: int = 0
    features_seconds: float = 0.0
    size: int = 0
    """The bytes that the baseline needs to answer."""
    latency: Latency | None = None


def run_baseline(kind: str, recipe: Recipe, folder: Path) -> RunResult:
    """Return what the baseline of that kind reaches, and leave its folder. Every rank calls this.

    Args:
        recipe: whose rows, and features, it takes; see `ftkit.compare.ladder`.
        folder: that of a finished baseline is read.

    Raises:
        RunError: the folder holds something else.
        RecipeError, DataError, ModelError, HubError: the request cannot be met.
    """
    clock, machine = Clock(), runtime.start(recipe.train.seed)
    if runtime.on_main(lambda: holds(kind, recipe, folder)):
        return RunResult.read(folder)
    runtime.on_main(lambda: _begin_folder(kind, recipe, folder))
    clock.lap("data")
    told = KINDS[kind](recipe, machine)
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
                train=0.0,
                evaluate=clock.seconds["evaluate"] - told.features_seconds,
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


def majority(recipe: Recipe, machine: runtime.Machine) -> BaselineAnswers:
    """Tell the mean label of the training rows for every row: most often the frequent class.

    Of any number of classes a row those are told that have the best micro-F1 on the training rows.
    The best set is always that of the commonest classes, so a threshold of their shares gives it.
    """
    splits = runtime.main_first(lambda: load_splits(recipe.data, task_of(recipe.task)))
    splits = screen(splits, recipe.data.on_bad_row, runtime.on_main)
    task = task_of(splits.task or recipe.task)
    targets = task.targets(splits.train, len(splits.label_names))
    mean = targets.mean(0, keepdims=True)
    outputs = task.outputs_of_means(mean)
    task = task.with_best_threshold(targets, outputs.repeat(len(targets), 0))
    outputs = outputs.repeat(len(splits.test), 0)
    return BaselineAnswers(splits, task, outputs, _threshold(task), size=mean.nbytes)


def nearest(recipe: Recipe, machine: runtime.Machine) -> BaselineAnswers:
    """Tell for every row the weighted mean label of the nearest training rows, by cosine.

    Raises:
        ModelError: the backbone gives no features of whole rows.
    """
    ready = make_ready(recipe, machine)
    place(ready.model, recipe.train.channels_last, machine.device)
    begin = time.perf_counter()
    train, validation, of_rows = features_of(ready, recipe, machine)
    cached = time.perf_counter()
    classes = len(ready.splits.label_names)
    truth = ready.task.label_array(ready.splits.validation, classes)
    targets = ready.task.targets(ready.splits.train, classes)
    first = next(iter(ready.task.settings.figures))

    def value(k: int) -> tuple[float, Any]:
        """Return the validation figure of k neighbours, and the task with what is decided by it."""
        found = ready.task.outputs_of_means(vote(validation, train, targets, k))
        task = ready.task.with_best_threshold(truth, found)
        return task.score(truth, found)[first], task

    tried = {k: value(k) for k in sorted({min(k, len(train)) for k in NEIGHBOURS})}
    k = max(tried, key=lambda k: tried[k][0])
    test = of_rows(ready.inputs.test)
    task = tried[k][1]
    outputs = task.outputs_of_means(vote(test, train, targets, k))
    parameters, _ = count_parameters(ready.model)
    weights = sum(p.numel() * p.element_size() for p in ready.model.parameters())
    return BaselineAnswers(
        ready.splits,
        task,
        outputs,
        {"neighbours": k, **_threshold(task)},
        parameters,
        cached - begin,
        weights + train.nbytes,
        latency_of_votes(ready, train.shape[1], lambda row: vote(row, train, targets, k), machine),
    )


def _threshold(task: Task) -> dict[str, Any]:
    """Return the threshold for the table of settings, when there is one."""
    threshold = getattr(task.settings, "threshold", None)
    return {} if threshold is None else {"threshold": threshold}


KINDS: dict[str, Callable[[Recipe, runtime.Machine], BaselineAnswers]] = {
    "majority": majority,
    "knn": nearest,
}
