"""What becomes of a task's outputs on the test rows: columns, pictures, what a reload must give.

A task whose outputs are logits (N, C) of one class out of C, or numbers (N, 1), needs nothing here.
"""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.special import expit
from sklearn.metrics import confusion_matrix

from ftkit.data import Splits
from ftkit.data.splits import labels_of
from ftkit.metrics import softmax
from ftkit.metrics.tags import tags_of
from ftkit.metrics.words import Tagged
from ftkit.plots import plot_confusion, plot_numbers, plot_precision_recall
from ftkit.recipe import TabularRegression, TextRegression, TextTagging, TokenClassification
from ftkit.tasks.text import label_array


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


@columns.register(TabularRegression)
@columns.register(TextRegression)
def _(task: Any, splits: Splits, outputs: np.ndarray) -> dict[str, Any]:
    return {"label": labels_of(splits.test), "prediction": outputs.ravel()}


@columns.register
def _(task: TextTagging, splits: Splits, outputs: np.ndarray) -> dict[str, Any]:
    """`label` and `prediction` are lists of names, `probability` that of each class by itself."""
    names = np.array(splits.label_names)
    labels, found = labels_of(splits.test), tags_of(outputs, task.threshold)
    return {
        "label": [[str(names[number]) for number in row] for row in labels],
        "prediction": [names[row.astype(bool)].tolist() for row in found],
        "probability": list(expit(outputs.astype(np.float64))),
    }


@columns.register
def _(task: TokenClassification, splits: Splits, outputs: Tagged) -> dict[str, Any]:
    """Lists with an entry for each word, None where the model did not see it.

    `confidence` is the probability of the class in `prediction`.
    """
    names, labels = splits.label_names, labels_of(splits.test)
    return {
        "tokens": splits.test["tokens"][:],
        "label": [[names[number] for number in row] for row in labels],
        "prediction": [
            [names[word.argmax()] if np.isfinite(word).all() else None for word in row]
            for row in outputs.logits
        ],
        "confidence": [
            [float(p.max()) if np.isfinite(p).all() else None for p in softmax(row)]
            for row in outputs.logits
        ],
    }


@singledispatch
def draw(task: Any, splits: Splits, outputs: Any, folder: Path, title: str) -> None:
    """Draw what the task's outputs look like: confusion_matrix.png, or predictions.png."""
    names, labels = splits.label_names, labels_of(splits.test)
    counts = confusion_matrix(labels, outputs.argmax(1), labels=range(len(names)))
    plot_confusion(counts, names, folder / "confusion_matrix.png", title)


@draw.register(TabularRegression)
@draw.register(TextRegression)
def _(task: Any, splits: Splits, outputs: np.ndarray, folder: Path, title: str) -> None:
    plot_numbers(labels_of(splits.test), outputs.ravel(), folder / "predictions.png", title)


@draw.register
def _(task: TextTagging, splits: Splits, outputs: np.ndarray, folder: Path, title: str) -> None:
    """precision_recall.png: a bar for each of both, class by class."""
    truth = label_array(task, splits.test, len(splits.label_names)).astype(int)
    found = tags_of(outputs, task.threshold)
    counts = ((truth * found).sum(0), found.sum(0), truth.sum(0))
    plot_precision_recall(*counts, splits.label_names, folder / "precision_recall.png", title)


@draw.register
def _(task: TokenClassification, splits: Splits, outputs: Tagged, folder: Path, title: str) -> None:
    """confusion_matrix.png, of words."""
    truth, logits = outputs.seen(labels_of(splits.test))
    found = np.concatenate(logits).argmax(1)
    names = splits.label_names
    counts = confusion_matrix(np.concatenate(truth), found, labels=range(len(names)))
    plot_confusion(counts, names, folder / "confusion_matrix.png", title)


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
def _(task: TextTagging, outputs: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {"logits": outputs[rows], "probabilities": expit(outputs[rows])}


@expected.register
def _(task: TokenClassification, outputs: Tagged, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Of the words that the model sees, one row's after the other's."""
    logits = np.concatenate([outputs.logits[row] for row in rows])
    logits = logits[np.isfinite(logits).all(1)]
    names = np.array(outputs.names)
    return {"logits": logits, "tags": names[logits.argmax(1)], "scores": softmax(logits).max(1)}


@expected.register(TabularRegression)
@expected.register(TextRegression)
def _(task: Any, outputs: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {"logits": outputs[rows], "numbers": outputs[rows]}
