"""Splits: which rows are for training, which for choosing, which for the one test at the end."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
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
    """The name of the source split whose rows are the test rows."""
    notes: tuple[str, ...] = ()
    """What was decided about the data, one sentence each."""
    lacking: tuple[str, ...] = ()
    """Classes that occur in another split of the source and not in train. Training refuses them."""
    findings: tuple[Finding, ...] = ()
    """What `ftkit.tasks.loading.screen` found in passing."""
    task: Any = None
    """The task with its columns filled in."""
    groups: np.ndarray | None = None
    """(N,) int64, equal for test rows of one group: those of `data.group`, or copies of each other.
    None when every row is its own group."""
    train_groups: np.ndarray | None = None
    """(N,) int64, the same for training rows. The numbers agree with `validation_groups`. None when
    groups are not known."""
    validation_groups: np.ndarray | None = None
    """(N,) int64; it is None exactly when `train_groups` is."""

    folder: Path | None = None
    """The folder of the data. Messages name the files of rows relative to it."""

    def noting(self, *notes: str) -> Splits:
        """Return the same splits with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each split."""
        return {name: len(getattr(self, name)) for name in ROLES}


def file_of(rows: Dataset, position: int, folder: Path | None = None) -> str:
    """Return the name of a row's image file, or nothing.

    One that is there below `folder` is named without it; of others one wants to know the place.
    """
    if "image" not in rows.column_names:
        return ""
    path = str((rows[position]["image"] or {}).get("path") or "")
    inside = folder is not None and path.startswith(f"{folder}{os.sep}") and os.path.exists(path)
    return os.path.relpath(path, folder) if inside else path


def in_brackets(text: str) -> str:
    """Return " (text)", or nothing for an empty text."""
    return f" ({text})" if text else ""


def labels_of(rows: Dataset) -> np.ndarray:
    """Return (N,) the labels of the rows: numbers, or objects where a label is a list or a text."""
    kind = rows.features["label"]
    numbers = isinstance(kind, Value) and kind.dtype.startswith(("int", "float"))
    found = rows.with_format("numpy")["label"][:] if numbers else rows["label"][:]
    return found if isinstance(found, np.ndarray) else objects(found)


def group_numbers(groups: np.ndarray | None) -> np.ndarray | None:
    """Return the groups (N,) as int64, or None when every row is its own group."""
    if groups is None or len(np.unique(groups)) == len(groups):
        return None
    return groups.astype(np.int64)


def objects(values: list[Any]) -> np.ndarray:
    """Return (N,) objects, even when all of them are lists of one length."""
    found = np.empty(len(values), object)
    for place, value in enumerate(values):
        found[place] = value
    return found
