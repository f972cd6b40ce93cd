"""`train.batch_size = "auto"`: the smallest batch that trains about as fast as any, by trying.

Real steps on the real model at 8, 16, 32, ... rows, whose rows per second are measured. Weights,
statistics and random states are then as they were, and recipe.json has the number that was found,
as an ordinary setting. Where `train.learning_rate_batch` says for what batch the learning rates of
the recipe are, those of the new batch are sqrt(new / old) times as high: the square root scaling
rule of Adam and AdamW (Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient
Algorithms"). Of that rule only the learning rate is scaled; betas and epsilon stay.
Perceptrons, whose optimiser may be SGD, are not measured and keep batch and learning rate.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from ftkit.backbones.structure import place
from ftkit.errors import TrainingError
from ftkit.machine.numbers import plain
from ftkit.machine.runtime import Machine, in_any, on_main
from ftkit.machine.terminal import quiet
from ftkit.recipe import AUTO, Recipe, Strategy, Train
from ftkit.runs.finished import read_recipe
from ftkit.strategies import strategy_of
from ftkit.strategies.range_test import put_back_afterwards, take_steps
from ftkit.tasks.inputs import Inputs, first_rows
from ftkit.training.precision import fastest_training
from ftkit.training.trainer import FrozenTrainer

log = logging.getLogger(__name__)
LEAST_ROWS = 8
STEPS_PER_EPOCH = 20
"""An epoch keeps at least so many steps: fewer train a model too little. The number was not
measured; with the usual 3 to 5 epochs it makes 60 to 100 steps."""
WORTH = 1.05
"""A larger batch is taken only where its rate is more than so many times as high."""
SECONDS = 1.0
"""A try ends after so much time, once it has had its steps."""
LEAST_STEPS = 3
"""A try takes at least so many steps after a first one, in which memory is allocated and kernels
are chosen."""
ROUNDS, ROWS = 2, 512
"""Tries of each size, and the rows that each goes through if there is time."""


def settle_batch_size(recipe: Recipe, model: Any, inputs: Inputs, machine: Machine) -> Recipe:
    """Return the recipe with a number for its batch size, and learning rates for that.

    The model is as before afterwards.

    Every rank must call this; rank 0's clock decides.

    Args:
        model: adapted to the recipe's strategy.

    Raises:
        RecipeError: the model is shared among GPUs.
        TrainingError: not even the smallest batch fits into memory.
    """
    if recipe.train.batch_size != AUTO:
        return recipe
    rows, not_measured = len(inputs.train), "batch size: %d, not measured: %s"
    if reason := strategy_of(recipe.strategy).why_no_batch_size(model, inputs, machine):
        own = recipe.train.learning_rate_batch or Train().rows_per_step
        log.info(not_measured, own, reason)
        return recipe.override({"train.batch_size": own, "train.learning_rate_batch": None})
    options = sizes(rows, machine.world_size)
    if len(options) == 1:
        log.info(not_measured, options[0], f"for {rows} training rows it is the largest")
        return scaled(recipe, options[0], rows)
    place(model, recipe.train.channels_last, machine.device)
    fastest_training(model, inputs, recipe.train, machine)  # says what it finds; the rest is quiet
    with put_back_afterwards(model, machine), quiet():
        rates = measure(model, inputs, recipe, machine, options)
    chosen = pick(rates)
    figures = ", ".join(f"{plain(rate)} at {size}" for size, rate in rates.items())
    log.info("batch size: %d; rows per second: %s", chosen, figures)
    return scaled(recipe, chosen, rows)


def scaled(recipe: Recipe, rows: int, training_rows: int) -> Recipe:
    """Return the recipe with this batch size, and say what becomes of learning rate and steps."""
    old = recipe.train.learning_rate_batch
    factor = math.sqrt(rows / old) if old else 1.0
    changes: dict[str, Any] = {"train.batch_size": rows, "train.learning_rate_batch": None}
    if factor != 1:
        changes["strategy"] = _with_rates_times(recipe.strategy, factor)
        changes["alternatives"] = [
            _with_rates_times(other, factor) for other in recipe.alternatives
        ]
    found = recipe.override(changes)
    if old is None:
        rate = "the learning rate stays as it is"
    else:
        before, after = recipe.strategy.learning_rate, found.strategy.learning_rate
        rate = f"learning rate {before:g} of {old} rows becomes {after:g}, by sqrt({rows} / {old})"
    epochs = strategy_of(found.strategy).epochs(found, training_rows)
    steps = found.train.max_steps or epochs * math.ceil(training_rows / rows)
    log.info("batch size: %s; %d steps in all", rate, steps)
    return found


def _with_rates_times(settings: Strategy, factor: float) -> Any:
    """Return the settings of a strategy with every learning rate in them times a factor."""
    found: Any = settings
    for path, rate in strategy_of(settings).peak_rates().items():
        found = _replaced_at(found, path, float(f"{rate * factor:.3g}"))
    return found


def _replaced_at(settings: Any, path: str, value: float) -> Any:
    name, _, rest = path.partition(".")
    value = _replaced_at(getattr(settings, name), rest, value) if rest else value
    return settings.model_copy(update={name: value})


def with_batch_size_of_run(recipe: Recipe, folder: Path, resume: bool) -> Recipe:
    """Return the recipe with the batch size that was found when the run in `folder` began."""
    there = folder / "recipe.json"
    if recipe.train.batch_size != AUTO or not resume or not there.is_file():
        return recipe
    before = read_recipe(folder)
    return recipe.override(changes_to_settled(recipe, before))


def changes_to_settled(recipe: Recipe, before: Recipe) -> dict[str, Any]:
    """Return the changes that make a recipe with `auto` the one that was settled before."""
    changes: dict[str, Any] = {
        "train.batch_size": before.train.batch_size,
        "train.learning_rate_batch": None,
    }
    if (
        recipe.train.learning_rate_batch is not None
        and before.strategy.kind == recipe.strategy.kind
    ):
        rates = strategy_of(before.strategy).peak_rates()
        changes |= {f"strategy.{path}": rate for path, rate in rates.items()}
    return changes


def sizes(rows: int, processes: int) -> list[int]:
    """Return the batch sizes to try for so many training rows: each twice the one before.

    Multiples of the number of processes; more than one only where an epoch keeps its steps.
    """
    size = math.ceil(LEAST_ROWS / processes) * processes
    found = [size]
    while (size := 2 * size) * STEPS_PER_EPOCH <= rows:
        found.append(size)
    return found


def measure(
    model: nn.Module, inputs: Inputs, recipe: Recipe, machine: Machine, options: list[int]
) -> dict[int, float]:
    """Return the rows per second of each batch size that was tried, of several tries the best.

    Larger ones are tried until two in a row bring nothing, or memory runs out.

    Raises:
        TrainingError: the memory does not suffice for the smallest one.
    """
    rates: dict[int, float] = {}
    for size in options:
        try:
            rates[size] = rate_of(model, inputs, recipe, machine, size)
        except torch.OutOfMemoryError as error:
            if not rates or machine.world_size > 1:
                raise TrainingError(
                    f"out of memory at a batch of {size} rows; give --batch-size a number, and use "
                    f"--set train.micro_batch_size=..."
                ) from error
            break
        *before, last = rates.values()
        if len(before) > 1 and max(before[-1], last) < WORTH * max(before[:-1]):
            break
    for _ in range(ROUNDS - 1):
        for size in rates:
            rates[size] = max(rates[size], rate_of(model, inputs, recipe, machine, size))
    return rates


def rate_of(model: nn.Module, inputs: Inputs, recipe: Recipe, machine: Machine, size: int) -> float:
    """Return the rows per second of some steps at this batch size, the same for every rank."""
    steps = max(LEAST_STEPS, min(len(inputs.train), ROWS) // size)
    recipe = recipe.override(
        {
            "train.batch_size": size,
            "train.max_steps": 1 + steps,
            "train.class_weights": "none",  # a few rows lack classes
        }
    )
    watch, rows = Stopwatch(machine), first_rows(inputs.train, steps * size)
    take_steps(FrozenTrainer, model, replace(inputs, train=rows), recipe, machine, watch)
    return on_main(lambda: size * (len(watch.ends) - 1) / (watch.ends[-1] - watch.ends[0]))


def pick(rates: dict[int, float]) -> int:
    """Return the smallest batch size whose rate is within 5 % of the best."""
    best = max(rates.values())
    return min(size for size, rate in rates.items() if WORTH * rate >= best)


class Stopwatch(TrainerCallback):
    """Notes when each step ends, and stops after a while."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Note a step."""
        if self.machine.device.type == "cuda":
            torch.cuda.synchronize(self.machine.device)
        self.ends.append(time.perf_counter())
        late = self.ends[-1] - self.ends[0] > SECONDS and len(self.ends) > LEAST_STEPS
        (late,) = in_any(self.machine, late)
        control.should_training_stop |= late
