"""Figures of predicted numbers, with 95 % intervals."""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from ftkit.metrics import RESAMPLES, measure, score
from ftkit.recipe import TabularRegression
from ftkit.result import Measured


@score.register
def _(task: TabularRegression, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    """Of outputs (N, 1) and numbers (N,)."""
    found = Regression().compute(predictions=outputs.ravel(), references=labels)
    assert found is not None
    return {"loss": float(found["rmse"]) ** 2, **found}


@measure.register
def _(
    task: TabularRegression, labels: np.ndarray, outputs: np.ndarray, seed: int = 0
) -> dict[str, Measured]:
    return measure_numbers(labels, outputs.ravel(), seed)


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
