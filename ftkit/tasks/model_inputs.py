"""What the models of a task are given, and what they must be: inputs, head, settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset

from ftkit.data.encoders import Encoder
from ftkit.data.splits import Splits
from ftkit.errors import RecipeError
from ftkit.recipe import Mlp
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.vectors import Vectors

if TYPE_CHECKING:
    from typing_extensions import Self

FOR_BACKBONES = "task {} needs a pretrained backbone, not Mlp"
FOR_PERCEPTRONS = "task {} is for backbone Mlp"


@dataclass(frozen=True)
class Auto:
    """The classes of transformers that load a task's models and processors."""

    model: Any
    processor: Any
    known: Any
    """Which configurations such a model can be made from."""
    new_head: bool = True
    """Whether it gets a head for the classes of the data; else it keeps the one it has."""
    processor_options: Mapping[str, Any] | None = None
    """What the processor is loaded with."""


class ModelInputs:
    """The part of a task that feeds models: a pretrained backbone, a perceptron, or both.

    By default a backbone gets a head with an output for each class.
    """

    settings: Any
    auto: Auto
    """The classes of transformers that load the task's models and processors; a task that only a
    perceptron can do has none."""

    problem_type: str | None = None
    """What a model's config says of its loss, which decides what its pipeline answers."""

    def prepare(self, splits: Splits, processor: Any, seed: int) -> Inputs:
        """Return the inputs of each split; only those for training are augmented.

        Args:
            processor: of the backbone; evaluation uses it as it will be saved.
            seed: of the augmentation.

        Raises:
            RecipeError: no pretrained backbone does the task.
        """
        raise RecipeError(FOR_PERCEPTRONS.format(self.settings.kind))

    def inputs_for(self, inputs: Inputs, model: Any) -> Inputs:
        """Return the inputs as this model reads them: for most tasks as they are."""
        return inputs

    def for_backbone(self, splits: Splits, model: Any, processor: Any) -> Self:
        """Return the task as this backbone can do it, what was left open in it filled in.

        May change the processor and how the model writes, never its weights.
        """
        return self

    def encoder(self, backbone: Mlp, train: Dataset) -> Encoder:
        """Return what makes vectors (N, D) of the inputs for a perceptron.

        Args:
            train: canonical training rows.

        Raises:
            RecipeError: no perceptron does the task.
        """
        raise RecipeError(FOR_BACKBONES.format(self.settings.kind))

    def raw_inputs(self, rows: Dataset) -> Iterable[Any]:
        """Return what an encoder takes, for each canonical row.

        Raises:
            RecipeError: no perceptron does the task.
        """
        raise RecipeError(FOR_BACKBONES.format(self.settings.kind))

    def encode(self, splits: Splits, encoder: Encoder) -> Inputs:
        """Return every split as vectors, for a perceptron."""

        def encoded(rows: Dataset) -> Vectors:
            return Vectors(encoder.encode(self.raw_inputs(rows)), np.asarray(rows["label"]))

        return Inputs.of(splits, encoded)

    def head_settings(self, label_names: tuple[str, ...]) -> dict[str, Any]:
        """Return what a model's config says of its head: the classes, and the kind of problem.

        transformers gives a model one output for each entry of id2label. A task of which the
        outputs are not the classes names them here, and says in `class_names` how the classes
        follow. A backbone may come with another kind of problem in its config.
        """
        return {
            "num_labels": len(label_names),
            "id2label": dict(enumerate(label_names)),
            "label2id": {label: number for number, label in enumerate(label_names)},
            "problem_type": self.problem_type,
        }

    def class_names(self, output_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes of a saved model by the names of its outputs; most have the same.

        It undoes what `head_settings` makes of the class names.
        """
        return output_names

    def write_into(self, model: Any, processor: Any, backbone: str) -> None:
        """Write into model and processor what the task says of them; most say nothing.

        Args:
            backbone: its name, for messages.

        Raises:
            ModelError: the backbone cannot be what the task says.
        """

    def check_forward(self, model: Any, processor: Any, backbone: Any) -> None:
        """Run one example through processor and model, so that a misfit is told before training.

        Args:
            backbone: of the recipe.

        Raises:
            ModelError: the backbone does not take it.
            RecipeError: no pretrained backbone does the task.
        """
        raise RecipeError(FOR_PERCEPTRONS.format(self.settings.kind))
