"""What a task has to say: `Task`, the one class that a new task derives from.

A task is what goes in and what comes out. All that depends on it stands in one file, named after
its kind: which columns it reads, how rows become a model's inputs, its loss, its figures, its
pictures, what a reloaded model must give, the words of its card. The defaults here are those of
one class out of C, so an image classifier writes a few lines. `ftkit.tasks.task_of` gives the task
of a recipe; CONTRIBUTING.md shows how one is added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features
from sklearn.metrics import confusion_matrix
from torch import nn
from torch.nn import functional as F

from ftkit.data.column_kinds import Use
from ftkit.data.columns import AS_TEXT, canonical, label_candidates, pick
from ftkit.data.encoders import Encoder
from ftkit.data.labels import name_labels
from ftkit.data.splits import Splits, labels_of
from ftkit.errors import DataError
from ftkit.machine.runtime import Machine
from ftkit.recipe import Mlp, Recipe, Train
from ftkit.runs.plots import plot_confusion
from ftkit.runs.result import Measured
from ftkit.tasks.evaluation import predict_logits
from ftkit.tasks.inputs import Inputs, Rows
from ftkit.tasks.losses import class_weights, classification_loss
from ftkit.tasks.metrics.classes import measure_logits, score_logits, softmax
from ftkit.tasks.wording import Wording, wording_of_classes

Labels = tuple[tuple[str, ...], dict[str, np.ndarray]]
"""The class names, and the labels (N,) of each split by its role."""


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


class Task:
    """One class out of C for each row; other tasks override what is different with them.

    `settings` are the task's own in the recipe. A task never changes: what is found out about it
    makes another one, with settings that say so.
    """

    for_numbers = ""
    """What to do where labels turn out to be measures, for a message."""
    for_several = ""
    """What to do where a row turns out to have several classes, for a message."""
    tells_numbers = False
    """Whether labels are numbers, which training scales to mean 0 and variance 1."""

    def __init__(self, settings: Any) -> None:
        """Take the settings of the recipe, such as `ftkit.ImageClassification()`."""
        self.settings = settings

    def changed(self, **settings: Any) -> Any:
        """Return this task with some settings changed."""
        return type(self)(self.settings.model_copy(update=settings))

    # Rows: what a table means to the task.

    def resolve_columns(self, features: Features) -> Any:
        """Return the task with the names of its columns filled in, where only one can be meant.

        Raises:
            DataError: a column that was asked for is not there, or none or several could be meant.
        """
        raise NotImplementedError

    def label_fields(self, features: Features) -> dict[str, Any]:
        """Return the settings that name the column of labels, for `resolve_columns`."""
        label = pick("label", self.settings.label, label_candidates(features), features)
        return {"label": label}

    def input_columns(self) -> tuple[str, ...]:
        """Return the columns that inputs are read from, once they are filled in."""
        raise NotImplementedError

    def label_columns(self) -> tuple[str, ...]:
        """Return the columns that labels are read from, once they are filled in."""
        return (self.settings.label,)

    def column_uses(self, features: Features) -> dict[str, Use]:
        """Return which columns are read as texts, and which as classes.

        So that a file that does not say it, as CSV, is read in the same way in every split. Where
        it cannot be told which columns are meant, those count that were asked for by name.
        """
        task = self._resolved_where_possible(features)
        found: dict[str, Use] = {}
        for field in AS_TEXT:
            column = getattr(task.settings, field, None)
            if column is not None and column in features:
                found[column] = "text"
        found |= dict.fromkeys(getattr(task.settings, "categories", {}), "text")
        label = getattr(task.settings, "label", None)
        if label is not None and label in features and not self.tells_numbers:
            found[label] = self.label_use
        return found

    label_use: Use = "class"
    """How the column of labels is read."""

    def _resolved_where_possible(self, features: Features) -> Any:
        try:
            return self.resolve_columns(features)
        except DataError:
            return self

    def fitted_to(self, train: Dataset, there: Features, asked: Any) -> tuple[Any, list[str]]:
        """Return the task with what it has to know of the training rows, and notes about columns.

        Args:
            train: training rows as the source has them.
            there: the columns that inputs can be.
            asked: the task before its columns were filled in.
        """
        settings = self.settings
        used = {
            name
            for field in type(settings).model_fields
            for name in _names(getattr(settings, field))
        }
        left = [name for name in there if name not in used]
        told = ", ".join(map(repr, left[:5])) + (", ..." if left[5:] else "")
        return self, [f"not used: column{'s' if left[1:] else ''} {told}"] if left else []

    def notes_on(self, rows: Dataset, where: str = "") -> Iterable[str]:
        """Return what is to be said of rows that training did not see; most tasks say nothing.

        Args:
            where: stands before each note.
        """
        return ()

    def located(self, rows: Dataset, folder: Path | None, images: str | None) -> Dataset:
        """Return the rows, file names in them completed by `data.images` where it is given."""
        return rows

    def inputs(self, rows: Dataset, folder: Path | None) -> Dataset:
        """Return the rows with the inputs alone, under the names that this task uses itself.

        Args:
            folder: where relative file names start.

        Raises:
            DataError: a column does not hold what the task needs.
        """
        raise NotImplementedError

    def canonical(self, rows: Dataset, labels: np.ndarray, folder: Path | None) -> Dataset:
        """Return the rows with the inputs and the columns label and index, the row's number."""
        return canonical(self.inputs(rows, folder), labels)

    def read_labels(self, splits: Mapping[str, Dataset], strict: bool = True) -> Labels:
        """Return the class names and the labels of each split by role; -1 where there is none.

        Args:
            strict: refuse a class that another split has and the training rows lack.

        Raises:
            DataError: the labels are not what the task tells.
        """
        settings = self.settings
        return name_labels(splits, settings.label, strict, self.for_numbers, self.for_several)

    def known_labels(self, names: tuple[str, ...]) -> dict[str, Dataset]:
        """Return a training split that has the classes a model knows, in its order.

        Each twice: a column in which no value comes again would be none of classes. Empty where a
        task has no classes to agree on.
        """
        label = str(self.settings.label)
        classes = Features({label: ClassLabel(names=list(names))})
        return {"train": Dataset.from_dict({label: [*range(len(names))] * 2}, features=classes)}

    def blank_labels(self, table: Dataset) -> np.ndarray:
        """Return (N,) what stands for the labels of rows that have none."""
        return np.zeros(len(table), int)

    def unlabelled(self, column: str) -> Any:
        """Return the task as it reads a table without labels, where `column` stands for them."""
        several = getattr(self.settings, "labels", None) is not None
        return self.changed(label=column, **({"labels": None} if several else {}))

    def rows_of_texts(self, texts: list[str]) -> Dataset:
        """Return a table with these texts where the task looks for them.

        Raises:
            DataError: the task reads no texts.
        """
        raise DataError(
            f"'{texts[0][:80]}': there is no such file, and the model reads {self.settings.noun}"
        )

    # Inputs and model: what a backbone is given, and what it must be.

    def prepare(self, splits: Splits, processor: Any, seed: int) -> Inputs:
        """Return the inputs of each split; only those for training are augmented.

        Args:
            processor: of the backbone; evaluation uses it as it will be saved.
            seed: of the augmentation.
        """
        raise NotImplementedError

    def suited(self, inputs: Inputs, model: Any) -> Inputs:
        """Return the inputs as this model reads them: for most tasks as they are."""
        return inputs

    def settled(self, splits: Splits, model: Any, processor: Any) -> Any:
        """Return the task as this backbone can do it, what was left open in it filled in.

        May change the processor and how the model writes, never its weights.
        """
        return self

    def encoder(self, backbone: Mlp, train: Dataset) -> Encoder:
        """Return what makes vectors (N, D) of the inputs for a perceptron.

        Args:
            train: canonical training rows.
        """
        raise NotImplementedError

    def raw_inputs(self, rows: Dataset) -> Iterable[Any]:
        """Return what an encoder takes, for each canonical row."""
        raise NotImplementedError

    auto: Auto
    """The classes of transformers that load the task's models and processors; a task that only a
    perceptron can do has none."""

    problem_type: str | None = None
    """What a model's config says of its loss, which decides what its pipeline answers."""

    def head_settings(self, label_names: tuple[str, ...]) -> dict[str, Any]:
        """Return what a model's config says of its head: the classes, and the kind of problem.

        A backbone may come with another kind of problem in its config.
        """
        return {
            "num_labels": len(label_names),
            "id2label": dict(enumerate(label_names)),
            "label2id": {label: number for number, label in enumerate(label_names)},
            "problem_type": self.problem_type,
        }

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
        """
        raise NotImplementedError

    # Training and measuring.

    def label_array(self, rows: Dataset, classes: int) -> np.ndarray:
        """Return (N,) the classes or numbers of canonical rows."""
        return labels_of(rows)

    def loss(self, settings: Train, labels: np.ndarray, classes: int) -> Callable[..., Any]:
        """Return the loss of a micro-batch, as its share of the optimiser step's mean.

        It is called with what the model gives, the batch's labels, and how many labels the whole
        step has over all devices and micro-batches: `loss(outputs, labels, count)`.

        Args:
            labels: of the training rows.
            classes: C.

        Raises:
            RecipeError: the settings do not fit the classes.
        """
        return partial(
            classification_loss,
            label_smoothing=settings.label_smoothing,
            weights=class_weights(settings, labels, classes),
        )

    def row_loss(
        self,
        settings: Train,
        labels: np.ndarray,
        classes: int,
        device: torch.device,
        smoothing: float = 0.0,
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return the loss of each row, from logits (B, C) and row numbers (B,) to (B,).

        Cross-entropy, weighted by the row's own class. The weight is outside of the smoothing,
        which would else draw rows of common classes to rare ones
        (github.com/pytorch/pytorch/issues/104776).

        Args:
            labels: of the rows, as `ftkit.tasks.inputs.Rows.labels` has them.
            classes: C.
            smoothing: share of the target probability that is spread over all classes.
        """
        weights = class_weights(settings, labels, classes)
        weights = None if weights is None else weights.double().to(device)
        targets = torch.from_numpy(labels).to(device)

        def loss(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            own = targets[rows]
            found = F.cross_entropy(logits, own, label_smoothing=smoothing, reduction="none")
            return found if weights is None else weights[own] * found

        return loss

    def before(
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

    def decided(self, model: nn.Module, inputs: Inputs, settings: Train, machine: Machine) -> Any:
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
        self, labels: np.ndarray, outputs: Any, seed: int = 0, groups: np.ndarray | None = None
    ) -> dict[str, Measured]:
        """Return each figure with its 95 % interval over test examples; see `score`.

        Args:
            seed: of the bootstrap, where there is one.
            groups: (N,) int64 number of each row's group, whose rows stand and fall together, such
                as rotations of one position; None where every row is one of its own.
        """
        return measure_logits(labels, outputs, groups)

    # What becomes of the outputs on the test rows.

    def columns(self, splits: Splits, outputs: Any) -> dict[str, Any]:
        """Return the columns of predictions.parquet by name, each with a value per test row.

        Of classes: `label` and `prediction` by name, and `probability`, a list in the order of the
        classes. Of numbers: `label` and `prediction`.
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

    def raw(self, rows: Dataset) -> dict[str, Any]:
        """Return what canonical rows hold by column, as JSON can write it: what a user puts in.

        Images are not in it: they become files.
        """
        inputs = [name for name in rows.column_names if name not in ("image", "label", "index")]
        return {name: rows[name][:] for name in inputs}

    def expected(self, outputs: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return what a fresh process must give for these rows, by the names that it uses.

        See `ftkit.finetuning.reload` for the names. Numbers must be close, texts equal.
        """
        return {"logits": outputs[rows], "probabilities": softmax(outputs[rows])}

    # Baselines: what training must beat.

    def targets(self, rows: Dataset, classes: int) -> np.ndarray:
        """Return (N, K) what a baseline averages: 1 for the class of each canonical row."""
        return np.eye(classes, dtype=np.float32)[self.label_array(rows, classes)]

    def outputs_of_means(self, means: np.ndarray) -> np.ndarray:
        """Return (N, C) outputs of a model whose answers are these means of targets."""
        return np.log(means + SMALLEST)

    def with_best_threshold(self, truth: np.ndarray, outputs: np.ndarray) -> Any:
        """Return the task as a baseline with these outputs does best: most as it is.

        Args:
            truth: (N, C) of 0 and 1.
            outputs: (N, C) logits.
        """
        return self

    # Words of the model card.

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the model card says of this task."""
        return wording_of_classes(recipe, label_names)


SMALLEST = 1e-6
"""Probability of what a baseline never saw."""


def _names(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(name.partition(".")[0] for name in values if isinstance(name, str))
