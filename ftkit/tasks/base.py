"""What a task has to say: `Task`, the one class that a new task derives from.

A task is what goes in and what comes out, and all that depends on it stands in one file, named
after its kind. `TableReading` says what a table means to it and `ModelInputs` what its models are
given; here follows what is trained, measured and shown. The defaults are those of one class out of
C, so an image classifier writes a few lines. `ftkit.tasks.task_of` gives the task of a recipe;
CONTRIBUTING.md shows how one is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.metrics import confusion_matrix
from torch import nn
from torch.nn import functional as F

from ftkit.data.splits import Splits, labels_of
from ftkit.machine.runtime import Machine
from ftkit.recipe import Recipe, Train
from ftkit.runs.plots import plot_confusion
from ftkit.runs.result import Measured
from ftkit.tasks.evaluation import predict_logits
from ftkit.tasks.inputs import Inputs, Rows
from ftkit.tasks.losses import RowLoss, class_weights, classification_loss
from ftkit.tasks.metrics import Groups
from ftkit.tasks.metrics.classes import measure_logits, score_logits, softmax
from ftkit.tasks.model_inputs import ModelInputs
from ftkit.tasks.table_reading import TableReading
from ftkit.tasks.wording import Wording, wording_of_classes

if TYPE_CHECKING:
    from typing_extensions import Self

SMALLEST = 1e-6
"""The probability that a baseline gives to a class that it never saw."""


class Task(TableReading, ModelInputs):
    """One class out of C for each row; other tasks override what is different with them.

    `settings` are the task's own in the recipe. A task never changes: what is found out about it
    makes another one, with settings that say so.
    """

    example: str = ""
    """An input as Python writes it, for the model card; a pipeline takes it."""

    # Training and measuring.

    def loss(self, settings: Train, labels: np.ndarray, classes: int) -> Callable[..., Any]:
        """Return the loss of a micro-batch, as its share of the optimiser step's mean.

        It is called as `loss(outputs, labels, count)`: with what the model gives (its `logits`),
        the batch's labels, of which NO_LABEL counts for nothing, and how many labels the whole step
        has over all devices and micro-batches: rows, or words where each word has a label; None
        stands for those of the batch. `row_loss` and the loss of `score` are the same function.

        Args:
            labels: of the training rows.
            classes: outputs of the model, `num_labels` of `head_settings`.

        Raises:
            RecipeError: the settings do not fit the classes.
        """
        return partial(
            classification_loss,
            label_smoothing=settings.label_smoothing,
            weights=class_weights(settings, labels, classes),
        )

    def row_loss(
        self, settings: Train, labels: torch.Tensor, classes: int, smoothing: float = 0.0
    ) -> RowLoss:
        """Return the loss of each row, from logits (B, C) and row numbers (B,) to (B,).

        Cross-entropy, weighted by the row's own class. The weight is outside of the smoothing,
        which would else draw rows of common classes to rare ones
        (github.com/pytorch/pytorch/issues/104776).

        Args:
            labels: of the rows, as `ftkit.tasks.inputs.Rows.labels` has them, on the device.
            classes: C, outputs of the model.
            smoothing: share of the target probability that is spread over all classes. The search
                for a head's penalty gives one to every task.
        """
        weights = class_weights(settings, labels.cpu().numpy(), classes)
        weights = None if weights is None else weights.double().to(labels.device)

        def loss(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            own = labels[rows]
            found = F.cross_entropy(logits, own, label_smoothing=smoothing, reduction="none")
            return found if weights is None else weights[own] * found

        return loss

    def measure_before(
        self, model: nn.Module, rows: Rows, settings: Train, machine: Machine
    ) -> dict[str, Measured]:
        """Return what the backbone does before training, on rows that training will not see.

        Nothing, where its head is new. Every rank must call this.
        """
        return {}

    def predict(
        self, model: nn.Module, rows: Rows, settings: Train, machine: Machine, final: bool = True
    ) -> Any:
        """Return what the task's figures are computed from, of all rows in order, on every rank.

        For most tasks the logits (N, C) float32. Every rank must call this. Leaves the model in
        eval mode.

        Args:
            final: also what costs much more than a forward pass, such as translations.
        """
        return predict_logits(model, rows, settings, machine)

    def tuned(self, model: nn.Module, inputs: Inputs, settings: Train, machine: Machine) -> Self:
        """Return the task with what is decided on validation rows after training.

        Every rank must call this.
        """
        return self

    def score(self, labels: np.ndarray, outputs: Any) -> dict[str, float]:
        """Return {"loss": ..., and the task's figures} of a model's outputs.

        Args:
            labels: of the rows, as `ftkit.tasks.inputs.Rows.labels` has them.
            outputs: of the rows, as `predict` gives them.
        """
        return score_logits(labels, outputs)

    def measure(
        self, labels: np.ndarray, outputs: Any, seed: int = 0, groups: Groups = None
    ) -> dict[str, Measured]:
        """Return each figure with its 95 % interval over test examples; see `score`.

        They come in the order of `settings.figures`: tables and paired tests take the first.

        Args:
            seed: of the bootstrap, where there is one.
        """
        return measure_logits(labels, outputs, groups)

    # What becomes of the outputs on the test rows.

    def columns(self, splits: Splits, outputs: Any) -> dict[str, Any]:
        """Return the columns of predictions.parquet by name, each with a value per test row.

        Of classes: `label` and `prediction` by name, and `probability`, a list with one entry for
        each of `splits.label_names`. Of numbers: `label` and `prediction`.
        """
        names, labels = np.array(splits.label_names), labels_of(splits.test)
        return {
            "label": names[labels],
            "prediction": names[outputs.argmax(1)],
            "probability": list(softmax(outputs.astype(np.float64))),
        }

    def draw(self, splits: Splits, outputs: Any, folder: Path, title: str) -> None:
        """Draw what the outputs look like: confusion_matrix.png."""
        names, labels = splits.label_names, labels_of(splits.test)
        counts = confusion_matrix(labels, outputs.argmax(1), labels=range(len(names)))
        plot_confusion(counts, names, folder / "confusion_matrix.png", title)

    def user_inputs(self, rows: Dataset) -> dict[str, Any]:
        """Return what canonical rows hold by column, as JSON can write it: what a user puts in.

        Images are not in it: they become files.
        """
        inputs = [name for name in rows.column_names if name not in ("image", "label", "index")]
        return {name: rows[name][:] for name in inputs}

    def cells(self, features: Sequence[float]) -> dict[str, float | str | None]:
        """Return what each column of a table's row held, as an exported file is given it."""
        return {}

    def told(self, features: Sequence[float]) -> list[tuple[str, str]]:
        """Return (column, its number or word) of what a table's row was read from, for a report."""
        return []

    def expected_on_reload(self, outputs: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return what a fresh process must give for these rows, by the names that it uses.

        See `ftkit.finetuning.reload` for the names. Numbers must be close, texts equal; what is not
        named is not compared. For a task that predicts a class, the pipeline is asked for its
        probabilities by softmax, whatever the kind of problem is.
        """
        return {"logits": outputs[rows], "probabilities": softmax(outputs[rows])}

    # Baselines: what training must beat.

    def targets(self, rows: Dataset, classes: int) -> np.ndarray:
        """Return (N, K) what a baseline averages: 1 for the class of each canonical row."""
        return np.eye(classes, dtype=np.float32)[self.label_array(rows, classes)]

    def outputs_of_means(self, means: np.ndarray) -> np.ndarray:
        """Return (N, C) outputs of a model whose answers are these means of targets."""
        return np.log(means + SMALLEST)

    def with_best_threshold(self, truth: np.ndarray, outputs: np.ndarray) -> Self:
        """Return the task as a baseline with these outputs does best: most as it is.

        Args:
            truth: (N, C) of 0 and 1.
            outputs: (N, C) logits.
        """
        return self

    # Words of the model card.

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the model card says of this task."""
        return wording_of_classes(recipe, label_names, self.example)
