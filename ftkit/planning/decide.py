"""What is decided before a run by measuring: backbone, strategy, learning rate, and `--budget`.

What was found is written into the run folder as a recipe of ordinary settings; `finetune` then goes
on from there as from any unfinished run.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from ftkit.errors import RecipeError
from ftkit.finetuning.finetune import make_ready
from ftkit.finetuning.folder import is_complete, open_folder
from ftkit.machine import runtime
from ftkit.planning.backbone_report import sentences
from ftkit.planning.backbone_report import write as write_search
from ftkit.planning.backbone_search import search_backbones
from ftkit.planning.choose import choose
from ftkit.recipe import AUTO, Backbone, Recipe
from ftkit.runs.finished import read_recipe
from ftkit.runs.pinning import pin
from ftkit.runs.plots import plot_range_test
from ftkit.strategies import strategy_of
from ftkit.strategies.batch_size import changes_to_settled, settle_batch_size
from ftkit.strategies.range_test import STEPS, range_test, smoothed

log = logging.getLogger(__name__)
SHARE_FOR_BACKBONES = 0.25
"""Of `--budget`, for the choice of a backbone."""


@dataclass(frozen=True)
class LeftToMeasure:
    """What a command leaves to measurement."""

    strategy: bool = False
    learning_rate: bool = False
    budget: float | None = None
    """Seconds for the whole command."""
    backbones: tuple[str, ...] = ()
    """Of which one is chosen; none: the recipe's own is taken."""
    settled: frozenset[str] = frozenset()
    """What is not chosen of a backbone, see `ftkit.recipe.backbone.AXES`."""

    def __bool__(self) -> bool:
        chosen = self.strategy or self.learning_rate or bool(self.backbones)
        return chosen or self.budget is not None


def decide(recipe: Recipe, wanted: LeftToMeasure, folder: Path, resume: bool = False) -> Recipe:
    """Return the recipe with all that was left to measurement, written into the new run folder.

    With `resume`, what an earlier call wrote there stands. Every rank must call this.

    Raises:
        RunError: `folder` is not empty.
        RecipeError, DataError, ModelError, HubError: the request cannot be met.
        TrainingError: the range test found no rate.
    """
    there = folder / "recipe.json"
    if resume and runtime.on_main(there.is_file):
        return recipe_as_decided(recipe, wanted, runtime.on_main(lambda: read_recipe(folder)))
    imports = time.time() - psutil.Process().create_time()
    machine = runtime.start(recipe.train.seed)
    if not wanted.backbones:  # else the one that is chosen is pinned
        recipe = runtime.on_main(partial(pin, recipe))
    runtime.on_main(lambda: is_complete(folder, recipe, resume=False))
    searched = None
    if wanted.backbones:
        limit = SHARE_FOR_BACKBONES * (math.inf if wanted.budget is None else wanted.budget)
        searched = search_backbones(recipe, wanted.backbones, wanted.settled, limit)
        recipe = runtime.on_main(partial(pin, searched.chosen.candidate.of(recipe)))
        for sentence in sentences(searched):
            log.info("%s", sentence)
    if recipe.train.batch_size == AUTO:
        ready = make_ready(recipe, machine)
        settled = settle_batch_size(ready.resolved(recipe), ready.model, ready.inputs, machine)
        recipe = settled.model_copy(update={"task": recipe.task})
    if wanted.strategy or wanted.budget is not None:
        steps = STEPS if wanted.learning_rate else 0
        choice = choose(recipe, machine, wanted.budget, wanted.strategy, imports, steps)
        recipe = choice.recipe
        log.info("auto: %s", choice.why)
    found = None
    if wanted.learning_rate:
        ready = make_ready(recipe, machine)
        strategy = strategy_of(recipe.strategy)
        if reason := strategy.why_no_learning_rate(ready.model, ready.inputs, machine):
            log.info("learning rate: not looked for: %s", reason)
        else:
            found = range_test(ready.model, ready.inputs, ready.resolved(recipe), machine)
            recipe = recipe.override({"strategy.learning_rate": found.chosen})

    def write() -> None:
        open_folder(folder, recipe).release()  # `finetune` takes it again
        if searched is not None:
            write_search(searched, folder, folder / "plots")
        if found is None:
            return
        found.write(folder / "learning_rate.json")
        title = f"{recipe.name}, {recipe.strategy.kind}: range test"
        means = smoothed(found.losses)
        file = folder / "plots" / "learning_rate.png"
        plot_range_test(found.rates, found.losses, means, found.chosen, file, title)

    runtime.on_main(write)
    return recipe


def recipe_as_decided(recipe: Recipe, wanted: LeftToMeasure, before: Recipe) -> Recipe:
    """Return the recipe with what an earlier call decided; other settings may differ."""
    if wanted.strategy:
        recipe = recipe.with_strategy(before.strategy.kind)
    if wanted.backbones:
        if before.backbone.id not in wanted.backbones:
            raise RecipeError(
                f"this run began with backbone '{before.backbone.id}', which is none of those that "
                f"are asked for now: {', '.join(wanted.backbones)}; give another --out"
            )
        asked = {name: getattr(recipe.backbone, name) for name in wanted.settled}
        recipe = recipe.model_copy(update={"backbone": before.backbone.model_copy(update=asked)})
    changes: dict[str, Any] = {}
    if recipe.train.batch_size == AUTO:
        changes |= changes_to_settled(recipe, before)
    if wanted.strategy or wanted.budget is not None:
        changes["train.epochs"] = before.train.epochs
        if isinstance(before.backbone, Backbone):
            changes["backbone.image_size"] = before.backbone.image_size
    if wanted.learning_rate:
        changes["strategy.learning_rate"] = before.strategy.learning_rate
    return recipe.override(changes)
