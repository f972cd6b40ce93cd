"""Which strategy, how many epochs, which image size fit into the time that there is: `choose`.

The head goes first, on cached features: it costs seconds and says what the backbone knows already.
Then two real steps of the whole model say what a step costs, and the rest is arithmetic. All of it
moves where it fits; LoRA, whose steps are hardly shorter, is for what does not fit into memory.
Where a class has few labels, a strategy that is made for them is tried instead.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from ftkit.backbones.structure import count_parameters, is_convolutional, place
from ftkit.errors import RecipeError
from ftkit.finetuning.estimate import Estimate, estimate
from ftkit.finetuning.finetune import Ready, make_ready
from ftkit.finetuning.in_time import BATCH
from ftkit.finetuning.verify import most_seconds
from ftkit.machine import runtime
from ftkit.machine.terminal import duration, quiet
from ftkit.recipe import Mlp, Recipe
from ftkit.strategies import strategy_of
from ftkit.strategies.base import Strategy
from ftkit.strategies.few_labels import rows_of_class, suited_to
from ftkit.strategies.heads import why_not_alone
from ftkit.tasks.evaluation import MOST_VERIFIED
from ftkit.tasks.metrics.intervals import wilson
from ftkit.training.fitted import Session

log = logging.getLogger(__name__)
ENOUGH = 0.99
"""Nothing more is tried when the lower end of the 95 % interval of a head's accuracy reaches this.
"""
LEAST_STEPS = 120
"""Fewer steps do not move a backbone far enough to pass its head: effnet-digits, whose head alone
has 0.953, fully had 0.931 after 82 steps at 48 px. These were test rows (docs/choosing.md)."""
SMALLER = (1.0, 0.75, 0.5)
"""Image sides that are tried, as shares of the recipe's own."""
MOST_SPENT_ON_HEAD = 1 / 3
"""The head is taken when so much of the budget is gone after it: the machine is too busy for more.
"""
PLANNED_SHARE = 0.9
"""The share of the time left that is planned with."""


@dataclass(frozen=True)
class Choice:
    """What fits, and why it was chosen."""

    recipe: Recipe
    why: str


@dataclass
class Clock:
    """The time that is left of the budget. The start of this process counts too."""

    budget: float
    """Seconds; infinite when the user gave none."""
    imports: float
    """Seconds that a fresh process takes before it starts to work."""
    loading: float = 0.0
    """Seconds for loading data and backbone."""

    def elapsed(self) -> float:
        """Return the seconds since the command was given."""
        return time.time() - psutil.Process().create_time()

    def left(self, ready: Ready, measured: Estimate, artefacts: int, later: float) -> float:
        """Return the seconds for epochs, less those for loading, testing, saving and verifying."""
        rows = len(ready.inputs.test)
        row = 2 * artefacts * measured.seconds_test / rows
        most, least = (row * min(count, rows) for count in (MOST_VERIFIED, BATCH))
        answers = min(most, least + most_seconds(self.budget))
        verifying = artefacts * (self.imports + self.loading) + answers
        after = self.loading + measured.seconds_test + verifying + later
        return PLANNED_SHARE * (self.budget - self.elapsed() - after)


def choose(
    recipe: Recipe,
    machine: runtime.Machine,
    budget: float | None,
    strategy: bool,
    imports: float,
    later: int = 0,
) -> Choice:
    """Return the recipe with strategy, epochs and image size that fit into the budget.

    Every rank must call this; rank 0's clock decides.

    Args:
        budget: seconds for the whole command; None: as long as it takes.
        strategy: choose it; else the recipe's own stays, and only epochs and size are chosen.
        imports: seconds from the start of this process until now.
        later: steps that will be taken before training, for a range test.

    Raises:
        RecipeError: not even one epoch of the head fits, or the recipe trains a perceptron.
    """
    if isinstance(recipe.backbone, Mlp):
        raise RecipeError(
            f"--strategy auto and --budget: {recipe.name} trains a perceptron in seconds; use "
            f"--strategy full, and --epochs for its time"
        )
    clock = Clock(math.inf if budget is None else budget, imports)
    begin = time.perf_counter()
    kinds = ["full", "lora"] if strategy else [recipe.strategy.kind]
    made = kinds[0]
    ready = make_ready(recipe.with_strategy(made) if strategy else recipe, machine)
    place(ready.model, recipe.train.channels_last, machine.device)
    clock.loading = time.perf_counter() - begin
    said, head = "", None
    if strategy and not recipe.task.writes:
        head, said = _head_first(recipe, ready, machine)
        if head is not None and head_is_enough(recipe, head, ready.inputs.validation.labels):
            return Choice(recipe.with_strategy("head"), f"head: {said}, nothing more is needed")
        gone = runtime.on_main(clock.elapsed)
        if head is not None and gone > MOST_SPENT_ON_HEAD * clock.budget:
            why = f"head: {said}; {duration(gone)} are gone, too much to try more"
            return Choice(recipe.with_strategy("head"), why)
        rows = rows_of_class(ready.task.settings, ready.inputs.train.labels)
        suited = suited_to(recipe.task.noun, rows)
        if head is not None and suited:
            kinds = [suited, "lpft"]
            said += f"; a class has {rows:.3g} {recipe.task.noun} in the mean"
    for kind in kinds:
        wanted = recipe.with_strategy(kind) if strategy else recipe
        chosen = strategy_of(wanted.strategy)
        if strategy and not _fits_into_memory(chosen, ready, machine):
            said += f"; {kind} does not fit into memory"
            continue
        if kind != made:
            ready, made = make_ready(wanted, machine), kind
        elif strategy:
            chosen.adapt(ready.model)
        found = _choice_that_fits(wanted, ready, machine, clock, later, demanding=head is not None)
        if isinstance(found, Choice):
            return Choice(found.recipe, f"{found.why}; {said.lstrip('; ')}".removesuffix("; "))
        said += f"; {found}"
        if kind == "full":
            break  # LoRA saves memory; its steps are not much shorter
    if head is None:
        raise RecipeError(
            f"--budget {duration(budget or 0)} is too short for {recipe.name}: {said.lstrip('; ')}"
        )
    return Choice(recipe.with_strategy("head"), f"head: {said}")


