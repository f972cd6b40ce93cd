"""Losses of micro-batches as shares of a step's mean, and the mixing of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ftkit.errors import RecipeError
from ftkit.recipe import Augment, Train
from ftkit.tasks.inputs import NO_LABEL

RowLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits (K, C) and the numbers (K,) of their rows to the loss (K,) of each."""


def classification_loss(
    outputs: Any,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    label_smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the cross-entropy of a micro-batch as its share of the optimiser step's mean.

    The cross-entropy of a row is that with the smoothed target, which gives every class an equal
    part of `label_smoothing` (Szegedy et al. 2016, section 7), times the weight of the row's own
    class. torch's own `weight` is for each class of that target instead of for the row: where one
    class weighs much more than another, its part of the smoothing outweighs the true class, and
    the optimum avoids the common class (pytorch/pytorch#104776).

    Args:
        outputs: with `logits` (B, C).
        labels: (B,); a row whose label is NO_LABEL does not count.
        num_items_in_batch: examples of the whole step, over all devices and micro-batches.
        weights: (C,) weight of each class.
    """
    count = len(labels) if num_items_in_batch is None else num_items_in_batch
    logits, smoothing = outputs["logits"].float(), label_smoothing
    if weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum") / count
    losses = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    own = weights.to(losses)[labels.clamp(min=0)]  # NO_LABEL is below zero, its loss is zero
    return (own * losses).sum() / count


def token_loss(
    outputs: Any,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    **settings: Any,
) -> torch.Tensor:
    """Return the cross-entropy of a micro-batch's tokens as its share of the step's mean.

    Args:
        outputs: with `logits` (B, T, C).
        labels: (B, T); one that is NO_LABEL does not count.
        num_items_in_batch: tokens of the whole step that count, over all devices.
    """
    flat = {"logits": outputs["logits"].flatten(0, 1)}
    counted = is_label(labels).sum().clamp(min=1)
    count = counted if num_items_in_batch is None else num_items_in_batch
    return classification_loss(flat, labels.flatten(), count, **settings)


def elementwise_loss(
    outputs: Any,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    *,
    error: Callable[..., torch.Tensor],
) -> torch.Tensor:
    """Return the mean error over all labels of the optimiser step, this micro-batch's share of it.

    Args:
        outputs: with `logits` (B, C).
        labels: (B, C), or (B,) for C = 1; one that is NaN does not count.
        num_items_in_batch: labels of the whole step that count, over all devices.
        error: of each logit, as functions of torch compute it.
    """
    logits = outputs["logits"].float().reshape(labels.shape)
    counts = is_label(labels)
    total = error(logits[counts], labels[counts].float(), reduction="sum")
    return total / (counts.sum() if num_items_in_batch is None else num_items_in_batch)


def class_weights(settings: Train, labels: np.ndarray, classes: int) -> torch.Tensor | None:
    """Return (C,) the weight of each class in the loss, or None for equal ones.

    "balanced" is N / (C n_c), so that the mean weight of a row is 1 (scikit-learn's rule).

    Args:
        labels: (N,) classes of the training rows.
        classes: C.

    Raises:
        RecipeError: weights were given, but not one for each class.
    """
    if settings.class_weights == "none":
        return None
    if settings.class_weights == "balanced":
        counts = np.bincount(labels, minlength=classes).clip(1)
        return torch.tensor(len(labels) / (classes * counts), dtype=torch.float32)
    if len(settings.class_weights) != classes:
        raise RecipeError(
            f"train.class_weights: given {len(settings.class_weights)} weights, expected one for "
            f"each of the {classes} classes"
        )
    return torch.tensor(settings.class_weights, dtype=torch.float32)


def mix(
    images: torch.Tensor, partner: torch.Tensor, augment: Augment, draw: np.random.Generator
) -> tuple[torch.Tensor, float]:
    """Return (images (B, 3, H, W) mixed with those of their partners, the own share of each).

    Where both are on, a coin decides for each batch, as timm does.
    """
    use_cutmix = bool(augment.cutmix) and (not augment.mixup or draw.random() < 0.5)
    if not use_cutmix:
        share = float(draw.beta(augment.mixup, augment.mixup))
        return share * images + (1 - share) * images[partner], share
    H, W = images.shape[-2:]
    side = math.sqrt(1 - draw.beta(augment.cutmix, augment.cutmix))
    top, left = (draw.integers(0, size) - round(size * side) // 2 for size in (H, W))
    rows = slice(max(0, top), min(H, top + round(H * side)))
    columns = slice(max(0, left), min(W, left + round(W * side)))
    mixed = images.clone()
    mixed[..., rows, columns] = images[partner][..., rows, columns]
    area = max(0, rows.stop - rows.start) * max(0, columns.stop - columns.start)
    return mixed, 1 - area / (H * W)


def is_label(labels: torch.Tensor) -> torch.Tensor:
    """Return, of the same shape, which labels count."""
    return ~labels.isnan() if labels.is_floating_point() else labels != NO_LABEL
