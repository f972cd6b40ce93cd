"""What tasks share that predict any number of classes of each row: none, one or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, List
from scipy.special import expit, logit
from torch import nn
from torch.nn import functional as F

from ftkit.data.columns import pick
from ftkit.data.label_lists import list_candidates, name_lists, read_marks
from ftkit.data.splits import Splits, labels_of, objects
from ftkit.data.usual_columns import LABEL_NAMES
from ftkit.machine.runtime import Machine
from ftkit.recipe import Recipe, Train
from ftkit.runs.plots import plot_precision_recall
from ftkit.runs.result import Measured
from ftkit.tasks.base import SMALLEST, Task
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.losses import RowLoss, elementwise_loss
from ftkit.tasks.metrics import Groups
from ftkit.tasks.metrics.tags import measure_tags, score_tags, tags_of
from ftkit.tasks.table_reading import Labels
from ftkit.tasks.thresholds import best_threshold, choose_threshold
from ftkit.tasks.wording import Wording, listed, pipeline_snippet

if TYPE_CHECKING:
    from typing_extensions import Self


class Tags(Task):
    """Any number of C classes out."""

    problem_type = "multi_label_classification"

    def label_fields(self, features: Features) -> dict[str, Any]:
        """Return the column of lists of classes; nothing where each class has a column."""
        if self.settings.labels is None:
            candidates = list_candidates(features, LABEL_NAMES)
            return {"label": pick("label", self.settings.label, candidates, features)}
        for name in self.settings.labels:
            pick("labels", name, [], features)
        return {}

    def label_columns(self) -> tuple[str, ...]:
        """Return the column of lists of classes, or those of 0 and 1 for each class."""
        settings = self.settings
        return settings.labels if settings.labels is not None else (str(settings.label),)

    def read_labels(self, splits: Mapping[str, Dataset], strict: bool = True) -> Labels:
        """Return the class names, and for each row a list of class numbers, None where not known.

        Of columns of 0 and 1, their names are the classes, in the order given.
        """
        settings = self.settings
        if settings.labels is None:
            return name_lists(splits, str(settings.label), strict, settings.separator)
        found = {}
        for split, rows in splits.items():
            marks = [read_marks(rows, name, split) for name in settings.labels]
            lists: list[list[int] | None] = [
                None if any(mark is None for mark in row) else [c for c, m in enumerate(row) if m]
                for row in zip(*marks, strict=True)
            ]
            found[split] = objects(lists)
        return settings.labels, found

    def known_labels(self, names: tuple[str, ...]) -> dict[str, Dataset]:
        """Return a row that has every class; nothing where the columns themselves are classes."""
        if self.settings.labels is not None:
            return {}
        label = str(self.settings.label)
        classes = Features({label: List(ClassLabel(names=list(names)))})
        return {"train": Dataset.from_dict({label: [[*range(len(names))]]}, features=classes)}

    def blank_labels(self, table: Dataset) -> np.ndarray:
        """Return (N,) empty lists."""
        return objects([[] for _ in range(len(table))])

    def label_array(self, rows: Dataset, classes: int) -> np.ndarray:
        """Return (N, C) float32, 1 where a row has the class."""
        labels = np.zeros((len(rows), classes), np.float32)
        for row, numbers in enumerate(rows["label"][:]):
            labels[row, numbers] = 1
        return labels

    def loss(self, settings: Train, labels: np.ndarray, classes: int) -> Callable[..., Any]:
        """Return the mean binary cross-entropy."""
        return partial(elementwise_loss, error=F.binary_cross_entropy_with_logits)

    def row_loss(
        self, settings: Train, labels: torch.Tensor, classes: int, smoothing: float = 0.0
    ) -> RowLoss:
        """Return the binary cross-entropy of each row, a mean over the classes."""
        targets = labels.double() * (1 - smoothing) + smoothing / 2

        def loss(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            found = F.binary_cross_entropy_with_logits(logits, targets[rows], reduction="none")
            return found.mean(1)

        return loss

    def tuned(self, model: nn.Module, inputs: Inputs, settings: Train, machine: Machine) -> Self:
        """Return the task with its threshold, which the model's config keeps for later users."""
        task = self
        if self.settings.threshold is None:
            labels = inputs.validation.labels
            found = self.predict(model, inputs.validation, settings, machine)
            task = self.changed(threshold=choose_threshold(labels, found))
        model.config.threshold = task.settings.threshold  # type: ignore[union-attr]
        return task

    def score(self, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
        """Return the loss and the figures of logits (N, C) and labels (N, C) of 0 and 1."""
        return score_tags(self.settings.threshold, labels, outputs)

    def measure(
        self, labels: np.ndarray, outputs: np.ndarray, seed: int = 0, groups: Groups = None
    ) -> dict[str, Measured]:
        """Return the figures with their intervals."""
        return measure_tags(self.settings.threshold, labels, outputs, groups)

    def columns(self, splits: Splits, outputs: np.ndarray) -> dict[str, Any]:
        """Return `label` and `prediction`, lists of names, and `probability` of each class."""
        names = np.array(splits.label_names)
        labels, found = labels_of(splits.test), tags_of(outputs, self.settings.threshold)
        return {
            "label": [[str(names[number]) for number in row] for row in labels],
            "prediction": [names[row.astype(bool)].tolist() for row in found],
            "probability": list(expit(outputs.astype(np.float64))),
        }

    def draw(self, splits: Splits, outputs: np.ndarray, folder: Path, title: str) -> None:
        """Draw a bar for precision and one for recall, class by class: precision_recall.png."""
        truth = self.label_array(splits.test, len(splits.label_names)).astype(int)
        found = tags_of(outputs, self.settings.threshold)
        counts = ((truth * found).sum(0), found.sum(0), truth.sum(0))
        plot_precision_recall(*counts, splits.label_names, folder / "precision_recall.png", title)

    def expected_on_reload(self, outputs: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return logits, and a probability of each class by itself."""
        return {"logits": outputs[rows], "probabilities": expit(outputs[rows])}

    def targets(self, rows: Dataset, classes: int) -> np.ndarray:
        """Return (N, C), 1 for each class of a row."""
        return self.label_array(rows, classes)

    def outputs_of_means(self, means: np.ndarray) -> np.ndarray:
        """Return logits whose probabilities are these means."""
        return logit(np.clip(means.astype(np.float64), SMALLEST, 1 - SMALLEST))

    def with_best_threshold(self, truth: np.ndarray, outputs: np.ndarray) -> Self:
        """Return the task with the threshold of the best micro-F1.

        Half of the votes is right for nothing here: a class of every tenth row never has it, and
        what predicts no class has a micro-F1 of 0. A threshold in the recipe is meant for a model,
        and a baseline is to be as good as it can be, so it has its own.
        """
        return self.changed(threshold=best_threshold(truth, outputs)[0])

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the card says, the threshold among it."""
        usual, given = super().wording(recipe, label_names), self.settings.threshold
        threshold = f"{given or 0.5:.3g}"
        where = ", see `threshold` in config.json" if given else ""
        one = {"images": "an image", "texts": "a text"}[self.settings.noun]
        options = f'top_k={len(label_names)}, function_to_apply="sigmoid"'
        use = f"""for answer in tell({self.example}, {options}):
    print(answer["label"], answer["score"], answer["score"] > {threshold})"""
        told = pipeline_snippet(self.settings, use)
        return replace(
            usual,
            answers=f"It predicts which of {len(label_names)} classes {one} has, none, one or "
            f"several: {listed(label_names)}. A class is predicted where its probability is above "
            f"{threshold}{where}.",
            any_input="a probability for each of the classes above",
            picture="Precision recall",
            snippet=usual.snippet if recipe.strategy.adapter_alone else told,
        )
