"""Figures of predicted numbers, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy.stats import t

from ftkit.metrics import RESAMPLES, measure, resamples, score
from ftkit.metrics.intervals import Z, of_groups
from ftkit.metrics.studentized import Figure, studentized
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
def _(
    task: Any,
    labels: np.ndarray,
    outputs: np.ndarray,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> dict[str, Measured]:
    found = measure_numbers(labels, outputs.ravel(), seed, groups)
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
    labels: np.ndarray, predictions: np.ndarray, seed: int = 0, groups: np.ndarray | None = None
) -> dict[str, Measured]:
    """Return the figures of predicted numbers, with bootstrap-t intervals on scales without bounds.

    Errors are on the scale of their logarithm, R squared on that of 1 - R squared, and correlations
    on Fisher's z. Spearman's takes Student's quantile of the bootstrap's standard deviation there.

    Args:
        labels: (N,) true numbers.
        predictions: (N,) predicted numbers.
        seed: of the bootstrap.
        groups: (N,) number of each row's group; None where every row is one of its own.
    """
    labels, predictions = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    values = Regression().compute(predictions=predictions, references=labels)
    assert values is not None
    count = len(labels) if groups is None else len(np.unique(groups))
    measured = {}
    for name, (scale, back, parts, figure) in SCALES.items():
        found = None
        if name == "spearman":
            found = _normal(labels, predictions, seed, groups)
        elif np.isfinite(scale(values[name])):
            found = studentized(parts(labels, predictions), figure, seed, groups)
        method = f"bootstrap-t, {RESAMPLES} resamples"
        if name == "spearman":
            method = "Fisher's z, standard deviation of the bootstrap"
        if found is not None:
            low, high = sorted(map(back, found))
        else:
            low, high = _unmoved(name, values[name], labels, count)
            method = "as Wilson's of a share, all rows being alike"
            if abs(values[name]) != 1 and name in ("pearson", "spearman"):
                method = "none: the rows are too few or all alike"
        low, high = min(low, values[name]), max(high, values[name])
        method += of_groups(groups)
        measured[name] = Measured(value=values[name], low=low, high=high, method=method)
    return {name: measured[name] for name in values}


def _unmoved(name: str, value: float, labels: np.ndarray, count: int) -> tuple[float, float]:
    """Return the ends where no resample differs: all is told exactly, or there are too few rows.

    As Wilson's interval of a share that is 1, it takes a part z^2 / (N + z^2) of the rows to be
    told no better than by the mean.
    """
    part = Z**2 / (count + Z**2)
    spread = float(labels.std())
    ends = {
        "r2": (min(value, 1 - part), 1.0),
        "rmse": (0.0, float(np.hypot(value, spread * np.sqrt(part)))),
        "mae": (0.0, value + float(np.abs(labels - labels.mean()).mean()) * part),
    }
    if name in ends:
        return ends[name]
    if abs(value) == 1:
        return (np.sqrt(1 - part), 1.0) if value > 0 else (-1.0, -np.sqrt(1 - part))
    return -1.0, 1.0


def _normal(
    labels: np.ndarray, predictions: np.ndarray, seed: int, groups: np.ndarray | None
) -> tuple[float, float] | None:
    """Return the ends of Fisher's z of Spearman's correlation."""
    rows = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count, each = int(rows.max()) + 1, []
    if count < 4:
        return None
    for drawn in islice(chain.from_iterable(resamples(count, RESAMPLES, seed)), SPEARMAN):
        weights = drawn[rows].astype(np.float64)
        each.append(_correlation(weights, *(_ranks(weights, v) for v in (predictions, labels))))
    once = np.ones(len(labels))
    value = _correlation(once, *(_ranks(once, v) for v in (predictions, labels)))
    with np.errstate(divide="ignore"):
        z, drawn_z = np.arctanh(value), np.arctanh(np.clip(each, -1 + 1e-9, 1 - 1e-9))
    reach = float(drawn_z.std() * t.ppf(0.975, count - 1))
    return (z - reach, z + reach) if np.isfinite(z) and reach > 0 else None


SPEARMAN = 1000
"""Resamples for a standard deviation; percentiles need more."""
Parts = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From labels and predictions (N,) to what is summed, (N, K)."""


def _error_parts(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    centred, off = labels - labels.mean(), labels - predictions
    return np.stack([off**2, centred**2, centred, np.ones(len(labels)), np.abs(off)], axis=1)


def _product_parts(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    y, p = labels - labels.mean(), predictions - predictions.mean()
    return np.stack([y * y, p * p, y * p, y, p, np.ones(len(y))], axis=1)


def _unexplained(sums: np.ndarray) -> np.ndarray:
    off, squares, centred, count, _ = sums.T
    return np.log(off) - np.log(squares - centred**2 / count)


def _log_mean(column: int) -> Figure:
    return lambda sums: np.log(sums[:, column]) - np.log(sums[:, 3])


def _fisher(sums: np.ndarray) -> np.ndarray:
    yy, pp, yp, y, p, count = sums.T
    spread = (yy - y**2 / count) * (pp - p**2 / count)
    return np.arctanh((yp - y * p / count) / np.sqrt(spread))


def _quiet(scale: Callable[[float], float]) -> Callable[[float], float]:
    def found(value: float) -> float:
        with np.errstate(all="ignore"):
            return float(scale(value))

    return found


SCALES: dict[str, tuple[Callable[[float], float], Callable[[float], float], Parts, Figure]] = {
    "r2": (_quiet(lambda v: np.log(1 - v)), lambda z: 1 - np.exp(z), _error_parts, _unexplained),
    "rmse": (_quiet(lambda v: 2 * np.log(v)), lambda z: np.exp(z / 2), _error_parts, _log_mean(0)),
    "mae": (_quiet(np.log), np.exp, _error_parts, _log_mean(4)),
    "pearson": (_quiet(np.arctanh), np.tanh, _product_parts, _fisher),
    "spearman": (_quiet(np.arctanh), np.tanh, _product_parts, _fisher),
}
"""Of each figure its scale, the way back, what is summed over rows, and the figure of the sums."""
