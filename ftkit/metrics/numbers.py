"""Figures of predicted numbers, with 95 % intervals."""

from __future__ import annotations

from itertools import chain
from typing import Any

import datasets
import evaluate
import numpy as np

from ftkit.metrics import RESAMPLES, measure, resamples, score
from ftkit.recipe import TabularRegression, TextRegression
from ftkit.result import Measured


@score.register(TabularRegression)
@score.register(TextRegression)
def _(task: Any, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    """Of outputs (N, 1) and numbers (N,)."""
    found = Regression().compute(predictions=outputs.ravel(), references=labels)
    assert found is not None
    loss = float(found["rmse"]) ** 2
    return {"loss": loss, **{name: found[name] for name in task.figures}}


@measure.register(TabularRegression)
@measure.register(TextRegression)
def _(task: Any, labels: np.ndarray, outputs: np.ndarray, seed: int = 0) -> dict[str, Measured]:
    found = measure_numbers(labels, outputs.ravel(), seed)
    return {name: found[name] for name in task.figures}


def numeric_figures(
    weights: np.ndarray, predictions: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """Return R squared, root mean squared and mean absolute error, and both correlations.

    R squared is 1 - sum (y - p)^2 / sum (y - mean y)^2; of equal labels it is 1 if all are told
    exactly and 0 if not, as scikit-learn has it. Spearman's correlation is Pearson's of the
    ranks, equal numbers sharing the mean of theirs. A correlation with a constant is 0.

    Args:
        weights: (N,) how often each example counts.
        predictions: (N,).
        labels: (N,).
    """
    count, errors = weights.sum(), predictions - labels
    squares, centred = weights @ errors**2, labels - labels.mean()
    spread = weights @ centred**2 - (weights @ centred) ** 2 / count
    ranks = [_ranks(weights, values) for values in (predictions, labels)]
    return {
        "r2": float(1 - squares / spread) if spread > 0 else float(squares == 0),
        "rmse": float(np.sqrt(squares / count)),
        "mae": float(weights @ np.abs(errors) / count),
        "pearson": _correlation(weights, predictions, labels),
        "spearman": _correlation(weights, *ranks),
    }


def _correlation(weights: np.ndarray, some: np.ndarray, others: np.ndarray) -> float:
    """Return Pearson's correlation of (N,) with (N,), each example counted `weights` times."""
    one, other = (v - np.average(v, weights=weights) for v in (some, others))
    spread = np.sqrt((weights @ one**2) * (weights @ other**2))
    return float(weights @ (one * other) / spread) if spread > 0 else 0.0


def _ranks(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return (N,) the rank of each value among all, each counted `weights` times."""
    _, group = np.unique(values, return_inverse=True)
    size = np.bincount(group, weights)
    return (np.cumsum(size) - (size - 1) / 2)[group]


class Regression(evaluate.Metric):
    """What `numeric_figures` returns, of predicted numbers, computed without the Hub."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        column = datasets.Value("float64")
        return evaluate.MetricInfo(
            description="R squared, RMSE, MAE, Pearson's and Spearman's correlation.",
            citation="",
            inputs_description="predictions and references: numbers",
            features=datasets.Features({"predictions": column, "references": column}),
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        labels = np.asarray(references, np.float64)
        return numeric_figures(np.ones(len(labels)), np.asarray(predictions, np.float64), labels)


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
    draws: dict[str, list[float]] = {name: [] for name in values}
    for weights in chain.from_iterable(resamples(len(labels), RESAMPLES, seed)):
        for name, value in numeric_figures(weights.astype(np.float64), predictions, labels).items():
            draws[name].append(value)
    return {
        name: Measured(
            value=value,
            low=np.nanquantile(draws[name], 0.025),
            high=np.nanquantile(draws[name], 0.975),
            method=f"percentile bootstrap, {RESAMPLES} resamples",
        )
        for name, value in values.items()
    }
