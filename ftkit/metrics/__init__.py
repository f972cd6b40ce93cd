"""What a task's outputs are worth: `score` while training, `measure` with intervals at the end.

One file for each kind of outputs. Every figure comes from an `evaluate.Metric` that needs no Hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from typing import Any

import numpy as np

from ftkit.result import Measured

RESAMPLES = 2000
"""Of every bootstrap."""
AT_ONCE = 10**6
"""Resamples times examples that are in memory together."""


@singledispatch
def score(task: Any, labels: np.ndarray, outputs: Any) -> dict[str, float]:
    """Return {"loss": ..., and the task's figures} of a model's outputs.

    Args:
        labels: of the rows, as `ftkit.tasks.Rows.labels` has them.
        outputs: of the rows, as `ftkit.evaluation.predict` gives them.
    """
    raise TypeError(f"no figures for a task of type {type(task).__name__}")


@singledispatch
def measure(
    task: Any, labels: np.ndarray, outputs: Any, seed: int = 0, groups: np.ndarray | None = None
) -> dict[str, Measured]:
    """Return each figure with its 95 % interval over test examples; see `score`.

    Args:
        seed: of the bootstrap, where there is one.
        groups: (N,) int64 number of each row's group, whose rows stand and fall together, such as
            rotations of one position; None where every row is one of its own.
    """
    raise TypeError(f"no figures for a task of type {type(task).__name__}")


def resamples(N: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield (B, N) float32, `count` rows in all: how often each example is in each resample."""
    random, size = np.random.default_rng(seed), max(1, AT_ONCE // N)
    for start in range(0, count, size):
        drawn = random.integers(0, N, (min(size, count - start), N))
        yield np.stack([np.bincount(row, minlength=N) for row in drawn]).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of the same shape (N, C), each row summing to one."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


from ftkit.metrics import classes, language, numbers, tags, translation, words  # noqa: E402, F401
