"""How long a run will take and how much memory it needs, from two real steps of the real model."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftkit.backbones.structure import place
from ftkit.finetuning.finetune import Ready
from ftkit.machine import runtime
from ftkit.recipe import Recipe
from ftkit.strategies import strategy_of
from ftkit.strategies.heads import why_not_alone
from ftkit.tasks.evaluation import evaluation_batch
from ftkit.tasks.inputs import Inputs, Rows, first_rows
from ftkit.training.fit import fit
from ftkit.training.fitted import Session

STEPS = 2
"""The first one warms up, the second one is measured."""


@dataclass(frozen=True)
class Estimate:
    """What a run would take on this machine, without loading, saving and verifying."""

    steps: int
    seconds_per_step: float
    """0 where the head alone is trained, on what the backbone gave once."""
    seconds: float
    """Features, training, validation after each epoch, and test."""
    seconds_test: float
    """Of them, test."""
    peak_memory_bytes: dict[str, int]
    """Of this process on the host, and on its device."""


def estimate(recipe: Recipe, ready: Ready, machine: runtime.Machine) -> Estimate:
    """Return what a run would take, by taking two steps; moves the parameters of `ready.model`.

    Every rank must call this. Writes to a temporary folder alone.
    """
    train, inputs, strategy = recipe.train, ready.inputs, strategy_of(recipe.strategy)
    steps_per_epoch = math.ceil(len(inputs.train) / train.rows_per_step)
    steps = strategy.steps(recipe, len(inputs.train))
    place(ready.model, train.channels_last, machine.device)
    some = first_rows(inputs.test, evaluation_batch(train, machine) * machine.world_size)
    _seconds_per_row(
        ready, first_rows(inputs.test, machine.world_size), recipe, machine, final=True
    )
    per_row = _seconds_per_row(ready, some, recipe, machine, final=False)
    tested = _seconds_per_row(ready, some, recipe, machine, final=True) * len(inputs.test)
    evaluated, per_step = strategy.rows_once(inputs), 0.0
    if evaluated and why_not_alone(ready.model, inputs, machine):
        evaluated = 0
    if not (evaluated and strategy.head_alone):
        evaluated += math.ceil(steps / steps_per_epoch) * len(inputs.validation)
        per_step = _seconds_per_step(ready.model, inputs, recipe, machine)
    seconds = steps * per_step + evaluated * per_row + tested
    return Estimate(steps, per_step, seconds, tested, runtime.peak_memory(machine))


def _seconds_per_row(
    ready: Ready, rows: Rows, recipe: Recipe, machine: runtime.Machine, final: bool
) -> float:
    begin = time.perf_counter()
    ready.task.predict(ready.model, rows, recipe.train, machine, final)
    return (time.perf_counter() - begin) / len(rows)


def _seconds_per_step(
    model: Any, inputs: Inputs, recipe: Recipe, machine: runtime.Machine
) -> float:
    """Return the seconds between the entries of the log that `fit` leaves after two steps."""
    rows = STEPS * recipe.train.rows_per_step
    small = Inputs(
        first_rows(inputs.train, rows),
        first_rows(inputs.train_plain, rows),
        first_rows(inputs.validation, evaluation_batch(recipe.train, machine)),
        inputs.test,
        inputs.mixing,
    )
    changes = {"train.max_steps": STEPS, "train.class_weights": "none"}  # a few rows lack classes
    folder = Path(runtime.on_main(lambda: tempfile.mkdtemp(prefix="ftkit-")))
    try:
        recipe = recipe.override(changes)
        fit(model, strategy_of(recipe.strategy), small, recipe, Session(machine, folder))

        def read() -> float:
            entries = map(json.loads, (folder / "log.jsonl").read_text("utf-8").splitlines())
            points = [(entry["step"], entry["seconds"]) for entry in entries if "loss" in entry]
            (step, seconds) = points[-1]
            (before, then) = points[-2] if len(points) > 1 else (0, 0.0)
            return (seconds - then) / (step - before)

        return runtime.on_main(read)
    finally:
        runtime.on_main(lambda: shutil.rmtree(folder, ignore_errors=True))
