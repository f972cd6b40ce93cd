"""What a task's outputs are worth: `score` while training, `measure` with intervals at the end.

One file for each kind of outputs. Every figure comes from an `evaluate.Metric` that needs no Hub.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from ftkit.result import Measured

RESAMPLES = 2000
"""Of every bootstrap."""


@singledispatch
def score(task: Any, labels: np.ndarray, outputs: Any) -> dict[str, float]:
    """Return {"loss": ..., and the task's figures} of a model's outputs.

    Args:
        labels: of the rows, as `ftkit.tasks.Rows.labels` has them.
        outputs: of the rows, as `ftkit.evaluation.predict` gives them.
    """
    raise TypeError(f"no figures for a task of type {type(task).__name__}")


@singledispatch
def measure(task: Any, labels: np.ndarray, outputs: Any, seed: int = 0) -> dict[str, Measured]:
    """Return each figure with its 95 % interval over test examples; see `score`.

    Args:
        seed: of the bootstrap.
    """
    raise TypeError(f"no figures for a task of type {type(task).__name__}")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of the same shape (N, C), each row summing to one."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


from ftkit.metrics import classes, language, numbers  # noqa: E402, F401 - register their implementations
