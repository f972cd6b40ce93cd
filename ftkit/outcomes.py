"""What becomes of a task's outputs on the test rows: columns, pictures, what a reload must give.

A task whose outputs are logits (N, C) of one class out of C, or numbers (N, 1), needs nothing here.
"""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from sklearn.metrics import confusion_matrix

from ftkit.data import Splits
from ftkit.data.splits import labels_of
from ftkit.metrics import softmax
from ftkit.plots import plot_confusion, plot_numbers
from ftkit.recipe import TabularRegression


@singledispatch
def columns(task: Any, splits: Splits, outputs: Any) -> dict[str, Any]:
    """Return the columns of predictions.parquet by name, each with a value per test row.

    Of classes: `label` and `prediction` by name, and `probability`, a list in the order of the
    classes. Of numbers: `label` and `prediction`.
    """
    names, labels = np.array(splits.label_names), labels_of(splits.test)
    return {
        "label": names[labels],
        "prediction": names[outputs.argmax(1)],
        "probability": list(softmax(outputs.astype(np.float64))),
    }


@columns.register
def _(task: TabularRegression, splits: Splits, outputs: np.ndarray) -> dict[str, Any]:
    return {"label": labels_of(splits.test), "prediction": outputs.ravel()}


@singledispatch
def draw(task: Any, splits: Splits, outputs: Any, folder: Path, title: str) -> None:
    """Draw what the task's outputs look like: confusion_matrix.png, or predictions.png."""
    names, labels = splits.label_names, labels_of(splits.test)
    counts = confusion_matrix(labels, outputs.argmax(1), labels=range(len(names)))
    plot_confusion(counts, names, folder / "confusion_matrix.png", title)


@draw.register
def _(
    task: TabularRegression, splits: Splits, outputs: np.ndarray, folder: Path, title: str
) -> None:
    plot_numbers(labels_of(splits.test), outputs.ravel(), folder / "predictions.png", title)


@singledispatch
def raw(task: Any, rows: Dataset) -> dict[str, Any]:
    """Return what the rows hold by column, as JSON can write it: what a user would put in.

    Images are not in it: they become files.
    """
    inputs = [name for name in rows.column_names if name not in ("image", "label", "index")]
    return {name: rows[name][:] for name in inputs}


@singledispatch
def expected(task: Any, outputs: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a fresh process must give for these rows, by the names that it uses.

    See `ftkit.reload` for the names. Numbers must be close, texts equal.
    """
    return {"logits": outputs[rows], "probabilities": softmax(outputs[rows])}


@expected.register
def _(task: TabularRegression, outputs: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {"logits": outputs[rows]}
