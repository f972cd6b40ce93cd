"""Pairs of rows of one class: the loss that compares all of a batch, and batches that have some."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from ftkit.tasks.inputs import NO_LABEL


def contrastive_loss(
    features: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the supervised contrastive loss of a batch (Khosla et al. 2020, equation 2).

    Of each row the other rows of its class are told from all others by a softmax over cosines. The
    mean is over the rows that have another one of their class; 0 where none has.

    Args:
        features: (B, D).
        labels: (B,) class numbers.
    """
    unit = F.normalize(features, dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    scores = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    same = (labels[:, None] == labels) & ~itself
    logs = F.log_softmax(scores, dim=1).masked_fill(~same, 0)
    others = same.sum(1)
    return -(logs.sum(1) / others.clamp(min=1)).sum() / (others > 0).sum().clamp(min=1)


def batches_of_classes(labels: np.ndarray, rows: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the positions of the rows of each step, without an end: few classes, several of each.

    As many classes as there is room for with two rows each take turns, and the rows of a class do.
    So each class counts alike, however many rows it has. Where a class has fewer rows than its
    share, all of them are taken.

    Args:
        labels: (N,) class numbers; a row whose label is NO_LABEL is never taken.
        rows: in a step, at most.
    """
    draw = np.random.default_rng(seed)
    classes = np.unique(labels[labels != NO_LABEL])
    at_once = min(len(classes), max(2, rows // 2))
    chosen, share = _in_turns(classes, at_once, draw), max(2, rows // at_once)
    members = {}
    for label in classes:
        own = np.flatnonzero(labels == label)
        members[label] = _in_turns(own, min(share, len(own)), draw)
    while True:
        yield np.concatenate([next(members[label]) for label in next(chosen)])


def _in_turns(values: np.ndarray, count: int, draw: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `count` different values at a time, without an end, each as often as any other."""
    left = values[:0]
    while True:
        if len(left) < count:  # those that are left go last into the next turn
            rest = draw.permutation(np.setdiff1d(values, left))
            left = np.concatenate([left, rest, draw.permutation(left)])
        now, left = np.split(left, [count])
        yield now
