"""Numbers to be told, scaled to mean 0 and variance 1 for training: `scale_of(task, rows, model)`.

AdamW moves a bias by about the learning rate in each step, so a head that begins near zero does not
reach labels of mean 38 in a few hundred steps of 1e-4. It trains on (y - mean) / deviation of the
training rows instead, and its last layer takes the scale in afterwards: W deviation, b deviation +
mean. What is saved then gives the labels' own units by itself. Scikit-learn's
TransformedTargetRegressor does so from outside of a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from ftkit.backbones.pretrained import head_names
from ftkit.data.encoders import deviations
from ftkit.tasks.base import Task


@dataclass(frozen=True)
class Scale:
    """Where the numbers lie that a model is to tell, in the training rows."""

    mean: np.ndarray
    """(C,) float64; zeros for a head that has no bias to take it in."""
    deviation: np.ndarray
    """(C,) float64."""

    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """Return labels (B, C) or (B,) as they are trained on."""
        mean, deviation = (torch.from_numpy(v).to(labels.device) for v in self._both)
        scaled = (labels.double().reshape(len(labels), -1) - mean) / deviation
        return scaled.reshape(labels.shape).float()

    def outputs(self, values: np.ndarray) -> np.ndarray:
        """Return what a model in training gives, (N, C), in the labels' units."""
        return values * self.deviation + self.mean

    @torch.no_grad()
    def fold(self, model: nn.Module) -> None:
        """Let the model give the labels' units by itself, in place."""
        layer = output_layer(model)
        mean, deviation = (torch.from_numpy(v).to(layer.weight) for v in self._both)
        layer.weight.mul_(deviation[:, None])
        if layer.bias is not None:
            layer.bias.mul_(deviation).add_(mean)

    @torch.no_grad()
    def unfold(self, model: nn.Module) -> None:
        """Undo `fold`, in place, for a model that goes on from labels' units."""
        layer = output_layer(model)
        mean, deviation = (torch.from_numpy(v).to(layer.weight) for v in self._both)
        layer.weight.div_(deviation[:, None])
        if layer.bias is not None:
            layer.bias.sub_(mean).div_(deviation)

    @property
    def _both(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mean, self.deviation


def scale_of(task: Task, labels: np.ndarray, model: nn.Module) -> Scale | None:
    """Return the scale of a task's training labels for this model; None where they are no numbers.

    Args:
        labels: of the training rows; one that is NaN does not count.
    """
    if not task.tells_numbers:
        return None
    mean, deviation = mean_and_deviation(labels)
    if output_layer(model).bias is None:  # the features have to give the mean
        root = np.sqrt(mean**2 + deviation**2)
        return Scale(np.zeros_like(mean), np.where(root > 0, root, 1.0))
    return Scale(mean, deviation)


def mean_and_deviation(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ((C,), (C,)) float64, mean and standard deviation of labels (N, C) or (N,).

    The deviation of numbers that are all the same is 1.
    """
    values = np.asarray(labels, np.float64).reshape(len(labels), -1)
    return np.nanmean(values, 0), deviations(values)


def output_layer(model: nn.Module) -> nn.Linear:
    """Return the layer of the head that gives the model's outputs: its last one with as many.

    Args:
        model: a pretrained model with a head, adapted or not, or a head by itself.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    parts = [base]
    if isinstance(base, PreTrainedModel):
        parts = [base.get_submodule(name) for name in head_names(base)]
    C = base.config.num_labels
    found = [
        module
        for part in parts
        for module in part.modules()
        if isinstance(module, nn.Linear)
        and module.out_features == C
        and module.weight.requires_grad  # peft keeps the head as it was beside the one that moves
    ]
    assert found, "every head of transformers for sequences ends in a Linear layer"
    return found[-1]
