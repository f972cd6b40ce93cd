"""Metrics as `evaluate.Metric` objects that need no Hub, with 95 % intervals.

A classifier's figures are functions of the confusion matrix, whose row is the true class and whose
column is the predicted one. That makes the bootstrap cheap: drawing N examples with replacement is
drawing the matrix's cells from a multinomial distribution.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from ftkit.recipe import TabularRegression
from ftkit.result import Measured

RESAMPLES = 2000


def figures(true: np.ndarray, predicted: np.ndarray, hits: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy, balanced accuracy and macro-F1 from the margins of a confusion matrix.

    Balanced accuracy is the mean recall of the classes that occur; macro-F1 the mean F1 of the
    classes that occur or are predicted, as scikit-learn computes them.

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
    return {
        "accuracy": hits.sum(-1) / true.sum(-1),
        "balanced_accuracy": recall.sum(-1) / occurs.sum(-1),
        "macro_f1": f1.sum(-1) / matters.sum(-1),
    }


class Classification(evaluate.Metric):
    """Accuracy, balanced accuracy and macro-F1 of predicted classes, computed without the Hub."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        column = datasets.Value("int64")
        return evaluate.MetricInfo(
            description="Accuracy, balanced accuracy and macro-F1 from one confusion matrix.",
            citation="",
            inputs_description="predictions and references: class numbers",
            features=datasets.Features({"predictions": column, "references": column}),
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        counts = confusion_matrix(references, predictions)
        margins = figures(counts.sum(1), counts.sum(0), counts.diagonal())
        return {name: float(value) for name, value in margins.items()}


@singledispatch
def score(task: Any, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    """Return {"loss": ..., and the task's figures} of a model's outputs.

    Args:
        labels: (N,) class numbers, or the numbers to be told.
        outputs: (N, C) logits, or (N, 1) numbers.
    """
    found = Classification().compute(predictions=outputs.argmax(1), references=labels)
    assert found is not None
    return {"loss": mean_cross_entropy(labels, outputs), **found}


@score.register
def _(task: TabularRegression, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    found = Regression().compute(predictions=outputs.ravel(), references=labels)
    assert found is not None
    return {"loss": float(found["rmse"]) ** 2, **found}


@singledispatch
def measure(
    task: Any, labels: np.ndarray, outputs: np.ndarray, seed: int = 0
) -> dict[str, Measured]:
    """Return each figure with its 95 % interval over test examples; see `score`."""
    return measure_classes(labels, outputs.argmax(1), seed)


@measure.register
def _(
    task: TabularRegression, labels: np.ndarray, outputs: np.ndarray, seed: int = 0
) -> dict[str, Measured]:
    return measure_numbers(labels, outputs.ravel(), seed)


def measure_classes(
    labels: np.ndarray, predictions: np.ndarray, seed: int = 0
) -> dict[str, Measured]:
    """Return the figures of predicted classes, with intervals.

    Accuracy has the Wilson score interval (Wilson 1927); the others the percentile bootstrap
    (Efron 1979) over examples.

    Args:
        labels: (N,) true classes.
        predictions: (N,) predicted classes.
        seed: of the bootstrap.
    """
    values = Classification().compute(predictions=predictions, references=labels)
    assert values is not None
    counts = confusion_matrix(labels, predictions)
    rows, columns = counts.nonzero()
    N, C = int(counts.sum()), len(counts)
    one_hot_rows, one_hot_columns = np.eye(C)[rows], np.eye(C)[columns]
    draws = np.random.default_rng(seed).multinomial(N, counts[rows, columns] / N, RESAMPLES)
    resampled = figures(
        draws @ one_hot_rows, draws @ one_hot_columns, draws @ (one_hot_rows * one_hot_columns)
    )
    measured = {}
    for name, value in values.items():
        low, high = np.quantile(resampled[name], [0.025, 0.975])
        measured[name] = Measured(
            value=value, low=low, high=high, method=f"percentile bootstrap, {RESAMPLES} resamples"
        )
    wilson = binomtest(int(counts.trace()), N).proportion_ci(0.95, method="wilson")
    measured["accuracy"] = Measured(
        value=values["accuracy"], low=wilson.low, high=wilson.high, method="Wilson score"
    )
    return measured


def numeric_figures(weights: np.ndarray, errors: np.ndarray, labels: np.ndarray) -> dict:
    """Return R squared, root mean squared error and mean absolute error.

    R squared is 1 - sum (y - p)^2 / sum (y - mean y)^2.

    Args:
        weights: (..., N) how often each example counts.
        errors: (N,) prediction less label.
        labels: (N,).

    Returns:
        For each name a figure of shape (...).
    """
    count, squares = weights.sum(-1), weights @ errors**2
    centred = labels - labels.mean()
    spread = weights @ centred**2 - (weights @ centred) ** 2 / count
    return {
        "r2": 1 - squares / spread,
        "rmse": np.sqrt(squares / count),
        "mae": weights @ np.abs(errors) / count,
    }


class Regression(evaluate.Metric):
    """R squared, root mean squared error and mean absolute error, computed without the Hub."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        column = datasets.Value("float64")
        return evaluate.MetricInfo(
            description="R squared, root mean squared error and mean absolute error.",
            citation="",
            inputs_description="predictions and references: numbers",
            features=datasets.Features({"predictions": column, "references": column}),
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        labels = np.asarray(references, np.float64)
        found = numeric_figures(np.ones(len(labels)), np.asarray(predictions) - labels, labels)
        return {name: float(value) for name, value in found.items()}


def measure_numbers(
    labels: np.ndarray, predictions: np.ndarray, seed: int = 0
) -> dict[str, Measured]:
    """Return the figures of predicted numbers, with percentile bootstrap intervals (Efron 1979).

    Args:
        labels: (N,) true numbers.
        predictions: (N,) predicted numbers.
        seed: of the bootstrap.
    """
    values = Regression().compute(predictions=predictions, references=labels)
    assert values is not None
    N, random = len(labels), np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(RESAMPLES):
        weights = np.bincount(random.integers(0, N, N), minlength=N).astype(np.float64)
        for name, value in numeric_figures(weights, predictions - labels, labels).items():
            draws[name].append(float(value))
    return {
        name: Measured(
            value=value,
            low=np.nanquantile(draws[name], 0.025),
            high=np.nanquantile(draws[name], 0.975),
            method=f"percentile bootstrap, {RESAMPLES} resamples",
        )
        for name, value in values.items()
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of the same shape (N, C), each row summing to one."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def mean_cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean over examples of -log p(label), in nats.

    Args:
        labels: (N,) true classes.
        logits: (N, C) scores before softmax.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(log_sum - shifted[np.arange(len(labels)), labels]))
