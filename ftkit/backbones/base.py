"""A family of backbones: how a model of its kind is loaded, saved, and asked when it is finished.

Whoever adds one writes two things: its settings in `ftkit/recipe/backbone.py`, with a `kind` of
their own, and in this folder a file with a subclass of `Family`, which `ftkit.backbones.FAMILIES`
names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ftkit.data.splits import Splits
from ftkit.machine.runtime import Machine
from ftkit.recipe import Recipe


@dataclass(frozen=True)
class Loaded:
    """A model that has not been trained yet, and what it reads."""

    model: Any
    processor: Any
    """Of transformers, or the perceptron's encoder; it is saved with the model."""
    inputs: Any
    """`ftkit.tasks.inputs.Inputs`: the splits as this model reads them."""
    task: Any
    """`ftkit.tasks.base.Task`, as this backbone can do it."""


class Family(ABC):
    """What a family is asked. Each instance belongs to one value of settings."""

    opened_by: ClassVar[str]
    """What a person opens the folder of a saved model with."""

    def __init__(self, settings: Any) -> None:
        """Take the settings of the recipe, such as `ftkit.Backbone(id="timm/resnet50.a1_in1k")`."""
        self.settings = settings

    @abstractmethod
    def load(self, task: Any, splits: Splits, seed: int) -> Loaded:
        """Return the model with an output for each class, and the splits as its inputs.

        It is checked against the task before the first step. Every rank must call this.

        Args:
            task: `ftkit.tasks.base.Task`, whose columns are filled in.
            seed: of new weights and of the augmentation.

        Raises:
            ModelError, HubError: the backbone cannot be had, or does not fit.
        """

    @abstractmethod
    def save(
        self,
        model: Any,
        processor: Any,
        recipe: Recipe,
        folder: Path,
        for_saving: Callable[[Any], Any],
    ) -> None:
        """Write weights (safetensors), config and processor into `folder`.

        The model itself stays as it is.

        Args:
            for_saving: makes the adapter that is saved of one in training, see
                `ftkit.strategies.base.Strategy.for_saving`.
        """

    @abstractmethod
    def label_names(self, folder: Path) -> tuple[str, ...]:
        """Return the classes of a saved model, in its order.

        Raises:
            ModelError: the folder holds no such model.
        """

    @abstractmethod
    def answer(
        self, folder: Path, recipe: Recipe, task: Any, splits: Splits, machine: Machine
    ) -> Any:
        """Return the outputs of a saved model on the test rows of the splits, in order.

        Every rank must call this.

        Args:
            folder: of the saved model.
            task: `ftkit.tasks.base.Task`, as it was trained.
        """
