"""Tasks: how rows become model inputs, one file per kind of task.

`prepare(task, splits, processor, seed)` picks the file by the task's type.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol

import numpy as np

from ftkit.data import Splits


class Rows(Protocol):
    """A map-style data set of examples whose labels are known without making the examples."""

    labels: np.ndarray
    """(N,) class numbers."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: int) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Inputs:
    """What a model is trained and measured on: for each split a data set of tensors."""

    train: Rows
    validation: Rows
    test: Rows


@singledispatch
def prepare(task: Any, splits: Splits, processor: Any, seed: int) -> Inputs:
    """Return the inputs of each split for this task; only those for training are augmented.

    Args:
        task: decides which implementation answers.
        processor: of the backbone; evaluation uses it as it will be saved.
        seed: of the augmentation.
    """
    raise TypeError(f"no task of type {type(task).__name__}")


from ftkit.tasks import image  # noqa: E402, F401 - registers its implementation
