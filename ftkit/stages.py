"""What a strategy does between adapting and measuring: `train(strategy, ...)`, one for each.

Most go through the whole model in every step. A frozen backbone runs once, and its head is trained
on what it gave. LP-FT does one after the other.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import singledispatch
from pathlib import Path
from typing import Any, cast

from peft import PeftModel
from transformers import PreTrainedModel

from ftkit.adapt import adapt, suited_probe
from ftkit.checkpoint import newest_checkpoint
from ftkit.features import cache_features
from ftkit.heads import Head, why_not_alone
from ftkit.linear_head import solve
from ftkit.probe import choose, solver_of
from ftkit.recipe import HeadOnly, Lpft, Recipe
from ftkit.runtime import Machine, on_main
from ftkit.tasks import Inputs
from ftkit.training import Fitted, fit, long_enough

log = logging.getLogger(__name__)


@singledispatch
def train(
    strategy: Any,
    model: PreTrainedModel | PeftModel,
    inputs: Inputs,
    recipe: Recipe,
    machine: Machine,
    folder: Path,
    resume: bool = False,
) -> Fitted:
    """Train what the strategy moves, in place; the best weights are in the model afterwards.

    Args:
        model: adapted to this strategy and on its device.
        folder: of the run; checkpoints/ and log.jsonl are written there.
        resume: go on where an interrupted run left off.

    Raises:
        RunError: a folder cannot be written.
        TrainingError: see `ftkit.training.fit`.
    """
    return fit(model, inputs, long_enough(recipe, len(inputs.train)), machine, folder, resume)


@train.register
def _(
    strategy: HeadOnly,
    model: PreTrainedModel,
    inputs: Inputs,
    recipe: Recipe,
    machine: Machine,
    folder: Path,
    resume: bool = False,
) -> Fitted:
    own = {"weight_decay": strategy.weight_decay, "epochs": strategy.epochs}
    recipe = recipe.override({f"train.{k}": v for k, v in own.items() if v is not None})
    reason = why_not_alone(model, inputs, machine) if strategy.cache else "it was not asked for"
    if reason:
        log.info("features: not cached, the backbone runs in every epoch: %s", reason)
        plain = {"cache": False, "views": 0, "solver": "adamw", "search": False}
        recipe = recipe.override({f"strategy.{name}": value for name, value in plain.items()})
        recipe = long_enough(recipe, len(inputs.train))
        return fit(model, inputs, recipe, machine, folder, resume)
    begin = time.perf_counter()
    features = cache_features(model, inputs, recipe, machine)
    head, cached = Head(model), time.perf_counter()
    if solver_of(strategy, head) == "lbfgs":
        fitted = solve(head, features, recipe, machine, folder, resume)
        return replace(fitted, features_seconds=cached - begin)
    recipe = long_enough(recipe, len(features.train))
    if strategy.search:
        recipe = choose(head, features, recipe, machine)
    searched = time.perf_counter()
    fitted = fit(head, features, recipe, machine, folder, resume)
    used = {name: getattr(recipe.train, name) for name in own} | {"solver": "adamw"}
    return replace(
        fitted,
        strategy=recipe.strategy.model_copy(update=used),
        features_seconds=cached - begin,
        train_seconds=fitted.train_seconds + searched - cached,
    )


@train.register
def _(
    strategy: Lpft,
    model: PreTrainedModel,
    inputs: Inputs,
    recipe: Recipe,
    machine: Machine,
    folder: Path,
    resume: bool = False,
) -> Fitted:
    strategy = strategy.model_copy(update={"probe": suited_probe(strategy, model)})
    told = folder / "probe" / "fitted.json"
    begun = resume and on_main(lambda: newest_checkpoint(folder / "checkpoints") and told.exists())
    if begun:  # the checkpoint holds the probe's head, moved on
        probe = Fitted.from_json(told.read_text(encoding="utf-8"))
    else:
        alone = suited_probe(strategy, model).model_copy(update={"refit": False})
        first = recipe.override({"strategy": alone})
        on_main(lambda: (folder / "probe").mkdir(exist_ok=True))
        frozen = adapt(alone, model)
        probe = train(alone, frozen, inputs, first, machine, folder / "probe", resume)
        on_main(lambda: told.write_text(probe.to_json(), encoding="utf-8"))
    cast(Any, model).keeps_head = True
    recipe = long_enough(recipe, len(inputs.train))
    fitted = fit(adapt(strategy, model), inputs, recipe, machine, folder, resume)
    return replace(
        fitted,
        strategy=strategy.model_copy(update={"probe": probe.strategy}),
        features_seconds=probe.features_seconds,
        train_seconds=probe.train_seconds + fitted.train_seconds,
        validation_seconds=probe.validation_seconds + fitted.validation_seconds,
    )
