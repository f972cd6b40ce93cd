"""What tasks share whose labels are numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.nn import functional as F

from ftkit.data.labels import read_numbers
from ftkit.data.splits import Splits, labels_of
from ftkit.recipe import Mlp, Recipe, Train
from ftkit.runs.plots import plot_numbers
from ftkit.runs.result import Measured
from ftkit.tasks.base import Task
from ftkit.tasks.losses import RowLoss, elementwise_loss
from ftkit.tasks.metrics import Groups
from ftkit.tasks.metrics.numbers import measure_numbers, score_numbers
from ftkit.tasks.table_reading import Labels
from ftkit.tasks.wording import Wording, pipeline_snippet


class Numbers(Task):
    """One number out."""

    problem_type = "regression"

    def read_labels(self, splits: Mapping[str, Dataset], strict: bool = True) -> Labels:
        """Return no names, and for each split the numbers to be predicted (NaN where none)."""
        return (), read_numbers(splits, str(self.settings.label))

    def known_labels(self, names: tuple[str, ...]) -> dict[str, Dataset]:
        """Return nothing: numbers need not agree on any class."""
        return {}

    def blank_labels(self, table: Dataset) -> np.ndarray:
        """Return zeros (N,)."""
        return np.zeros(len(table))

    def head_settings(self, label_names: tuple[str, ...]) -> dict[str, Any]:
        """Return a head of one output without classes."""
        return {"num_labels": 1, "problem_type": self.problem_type}

    def loss(self, settings: Train, labels: np.ndarray, classes: int) -> Callable[..., Any]:
        """Return the mean squared error."""
        return partial(elementwise_loss, error=F.mse_loss)

    def row_loss(
        self, settings: Train, labels: torch.Tensor, classes: int, smoothing: float = 0.0
    ) -> RowLoss:
        """Return the squared error of each row."""
        targets = labels.reshape(len(labels), -1).double()
        return lambda logits, rows: (logits - targets[rows]).square().mean(1)

    def score(self, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
        """Return the loss and the figures of outputs (N, 1) and numbers (N,)."""
        found = score_numbers(labels, outputs)
        return {name: found[name] for name in ("loss", *self.settings.figures)}

    def measure(
        self, labels: np.ndarray, outputs: np.ndarray, seed: int = 0, groups: Groups = None
    ) -> dict[str, Measured]:
        """Return the figures with their intervals, of which some are by the bootstrap."""
        found = measure_numbers(labels, outputs.ravel(), seed, groups)
        return {name: found[name] for name in self.settings.figures}

    def columns(self, splits: Splits, outputs: np.ndarray) -> dict[str, Any]:
        """Return `label` and `prediction`, both numbers."""
        return {"label": labels_of(splits.test), "prediction": outputs.ravel()}

    def draw(self, splits: Splits, outputs: np.ndarray, folder: Path, title: str) -> None:
        """Draw predicted against true numbers: predictions.png."""
        plot_numbers(labels_of(splits.test), outputs.ravel(), folder / "predictions.png", title)

    def expected_on_reload(self, outputs: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs, which are the numbers themselves."""
        return {"logits": outputs[rows], "numbers": outputs[rows]}

    def targets(self, rows: Dataset, classes: int) -> np.ndarray:
        """Return (N, 1) the number of each row."""
        return self.label_array(rows, 0).astype(np.float64)[:, None]

    def outputs_of_means(self, means: np.ndarray) -> np.ndarray:
        """Return the means themselves."""
        return means

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the card says; a pipeline gives the number itself where it is asked for
        that."""
        usual = replace(super().wording(recipe, label_names), same="numbers")
        if isinstance(recipe.backbone, Mlp) or recipe.strategy.adapter_alone:
            return usual
        use = f'print(tell({self.example}, function_to_apply="none")[0]["score"])'
        return replace(usual, snippet=pipeline_snippet(self.settings, use))
