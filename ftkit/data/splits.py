"""Splits: which rows are for training, which for choosing, which for the one test at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, Value

if TYPE_CHECKING:
    from ftkit.data.findings import Finding

ROLES = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """The rows of a classification task, with labels as numbers into `label_names`.

    Each split has the columns `image` (undecoded), `label` (int64) and `index`, the row's number in
    the source before any row was left out.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    label_names: tuple[str, ...]
    test_split: str
    """Name of the source split whose rows are the test rows."""
    notes: tuple[str, ...] = ()
    """What was decided about the data, one sentence each."""
    lacking: tuple[str, ...] = ()
    """Classes that the source has in another split and not in train: training refuses them."""
    findings: tuple[Finding, ...] = ()
    """What `ftkit.data.screen` saw in passing."""
    task: Any = None
    """The task with its columns filled in."""

    def noting(self, *notes: str) -> Splits:
        """Return the same splits with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each split."""
        return {name: len(getattr(self, name)) for name in ROLES}


def labels_of(rows: Dataset) -> np.ndarray:
    """Return (N,) the labels of the rows: numbers, or objects where a label is a list or a text."""
    found = rows.with_format("numpy")["label"][:] if _are_numbers(rows) else rows["label"][:]
    return found if isinstance(found, np.ndarray) else objects(found)


def objects(values: list[Any]) -> np.ndarray:
    """Return (N,) objects, also where they are lists of one length."""
    found = np.empty(len(values), object)
    for place, value in enumerate(values):
        found[place] = value
    return found


def _are_numbers(rows: Dataset) -> bool:
    feature = rows.features["label"]
    return isinstance(feature, Value) and feature.dtype.startswith(("int", "float"))


def spread(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return an order of all rows in which every beginning holds the classes in their proportions.

    Without classes it is random. Within a class the order is random. The j-th of n rows of a class
    stands at (j + 1/2) / n, so the first k rows hold a class's k * n / N rows to within one.

    Args:
        labels: (N,) class numbers; anything else is no class.

    Returns:
        (N,) row numbers.
    """
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(labels))
    if labels.dtype.kind != "i":
        return shuffled
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return shuffled[np.argsort(place[shuffled], kind="stable")]


def cut(rows: Dataset, size: int, seed: int) -> tuple[Dataset, Dataset]:
    """Return (what stays, `size` rows cut off), both with the classes in proportion."""
    order = spread(labels_of(rows), seed)
    return rows.select(np.sort(order[size:])), rows.select(np.sort(order[:size]))


def limit(rows: Dataset, most: int | None, seed: int) -> Dataset:
    """Return at most so many rows, with the classes in proportion."""
    if most is None or most >= len(rows):
        return rows
    return rows.select(np.sort(spread(labels_of(rows), seed)[:most]))
