"""A strategy of fine-tuning: what moves, how fast, and how it is trained.

Whoever adds one writes two things: its settings in `ftkit/recipe/strategy.py`, and in this folder a
file named after their `kind`, with a subclass of `Strategy` named after their type: lora.py with
`LoraStrategy` for `Lora`. `ftkit.strategies.strategy_of` finds it, and nothing else names it.
"""

from __future__ import annotations

import logging
import math
from typing import Any, ClassVar, cast

from peft import PeftModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel

from ftkit.backbones.perceptron import Perceptron
from ftkit.errors import RecipeError
from ftkit.machine.runtime import Machine
from ftkit.recipe import Recipe
from ftkit.recipe import Strategy as Settings
from ftkit.tasks.inputs import Inputs
from ftkit.training.fit import fit
from ftkit.training.fitted import Fitted, Session
from ftkit.training.sharded import is_shared

log = logging.getLogger(__name__)


class Strategy:
    """What a strategy is asked; what it does not answer itself is answered as for full fine-tuning.

    Each instance belongs to one value of settings. Methods that are given a recipe expect these
    settings in it, as `recipe.strategy`; other parts of the recipe may differ from call to call.
    """

    settings: Settings
    head_alone: ClassVar[bool] = False
    """Nothing but the head moves, so that it can learn from what the backbone gave once."""
    by_epochs: ClassVar[bool] = True
    """Fewer epochs take less time; not so where a number of steps is given."""
    stages: ClassVar[tuple[str, ...]] = ()
    """Subfolders of the run in which stages before the last one write checkpoints."""
    artefacts: ClassVar[int] = 1
    """Model folders that are loaded again and verified after training."""
    bytes_per_parameter: ClassVar[int] = 16
    """Weight, gradient and two moments of four bytes each."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    # What moves

    def adapt(self, model: PreTrainedModel) -> PreTrainedModel | PeftModel:
        """Return the model with exactly the parameters set to move that `moves` names.

        What does not move stays as it is in every respect: training keeps frozen modules in eval
        mode, so that BatchNorm statistics do not drift and dropout of frozen parts is off.

        Raises:
            ModelError: the model has no layers that the strategy needs.
        """
        moving = self.moves(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in moving)
        return model

    def moves(self, model: nn.Module) -> set[str]:
        """Return the names of the parameters of an adapted model that training changes."""
        # Marian's sinusoids are computed: no file holds them
        computed = getattr(model, "_keys_to_ignore_on_save", None) or ()
        return {name for name, _ in model.named_parameters() if name not in computed}

    def for_saving(self, model: PeftModel) -> PeftModel:
        """Return the adapter as it is saved, for the backbone as it was; the model stays as it is.

        Asked only where `adapt` has returned a PeftModel.
        """
        return model

    # How fast

    def learning_rates(self, model: nn.Module) -> dict[str, float]:
        """Return, by parameter name, by what the learning rate is multiplied; 1 if it is not named.

        Raises:
            ModelError: the strategy goes by the order of layers, and the model has none.
        """
        return {}

    def decays(self, name: str) -> bool:
        """Return whether weight decay may act on the parameter of this name, if it is a matrix."""
        return True

    def unfreezing(self, model: nn.Module) -> list[list[str]]:
        """Return groups of parameter names of which one more moves in each epoch; [] for all at
        once.

        Raises:
            ModelError: the strategy goes by the order of layers, and the model has none.
        """
        return []

    def peak_rates(self) -> dict[str, float]:
        """Return every learning rate among the settings, by its path in them.

        They are for one batch size, and grow together where it does.
        """
        return {"learning_rate": self.settings.learning_rate}

    # How long

    def least_steps(self, recipe: Recipe) -> tuple[str, int]:
        """Return a field of the recipe, and the steps that it asks for at least."""
        return "train.least_steps", recipe.train.least_steps

    def epochs(self, recipe: Recipe, rows: int) -> int:
        """Return how many epochs are trained: the recipe's, or as many as its least steps ask for.

        A given `train.max_steps` stands.

        Args:
            rows: of the training split.
        """
        train = recipe.train
        if train.max_steps:
            return train.epochs
        _, least = self.least_steps(recipe)
        return max(train.epochs, math.ceil(least / math.ceil(rows / train.rows_per_step)))

    def steps(self, recipe: Recipe, rows: int) -> int:
        """Return how many steps the whole model, or its head alone, goes through.

        Args:
            rows: of the training split.
        """
        train = recipe.train
        per_epoch = math.ceil(rows / train.rows_per_step)
        return train.max_steps or self.epochs(recipe, rows) * per_epoch

    def long_enough(self, recipe: Recipe, rows: int) -> Recipe:
        """Return the recipe with the epochs that `epochs` says, and log where these are more."""
        epochs, before = self.epochs(recipe, rows), recipe.train.epochs
        if epochs == before:
            return recipe
        field, least = self.least_steps(recipe)
        log.info(
            f"{epochs} epochs instead of {before}, {math.ceil(rows / recipe.train.rows_per_step)} "
            f"steps each, for {least} steps in all (--set {field}=0 keeps {before})"
        )
        return recipe.override({"train.epochs": epochs})

    # How it is trained

    def train(self, model: Any, inputs: Inputs, recipe: Recipe, session: Session) -> Fitted:
        """Train what moves, in place; the best weights are in the model afterwards.

        Every rank must call this. By default the whole model goes through every step.

        Args:
            model: adapted by this strategy and on its device.

        Raises:
            RunError: a folder cannot be written.
            TrainingError: see `ftkit.training.fit.fit`.
        """
        recipe = self.long_enough(recipe, len(inputs.train))
        return fit(model, self, inputs, recipe, session)

    def rows_once(self, inputs: Inputs) -> int:
        """Return how many rows go through the frozen backbone once, before anything is trained.

        That is what `train` does where the head can stand alone; 0 where it never does.
        """
        return 0

    # What is found by trying

    def for_range_test(
        self, model: Any, inputs: Inputs, recipe: Recipe, machine: Machine
    ) -> tuple[nn.Module, Inputs]:
        """Return what the learning rate is for, a model or its head, and the rows that it reads.

        May train what goes before; the range test puts the model back.

        Raises:
            RecipeError: there is no learning rate to look for.
        """
        if isinstance(model, Perceptron):
            raise RecipeError(
                "--learning-rate auto is not for a perceptron, which trains in seconds: try some "
                "rates"
            )
        return model, inputs

    def why_no_learning_rate(self, model: Any, inputs: Inputs, machine: Machine) -> str | None:
        """Return why there is no learning rate to look for, or None where there is one."""
        return None

    def why_no_batch_size(self, model: Any, inputs: Inputs, machine: Machine) -> str | None:
        """Return why there is no batch size to measure, or None where there is one.

        Raises:
            RecipeError: it cannot be measured.
        """
        if is_shared():
            raise RecipeError(
                "train.batch_size = 'auto': it is not measured for a model that is shared among "
                "GPUs; give a number"
            )
        return "a perceptron trains in seconds" if isinstance(model, Perceptron) else None


def set_keeping_statistics(model: nn.Module, keeps: bool) -> None:
    """Have BatchNorm go on with the statistics of pretraining while its scale and shift move."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            cast(Any, module).keeps_statistics = keeps
