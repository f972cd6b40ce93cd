"""Numbers to be predicted, scaled to mean 0 and variance 1 for training: `scale_of`.

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

from ftkit.backbones.perceptron import Perceptron
from ftkit.backbones.structure import head_names
from ftkit.data.encoders import deviations
from ftkit.errors import ModelError
from ftkit.tasks.base import Task


@dataclass(frozen=True)
class Scale:
    """Where the numbers lie that a model is to predict, in the training rows."""

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
        for weight, bias in output_weights(model):
            mean, deviation = (torch.from_numpy(v).to(weight) for v in self._both)
            weight.mul_(_as_rows(deviation, weight))
            if bias is not None:
                bias.mul_(deviation).add_(mean)

    @torch.no_grad()
    def unfold(self, model: nn.Module) -> None:
        """Undo `fold`, in place, for a model that goes on from labels' units."""
        for weight, bias in output_weights(model):
            mean, deviation = (torch.from_numpy(v).to(weight) for v in self._both)
            weight.div_(_as_rows(deviation, weight))
            if bias is not None:
                bias.sub_(mean).div_(deviation)

    @property
    def _both(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mean, self.deviation


def scale_of(task: Task, labels: np.ndarray, model: nn.Module) -> Scale | None:
    """Return the scale of a task's training labels for this model; None where they are no numbers.

    Args:
        labels: of the training rows; one that is NaN does not count.
    """
    if task.settings.tells != "number":
        return None
    mean, deviation = mean_and_deviation(labels)
    if any(bias is None for _, bias in output_weights(model)):  # the features give the mean
        root = np.sqrt(mean**2 + deviation**2)
        return Scale(np.zeros_like(mean), np.where(root > 0, root, 1.0))
    return Scale(mean, deviation)


def mean_and_deviation(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ((C,), (C,)) float64, mean and standard deviation of labels (N, C) or (N,).

    The deviation of numbers that are all the same is 1.
    """
    values = np.asarray(labels, np.float64).reshape(len(labels), -1)
    return np.nanmean(values, 0), deviations(values)


def output_weights(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Return weight (C, ...) and bias (C,) of the layers that give the model's outputs.

    They are those of the head with as many outputs. It is one layer, except where a model answers
    with the mean of two heads, as DeiT and LeViT do that learned from a teacher: where each takes
    the scale in, so does the mean.

    Args:
        model: a perceptron, a pretrained model with a head, adapted or not, or a head by itself.

    Raises:
        ModelError: there is no such layer.
    """
    if isinstance(model, Perceptron):
        W, b = model.network.layers[-1]
        return [(W.T, b)]
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    parts = [base]
    if isinstance(base, PreTrainedModel):
        parts = [base.get_submodule(name) for name in head_names(base)]
    C = base.config.num_labels
    found = [
        (module.weight, module.bias)
        for part in parts
        for module in part.modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
        and module.weight.shape[0] == C
        and module.weight.requires_grad  # peft keeps the head as it was beside the one that moves
    ]
    if not found:
        raise ModelError(
            f"{type(base).__name__} has no Linear layer or convolution that gives its output, "
            f"which is to take in the scale of the numbers; give another backbone"
        )
    return found


def _as_rows(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return values (C,) as they multiply a weight whose first dimension is C."""
    return values.reshape(-1, *[1] * (weight.ndim - 1))