def _choice_that_fits(
    recipe: Recipe,
    ready: Ready,
    machine: runtime.Machine,
    clock: Clock,
    later: int,
    demanding: bool,
) -> Choice | str:
    """Return the recipe with the epochs that fit, or a sentence on why none do.

    Args:
        demanding: there is a head to fall back on, so a few steps are too few.
    """
    strategy = strategy_of(recipe.strategy)
    with quiet():
        if not strategy.head_alone:
            recipe = strategy.long_enough(recipe, len(ready.inputs.train))
        measured = estimate(recipe, ready, machine)
    per_epoch = (measured.seconds - measured.seconds_test) / recipe.train.epochs
    steps = math.ceil(len(ready.inputs.train) / recipe.train.rows_per_step)
    least = math.ceil(LEAST_STEPS / steps) if demanding else 1
    least = min(least, recipe.train.epochs) if strategy.by_epochs else recipe.train.epochs

    def decide() -> Choice | str:
        """On rank 0 alone: clocks differ."""
        left = clock.left(ready, measured, strategy.artefacts, later * measured.seconds_per_step)
        side = _side(recipe, ready)
        for share in SMALLER if side and not strategy.head_alone else (1.0,):
            cost = per_epoch * share**2  # convolutions: in proportion to the pixels
            epochs = min(recipe.train.epochs, math.floor(min(left / cost, 1e6)))
            if epochs < least:
                continue
            changes: dict[str, Any] = {"train.epochs": epochs, "train.least_steps": 0}
            place_of = ""
            if side:
                place_of = f" at {round(side * share)} px"
            if share < 1:
                changes["backbone.image_size"] = round(side * share)
            length = f" {epochs} epoch{'s' if epochs > 1 else ''}" if strategy.by_epochs else ""
            step = f", {cost / steps:.2g} s a step" if strategy.by_epochs else ""
            taken = duration(epochs * cost)
            why = f"{recipe.strategy.kind}:{length}{place_of} in about {taken}{step}"
            return Choice(recipe.override(changes), why)
        need = duration(least * per_epoch)
        return f"{recipe.strategy.kind} would need {need}, {duration(max(0.0, left))} are left"

    return runtime.on_main(decide)


def _side(recipe: Recipe, ready: Ready) -> int:
    """Return the side of the images in pixels; 0 when it cannot be changed."""
    if recipe.task.noun != "images" or not is_convolutional(ready.model):
        return 0
    return int(ready.inputs.test[0]["pixel_values"].shape[-1])


def _head_first(recipe: Recipe, ready: Ready, machine: runtime.Machine) -> tuple[float | None, str]:
    """Return the validation figure of the head alone, and a sentence on it."""
    first = recipe.with_strategy("head")
    strategy, model = strategy_of(first.strategy), ready.model
    strategy.adapt(model)
    if why_not_alone(model, ready.inputs, machine) or not strategy.rows_once(ready.inputs):
        return None, ""
    begin = time.perf_counter()
    folder = Path(runtime.on_main(lambda: tempfile.mkdtemp(prefix="ftkit-")))
    with quiet():
        session = Session(machine, folder)
        fitted = strategy.train(model, ready.inputs, ready.resolved(first), session)
    # What the solver measured on rows that it did not learn from. The head itself may have learned
    # from the validation rows too, and then cannot be measured on them any more.
    value = fitted.validation.get(recipe.best_by)
    if value is None:
        rows = ready.inputs.validation
        outputs = ready.task.predict(model, rows, first.train, machine, False)
        value = ready.task.score(rows.labels, outputs)[recipe.best_by]
    seconds = time.perf_counter() - begin
    return value, f"the head alone has {recipe.best_by} {value:.3f} after {duration(seconds)}"


def head_is_enough(recipe: Recipe, head: float, labels: np.ndarray) -> bool:
    """Return whether a head with this validation figure leaves nothing to gain.

    Only accuracy says so, and only by the lower end of its interval (Wilson 1927): 16 of 16 rows
    right have a lower end of 0.81. Other figures do not: a head of AUROC 0.99 may be wrong on one
    row in twenty. Where one class alone makes up so many rows, accuracy says nothing either, nor
    does that of words, which depend on each other in their texts, nor of rows in groups.

    Args:
        labels: (N,) of the validation rows, the class number of each.
    """
    if recipe.best_by != "accuracy" or np.ndim(labels) != 1 or labels.dtype == object:
        return False
    if recipe.data.group is not None:
        return False
    most_frequent = np.unique(labels, return_counts=True)[1].max() / len(labels)
    return wilson(head, len(labels))[0] >= ENOUGH > most_frequent


def _fits_into_memory(strategy: Strategy, ready: Ready, machine: runtime.Machine) -> bool:
    """Return whether weights, gradients and moments fit; training halves what rows need."""
    total, _ = count_parameters(ready.model)
    if machine.device.type == "cuda":
        free = torch.cuda.mem_get_info(machine.device)[0] + 4 * total  # the weights lie there
    else:
        free = psutil.virtual_memory().available // machine.world_size
    return strategy.bytes_per_parameter * total < 0.8 * free
