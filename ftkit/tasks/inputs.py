"""What models are trained and measured on: examples by key, for each split, whatever the task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from datasets import Dataset

from ftkit.data.splits import Splits
from ftkit.recipe import Augment

NO_LABEL = -100
"""torch's cross-entropy passes over it; a number that does not count is NaN."""


class Rows(Protocol):
    """A map-style data set of examples whose labels are known without making the examples."""

    @property
    def labels(self) -> np.ndarray:
        """(N,) class numbers, or numbers; of several classes (N, C) float32 of 0 and 1.

        Of words (N,) lists of class numbers; else what is to be predicted of a row.
        """
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: int) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Inputs:
    """What a model is trained and measured on: a data set of tensors for each split."""

    train: Rows
    """Training rows, with random changes in every epoch where the recipe asks for them."""
    train_plain: Rows
    """The same rows without random changes."""
    validation: Rows
    test: Rows
    mixing: Augment | None = None
    """Mixup and CutMix, which work on batches; None where both are off."""
    train_groups: np.ndarray | None = None
    """(N,) int64, equal for training rows that belong together, as `ftkit.data.Splits` has them."""
    validation_groups: np.ndarray | None = None
    """(N,) int64, in the same numbering; not None where `train_groups` is not."""

    @classmethod
    def of(cls, splits: Splits, make: Callable[[Dataset], Rows]) -> Inputs:
        """Return what `make` makes of the canonical rows of each split, without random changes."""
        train, validation, test = map(make, (splits.train, splits.validation, splits.test))
        return cls(train=train, train_plain=train, validation=validation, test=test)


def examples_of(rows: Any, keys: list[int]) -> list[dict[str, Any]]:
    """Return the examples of these keys, read together where the rows know how."""
    together = getattr(rows, "__getitems__", None)
    return together(keys) if together and keys else [rows[key] for key in keys]


def label_at(labels: np.ndarray, position: int) -> int | float | torch.Tensor:
    """Return the label of one example: a class, a number, or (C,) float32."""
    label = labels[position]
    return torch.from_numpy(label) if label.ndim else label.item()


def stacked(values: list[Any]) -> torch.Tensor:
    """Return a batch (B, ...) of numbers, float32 where they are no whole ones, or of tensors."""
    return torch.stack(values) if torch.is_tensor(values[0]) else torch.tensor(values)


def digests(rows: Any, epoch: int = 0) -> np.ndarray:
    """Return (N,) S16: of each example in that epoch, a hash of all that it is made of.

    Two examples with the same hash are the same to any model. Rows that know a shorter way have a
    method `digests`; of others each example is made and its tensors are hashed.
    """
    if hasattr(rows, "digests"):
        return rows.digests(epoch)
    found = []
    for position in range(len(rows)):
        example = rows[epoch * len(rows) + position]
        names = sorted(example.keys() - {"labels", "index"})
        arrays = [np.ascontiguousarray(example[name]) for name in names]
        about = [(n, a.dtype.str, a.shape) for n, a in zip(names, arrays, strict=True)]
        found.append(digest(repr(about).encode(), *(array.tobytes() for array in arrays)))
    return np.array(found, dtype="S16")


def digest(*parts: bytes) -> bytes:
    """Return 16 bytes that other parts do not give. None is zero: NumPy drops zeros at the end."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.digest().replace(b"\0", b"\1")


def first_rows(rows: Any, count: int) -> Rows:
    """Return the first `count` rows as rows of their own, to try something out on them."""
    if hasattr(rows, "first"):
        return rows.first(count)
    return FirstRows(rows, min(count, len(rows)))


class FirstRows:
    """The first rows of others; the key of an example is epoch * N + position, as it is there."""

    def __init__(self, rows: Rows, count: int) -> None:
        self.rows, self.count = rows, count
        if hasattr(rows, "collate"):
            self.collate = rows.collate
        if hasattr(rows, "lengths"):
            self.lengths = rows.lengths[:count]

    @property
    def labels(self) -> np.ndarray:
        """(N,) class numbers."""
        return self.rows.labels[: self.count]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int) -> dict[str, Any]:
        epoch, position = divmod(key, self.count)
        return self.rows[epoch * len(self.rows) + position]


class JoinedRows:
    """Some rows and then others, made alike; the key of an example is epoch * N + position."""

    def __init__(self, first: Any, then: Any) -> None:
        """Take rows of the same kind."""
        self.parts = (first, then)
        if hasattr(first, "collate"):
            self.collate = first.collate
        if hasattr(first, "lengths"):
            self.lengths = np.concatenate([rows.lengths for rows in self.parts])

    @property
    def labels(self) -> np.ndarray:
        """(N,) or (N, C), as those of the parts are."""
        return np.concatenate([rows.labels for rows in self.parts])

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, key: int) -> dict[str, Any]:
        epoch, position = divmod(key, len(self))
        rows, before = self.parts[0], 0
        if position >= len(rows):
            rows, before = self.parts[1], len(rows)
        example = rows[epoch * len(rows) + position - before]
        return example | {"index": position}

    def digests(self, epoch: int = 0) -> np.ndarray:
        """See the function of this name."""
        return np.concatenate([digests(rows, epoch) for rows in self.parts])
