"""Figures of one class out of several, with 95 % intervals.

All but AUROC are functions of the confusion matrix, whose row is the true class and whose column
is the predicted one.
"""

from __future__ import annotations

from functools import partial

import datasets
import numpy as np
from scipy import special

from ftkit.runs.result import Measured
from ftkit.tasks.metrics import Groups, LocalMetric
from ftkit.tasks.metrics.intervals import BY_DELTA, bounded, measured_share
from ftkit.tasks.metrics.matrices import FIGURES, matrix_interval
from ftkit.tasks.metrics.ranking import auroc, measure_auroc, one_hot

softmax = partial(special.softmax, axis=1)
"""From logits (N, C) to probabilities."""


def score_logits(labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    """Return the loss and the figures of logits (N, C) and class numbers (N,)."""
    found = Classification().score(predictions=outputs.argmax(1), references=labels)
    area = auroc(*_ranked(labels, outputs))
    return {
        "loss": mean_cross_entropy(labels, outputs),
        **found,
        "auroc": 0.5 if np.isnan(area) else area,  # nothing can be told apart
    }


def measure_logits(
    labels: np.ndarray, outputs: np.ndarray, groups: Groups = None
) -> dict[str, Measured]:
    """Return the figures with their intervals of logits (N, C) and class numbers (N,)."""
    return {
        **measure_classes(labels, outputs.argmax(1), groups),
        **measure_auroc(*_ranked(labels, outputs), groups),
    }


def _ranked(labels: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, C) which class is true, and (N, C) the probability of each."""
    return one_hot(labels, outputs.shape[1]), softmax(outputs.astype(np.float64))


def measure_classes(
    labels: np.ndarray, predictions: np.ndarray, groups: Groups = None
) -> dict[str, Measured]:
    """Return the figures of predicted classes, with Wilson's intervals (1927).

    Accuracy has its own, the others one at the effective number of examples by the delta method,
    see `ftkit.tasks.metrics.matrices`.

    Args:
        labels: (N,) true classes.
        predictions: (N,) predicted classes.
    """
    values = Classification().score(predictions=predictions, references=labels)
    counts, true, told = matrix(labels, predictions)
    alone = len(np.unique(labels)) == 1
    method = "Wilson score of the only class's accuracy" if alone else BY_DELTA
    measured = {"accuracy": measured_share((true == told).astype(float), groups=groups)}
    for name in FIGURES:
        ends = matrix_interval(values[name], name, counts, true, told, groups)
        if alone and name == "matthews":
            measured[name] = bounded(values[name], *ends, "none: all rows are of one class")
        else:
            measured[name] = bounded(values[name], *ends, method, groups)
    return measured


def figures(true: np.ndarray, predicted: np.ndarray, hits: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy, balanced accuracy, macro-F1 and Matthews correlation from margins.

    They are those of a confusion matrix. Balanced accuracy is the mean recall of the classes that
    occur; macro-F1 the mean F1 of the classes that occur or are predicted; Matthews correlation
    (Gorodkin 2004 for several classes) is 0 where only one class occurs or is predicted; all as
    scikit-learn computes them.

    Args:
        true: (..., C) examples of each class.
        predicted: (..., C) predictions of each class.
        hits: (..., C) right predictions of each class.

    Returns:
        For each name a figure of shape (...).
    """
    occurs, matters = true > 0, (true + predicted) > 0
    recall = np.divide(hits, true, out=np.zeros(hits.shape), where=occurs)
    f1 = np.divide(2 * hits, true + predicted, out=np.zeros(hits.shape), where=matters)
    N, right = true.sum(-1).astype(np.float64), hits.sum(-1).astype(np.float64)
    spread = (N**2 - (true.astype(np.float64) ** 2).sum(-1)) * (
        N**2 - (predicted.astype(np.float64) ** 2).sum(-1)
    )
    together = right * N - (true.astype(np.float64) * predicted).sum(-1)
    return {
        "accuracy": hits.sum(-1) / true.sum(-1),
        "balanced_accuracy": recall.sum(-1) / occurs.sum(-1),
        "macro_f1": f1.sum(-1) / matters.sum(-1),
        "matthews": together / np.sqrt(np.where(spread > 0, spread, np.inf)),
    }


def matrix(
    labels: np.ndarray, predictions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the confusion matrix (C, C) of the classes that occur or are predicted.

    And the place (N,) in it of each true and of each predicted class. scikit-learn's own warns
    where there is a single class.
    """
    classes, places = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    true, told = np.split(places, 2)
    C = len(classes)
    counts = np.bincount(true * C + told, minlength=C * C).reshape(C, C)
    return counts, true, told


class Classification(LocalMetric):
    """Accuracy, balanced accuracy, macro-F1 and Matthews correlation, see `figures`."""

    column = datasets.Value("int64")

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        counts, _, _ = matrix(np.asarray(references), np.asarray(predictions))
        margins = figures(counts.sum(1), counts.sum(0), counts.diagonal())
        return {name: float(value) for name, value in margins.items()}


def mean_cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean over examples of -log p(label), in nats.

    Of no example at all it is that of guessing among all classes.

    Args:
        labels: (N,) true classes.
        logits: (N, C) scores before softmax.
    """
    if not len(labels):
        return float(np.log(logits.shape[1]))
    return float(-special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
