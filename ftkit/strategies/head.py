"""The head alone: the backbone is frozen, runs once, and the head is trained on what it gave."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ftkit.backbones.perceptron import Perceptron
from ftkit.backbones.structure import head_names, pooler_name
from ftkit.errors import ModelError, RecipeError
from ftkit.machine.runtime import Machine
from ftkit.recipe import HeadOnly, Recipe
from ftkit.strategies.base import Strategy
from ftkit.strategies.features import cache_features
from ftkit.strategies.heads import Head, why_not_alone
from ftkit.strategies.linear_head import solve
from ftkit.strategies.probe import search_settings, solver_of
from ftkit.tasks.inputs import Inputs
from ftkit.training.compiled import without_compiling
from ftkit.training.fit import fit
from ftkit.training.fitted import Fitted, Session

log = logging.getLogger(__name__)


class HeadOnlyStrategy(Strategy):
    """See the head of this file."""

    settings: HeadOnly
    head_alone = True

    def adapt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with the head set to move, and the pooler where that is asked for.

        Raises:
            ModelError: there is no such layer, or L-BFGS is asked for and cannot train the head.
        """
        super().adapt(model)
        if self.settings.solver == "lbfgs" and not self.is_linear(model):
            found = ", ".join(type(part).__name__ for part in self._parts(model))
            raise ModelError(
                f"strategy.solver = 'lbfgs': needs a head of one Linear layer, "
                f"{type(model).__name__} has {found}; use --set strategy.solver=adamw"
            )
        return model

    def moves(self, model: nn.Module) -> set[str]:
        """Return the names of the head's parameters."""
        moving = {parameter for part in self._parts(model) for parameter in part.parameters()}
        return {name for name, parameter in model.named_parameters() if parameter in moving}

    def is_linear(self, model: PreTrainedModel) -> bool:
        """Return whether what moves is one Linear layer, as L-BFGS needs it."""
        parts = [] if self.settings.pooler else self._parts(model)
        return len(parts) == 1 and isinstance(parts[0], nn.Linear)

    def _parts(self, model: Any) -> list[nn.Module]:
        names = head_names(model) + ([pooler_name(model)] if self.settings.pooler else [])
        return [model.get_submodule(name) for name in names]

    def least_steps(self, recipe: Recipe) -> tuple[str, int]:
        """Return those of a head on cached features, whose steps cost next to nothing."""
        if not self.settings.cache:
            return super().least_steps(recipe)
        return "strategy.least_steps", self.settings.least_steps

    def epochs(self, recipe: Recipe, rows: int) -> int:
        """Return the head's own epochs, the recipe's, or as many as the least steps ask for."""
        if self.settings.epochs:
            recipe = recipe.override({"train.epochs": self.settings.epochs})
        return super().epochs(recipe, rows)

    def train(
        self, model: PreTrainedModel, inputs: Inputs, recipe: Recipe, session: Session
    ) -> Fitted:
        """Train the head on features, exactly or by AdamW; with the backbone where it must be."""
        settings = self.settings
        own = {"weight_decay": settings.weight_decay, "epochs": settings.epochs}
        recipe = recipe.override({f"train.{k}": v for k, v in own.items() if v is not None})
        reason: str | None = "it was not asked for"
        if settings.cache:
            reason = why_not_alone(model, inputs, session.machine)
        if reason:
            log.info("features: not cached, the backbone runs in every epoch: %s", reason)
            plain = {"cache": False, "views": 0, "solver": "adamw", "search": False}
            recipe = recipe.override({f"strategy.{name}": value for name, value in plain.items()})
            uncached = HeadOnlyStrategy(recipe.strategy)
            recipe = uncached.long_enough(recipe, len(inputs.train))
            return fit(model, uncached, inputs, recipe, session)
        recipe = without_compiling(recipe, "the head trains alone, on features")
        begin = time.perf_counter()
        features = cache_features(model, inputs, recipe, session.machine)
        head, cached = Head(model), time.perf_counter()
        if solver_of(settings, head) == "lbfgs":
            fitted = solve(head, features, recipe, session)
            return replace(fitted, features_seconds=cached - begin)
        recipe = self.long_enough(recipe, len(features.train))
        if settings.search:
            recipe = search_settings(head, features, recipe)
        searched = time.perf_counter()
        fitted = fit(head, self, features, recipe, session)
        used = {name: getattr(recipe.train, name) for name in own} | {"solver": "adamw"}
        return replace(
            fitted,
            strategy=recipe.strategy.model_copy(update=used),
            features_seconds=cached - begin,
            train_seconds=fitted.train_seconds + searched - cached,
        )

    def rows_once(self, inputs: Inputs) -> int:
        """Return how many rows are cached: training rows in each view, and validation rows."""
        if not self.settings.cache:
            return 0
        return (self.settings.views or 1) * len(inputs.train) + len(inputs.validation)

    def for_range_test(
        self, model: Any, inputs: Inputs, recipe: Recipe, machine: Machine
    ) -> tuple[nn.Module, Inputs]:
        """Return the head and its cached features, where `train` would use them."""
        if reason := self.why_no_learning_rate(model, inputs, machine):
            raise RecipeError(f"--learning-rate auto: {reason}")
        if not self.settings.cache or why_not_alone(model, inputs, machine):
            return super().for_range_test(model, inputs, recipe, machine)
        return Head(model), cache_features(model, inputs, recipe, machine)

    def why_no_learning_rate(self, model: Any, inputs: Inputs, machine: Machine) -> str | None:
        """Return why, where L-BFGS solves the head."""
        if isinstance(model, Perceptron):
            return None
        solved = self.settings.solver == "lbfgs"
        if self.settings.solver == "auto" and self.settings.cache:
            alone = why_not_alone(model, inputs, machine) is None
            solved = alone and isinstance(Head(model).head, nn.Linear)
        if not solved:
            return None
        return (
            "L-BFGS solves this head without a learning rate; --set strategy.solver=adamw has one"
        )

    def why_no_batch_size(self, model: Any, inputs: Inputs, machine: Machine) -> str | None:
        """Return why, where the head is trained alone."""
        alone = self.settings.cache and not isinstance(model, Perceptron)
        if alone and why_not_alone(model, inputs, machine) is None:
            return "a head alone trains in seconds"
        return super().why_no_batch_size(model, inputs, machine)
