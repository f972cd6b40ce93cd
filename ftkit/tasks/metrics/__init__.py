"""What a task's outputs are worth, while training and with intervals at the end.

One file for each kind of outputs. Every figure comes from an `evaluate.Metric` that needs no Hub.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

RESAMPLES = 2000
"""Of every bootstrap."""
AT_ONCE = 10**6
"""Resamples times examples that are in memory together."""


def resamples(N: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield (B, N) float32, `count` rows in all: how often each example is in each resample."""
    random, size = np.random.default_rng(seed), max(1, AT_ONCE // N)
    for start in range(0, count, size):
        drawn = random.integers(0, N, (min(size, count - start), N))
        yield np.stack([np.bincount(row, minlength=N) for row in drawn]).astype(np.float32)
