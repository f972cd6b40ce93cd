"""Contrastive fine-tuning, for few labels: rows of a class are drawn together, then the head.

From few rows a new head learns little, and so does the backbone through it. Pairs say more: N rows
have N (N - 1) / 2 of them. SetFit (Tunstall et al. 2022, arXiv 2209.11055) trains on pairs one by
one; here all pairs of a batch are compared at once by the supervised contrastive loss (Khosla et
al. 2020, arXiv 2004.11362), so memory does not grow with their number. It acts on what the head is
given. The head is then trained on that, as by the strategy `head`. Where the names of classes say
something to the backbone, they are texts of them too (`class_names`).

The steps stand in `ftkit/strategies/contrastive_steps.py`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from ftkit.backbones.pooling import pooling_parts
from ftkit.errors import ModelError, RecipeError
from ftkit.machine.runtime import Machine, on_main
from ftkit.recipe import Contrastive, Recipe
from ftkit.strategies.base import Strategy, set_keeping_statistics
from ftkit.strategies.class_names import rows_of_names
from ftkit.strategies.contrastive_steps import FIRST, draw_together
from ftkit.strategies.head import HeadOnlyStrategy
from ftkit.strategies.head_inputs import HeadInputs
from ftkit.strategies.heads import why_not_alone
from ftkit.tasks.inputs import Inputs, JoinedRows, Rows
from ftkit.training.compiled import without_compiling
from ftkit.training.fitted import Fitted, Session
from ftkit.training.sharded import is_shared

log = logging.getLogger(__name__)
AGAIN = "again"
"""The subfolder of that of the contrastive steps with all that the second round writes."""
WITHOUT_EFFECT = ("micro_batch_size", "gradient_checkpointing", "push_checkpoints")
"""Settings of training. Two of them save memory, and all pairs of a batch must be there at once."""
NO_RANGE_TEST = (
    "a range test goes by the loss of a head, and the steps of this strategy by another one; "
    "--learning-rate takes a number"
)


class ContrastiveStrategy(Strategy):
    """See the head of this file."""

    settings: Contrastive
    by_epochs = False
    stages = (FIRST, f"{FIRST}/{AGAIN}/{FIRST}")

    def adapt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with every parameter set to move but the layer that takes the mean.

        Raises:
            ModelError: the probe cannot train this head.
        """
        self._head_alone().adapt(model)
        set_keeping_statistics(model, True)
        super().adapt(model)
        return model

    def moves(self, model: nn.Module) -> set[str]:
        """Return the names of all parameters but those of the layer that takes the mean."""
        still = tuple(f"{part}." for part in pooling_parts(model))
        return {name for name in super().moves(model) if not name.startswith(still)}

    def peak_rates(self) -> dict[str, float]:
        """Return the rates of both stages."""
        return {**super().peak_rates(), "probe.learning_rate": self.settings.probe.learning_rate}

    def steps(self, recipe: Recipe, rows: int) -> int:
        """Return the contrastive steps, in both rounds together."""
        return (recipe.train.max_steps or self.settings.steps) * (2 if self.settings.refit else 1)

    def rows_once(self, inputs: Inputs) -> int:
        """Return how many rows are cached for the head, in both rounds together."""
        return self._head_alone().rows_once(inputs) * (2 if self.settings.refit else 1)

    def train(
        self, model: PreTrainedModel, inputs: Inputs, recipe: Recipe, session: Session
    ) -> Fitted:
        """Draw the rows of each class together and train the head; then both on all rows.

        The validation rows judge the first round, which has not seen them. With `refit` the second
        one begins again from the pretrained weights, and has them too.

        Raises:
            ModelError: the head of this model is not given one vector of each row.
            RecipeError: the model is shared among GPUs.
            TrainingError: the loss stopped being a number.
        """
        if is_shared():
            raise RecipeError("strategy contrastive: it is not for a model shared among GPUs")
        if reason := why_not_alone(model, inputs, session.machine):
            raise ModelError(f"strategy contrastive: {reason}; use full or lora")
        recipe = without_compiling(recipe, "there are few contrastive steps")
        for name in WITHOUT_EFFECT:
            if getattr(recipe.train, name):
                log.info(f"train.{name} has no effect on the contrastive steps")
        named = None
        if self.settings.class_names:
            named = rows_of_names(HeadInputs(model, inputs, session.machine), inputs.train)
        moving = [p for p in model.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in moving] if self.settings.refit else []
        first = self._round(model, inputs, named, recipe, session)
        fitted = first
        solver = getattr(first.strategy, "solver", None)
        if self.settings.refit and solver == "lbfgs":  # else they chose the epoch
            with torch.no_grad():
                for parameter, value in zip(moving, before, strict=True):
                    parameter.copy_(value)
            figures = f"loss {first.validation['loss']:.4f}, {recipe.best_by} "
            figures += f"{first.validation[recipe.best_by]:.4f}"
            log.info(
                f"contrastive: once more from the start, with the validation rows; what is said of "
                f"them now is of rows that were learned from, and {figures} is kept"
            )
            again = session.folder / FIRST / AGAIN
            on_main(lambda: again.mkdir(exist_ok=True))
            last = replace(session, folder=again)
            both = _with_rows(inputs, inputs.validation, inputs.validation_groups)
            fitted = self._round(model, both, named, recipe, last)
        self.adapt(model)
        rounds = [first] if fitted is first else [first, fitted]
        return replace(
            fitted,
            strategy=self.settings.model_copy(update={"probe": fitted.strategy}),
            features_seconds=sum(each.features_seconds for each in rounds),
            train_seconds=sum(each.train_seconds for each in rounds),
            validation_seconds=sum(each.validation_seconds for each in rounds),
            validation=first.validation,
        )

    def for_range_test(
        self, model: Any, inputs: Inputs, recipe: Recipe, machine: Machine
    ) -> tuple[nn.Module, Inputs]:
        """Raise RecipeError: the range test goes by the loss of a head."""
        raise RecipeError(f"--learning-rate auto: {NO_RANGE_TEST}")

    def why_no_learning_rate(self, model: Any, inputs: Inputs, machine: Machine) -> str:
        """Return why."""
        return NO_RANGE_TEST

    def _round(
        self,
        model: PreTrainedModel,
        inputs: Inputs,
        named: Rows | None,
        recipe: Recipe,
        session: Session,
    ) -> Fitted:
        """Take the contrastive steps, then train the head on what the backbone gives now.

        Args:
            named: rows whose texts are the names of classes, which are learned from too.
        """
        own = len(inputs.train)
        if named is not None:
            inputs = _with_rows(inputs, named)
        steps = draw_together(self.adapt(model), inputs, own, recipe, self, session)
        alone = self._head_alone()
        recipe = recipe.override({"strategy": alone.settings})
        fitted = alone.train(alone.adapt(model), inputs, recipe, session)
        return replace(fitted, train_seconds=fitted.train_seconds + steps.seconds)

    def _head_alone(self) -> HeadOnlyStrategy:
        return HeadOnlyStrategy(self.settings.probe.model_copy(update={"refit": False}))


def _with_rows(inputs: Inputs, more: Rows, groups: np.ndarray | None = None) -> Inputs:
    """Return the inputs with more rows after those of training.

    Args:
        groups: of these rows, where rows are grouped; when not given each is by itself.
    """
    together = inputs.train_groups
    if together is not None:
        if groups is None:
            groups = together.max() + 1 + np.arange(len(more))
        together = np.concatenate([together, groups])
    return replace(
        inputs,
        train=JoinedRows(inputs.train, more),
        train_plain=JoinedRows(inputs.train_plain, more),
        train_groups=together,
    )
