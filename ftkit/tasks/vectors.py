"""Rows as vectors in memory: what a perceptron is trained on, for every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Vectors:
    """Rows of a split as vectors. The epoch in a key is dropped: they do not change."""

    values: np.ndarray
    """(N, D) float32."""
    labels: np.ndarray
    """(N,) class numbers, or the numbers to be predicted."""

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Vectors:
        """Return all of them: an epoch over vectors in memory is short."""
        return self

    def __getitem__(self, key: int) -> dict[str, Any]:
        position = key % len(self)
        return {
            "features": torch.from_numpy(self.values[position]),
            "labels": self.labels[position].item(),
            "index": position,
        }
