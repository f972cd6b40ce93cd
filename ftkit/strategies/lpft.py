"""LP-FT: the head alone first, then every parameter from there (Kumar et al. 2022)."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from ftkit.machine.runtime import Machine, on_main
from ftkit.recipe import HeadOnly, Lpft, Recipe
from ftkit.runs.checkpoint import newest_checkpoint
from ftkit.strategies.base import Strategy, set_keeping_statistics
from ftkit.strategies.head import HeadOnlyStrategy
from ftkit.tasks.inputs import Inputs
from ftkit.training.fit import fit
from ftkit.training.fitted import Fitted, Session

log = logging.getLogger(__name__)
PROBE = "probe"
"""The subfolder of the run that the first stage writes to."""


class LpftStrategy(Strategy):
    """See the head of this file."""

    settings: Lpft
    stages = (PROBE,)

    def adapt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with every parameter set to move, as the second stage has it.

        Raises:
            ModelError: the probe cannot train this head.
        """
        HeadOnlyStrategy(self._suited_probe(model)).adapt(model)
        set_keeping_statistics(model, self.settings.keep_statistics)
        super().adapt(model)
        return model

    def _suited_probe(self, model: PreTrainedModel) -> HeadOnly:
        """Return the settings of the probe as this model's head can be trained.

        L-BFGS needs a head of one Linear layer; RoBERTa, DistilBERT and ELECTRA have two. AdamW
        trains any.
        """
        probe = self.settings.probe
        if probe.solver != "lbfgs" or HeadOnlyStrategy(probe).is_linear(model):
            return probe
        log.info(
            "strategy.probe.solver = 'lbfgs' is for a head of one Linear layer, which "
            f"{type(model).__name__} has not; the probe takes adamw"
        )
        return probe.model_copy(update={"solver": "adamw"})

    def peak_rates(self) -> dict[str, float]:
        """Return the rates of both stages."""
        return {**super().peak_rates(), "probe.learning_rate": self.settings.probe.learning_rate}

    def train(
        self, model: PreTrainedModel, inputs: Inputs, recipe: Recipe, session: Session
    ) -> Fitted:
        """Train the head in the folder's probe/, then every parameter from there."""
        suited = self._suited_probe(model)
        folder = session.folder / PROBE
        told = folder / "fitted.json"
        begun = session.resume and on_main(
            lambda: newest_checkpoint(session.folder / "checkpoints") and told.exists()
        )
        if begun:  # the checkpoint holds the probe's head, moved on
            probe = Fitted.from_json(told.read_text(encoding="utf-8"))
        else:
            alone = HeadOnlyStrategy(suited.model_copy(update={"refit": False}))
            first = recipe.override({"strategy": alone.settings, "train.compile": False})
            on_main(lambda: folder.mkdir(exist_ok=True))
            frozen = alone.adapt(model)
            probe = alone.train(frozen, inputs, first, replace(session, folder=folder))
            on_main(lambda: told.write_text(probe.to_json(), encoding="utf-8"))
        cast(Any, model).keeps_head = True
        recipe = self.long_enough(recipe, len(inputs.train))
        second = LpftStrategy(self.settings.model_copy(update={"probe": suited}))
        fitted = fit(second.adapt(model), second, inputs, recipe, session)
        return replace(
            fitted,
            strategy=self.settings.model_copy(update={"probe": probe.strategy}),
            features_seconds=probe.features_seconds,
            checkpoint_seconds=probe.checkpoint_seconds + fitted.checkpoint_seconds,
            train_seconds=probe.train_seconds + fitted.train_seconds,
            validation_seconds=probe.validation_seconds + fitted.validation_seconds,
        )

    def rows_once(self, inputs: Inputs) -> int:
        """Return the rows that are cached for the probe."""
        return HeadOnlyStrategy(self.settings.probe).rows_once(inputs)

    def for_range_test(
        self, model: Any, inputs: Inputs, recipe: Recipe, machine: Machine
    ) -> tuple[nn.Module, Inputs]:
        """Return the whole model, once its head is trained."""
        probe = HeadOnlyStrategy(self.settings.probe)
        first = recipe.override({"strategy": probe.settings})
        folder = Path(on_main(lambda: tempfile.mkdtemp(prefix="ftkit-")))
        probe.train(probe.adapt(model), inputs, first, Session(machine, folder))
        return self.adapt(model), inputs
