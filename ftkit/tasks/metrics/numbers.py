"""Figures of predicted numbers, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice

import datasets
import numpy as np
from scipy.stats import t

from ftkit.runs.result import Measured
from ftkit.tasks.metrics import RESAMPLES, Groups, LocalMetric, resamples
from ftkit.tasks.metrics.intervals import Z, bounded
from ftkit.tasks.metrics.moments import ROUNDED, error_parts, pearson_of, product_parts, r2_of
from ftkit.tasks.metrics.studentized import FEWEST, f_ends, gamma_ends, studentized


def score_numbers(labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    """Return the loss and all figures of outputs (N, 1) and numbers (N,)."""
    found = Regression().score(predictions=outputs.ravel(), references=labels)
    return {"loss": float(found["rmse"]) ** 2, **found}


def numeric_figures(
    weights: np.ndarray, predictions: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """Return R squared, root mean squared and mean absolute error, and both correlations.

    R squared is 1 - sum (y - p)^2 / sum (y - mean y)^2; of equal labels it is 1 if all are
    predicted exactly and 0 if not, as scikit-learn has it. Spearman's correlation is Pearson's of
    the ranks, equal numbers sharing the mean of theirs. A correlation with a constant is 0, and one
    that differs from 1 or -1 by rounding alone is 1 or -1.

    Args:
        weights: (N,) how often each example counts.
        predictions: (N,).
        labels: (N,).
    """
    count, errors = weights.sum(), predictions - labels
    parts = error_parts(labels, predictions, labels.mean())
    ranks = [_ranks(weights, values) for values in (predictions, labels)]
    return {
        "r2": float(r2_of(weights @ parts)),
        "rmse": float(np.sqrt(weights @ errors**2 / count)),
        "mae": float(weights @ np.abs(errors) / count),
        "pearson": _correlation(weights, predictions, labels),
        "spearman": _correlation(weights, *ranks),
    }


def _correlation(weights: np.ndarray, some: np.ndarray, others: np.ndarray) -> float:
    """Return Pearson's correlation of (N,) with (N,), each example counted `weights` times."""
    means = (np.average(v, weights=weights) for v in (some, others))
    return float(pearson_of(weights @ product_parts(some, others, *means)))


def _ranks(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return (N,) the rank of each value among all, each counted `weights` times."""
    _, group = np.unique(values, return_inverse=True)
    size = np.bincount(group, weights)
    return (np.cumsum(size) - (size - 1) / 2)[group]


class Regression(LocalMetric):
    """R squared, RMSE, MAE, Pearson's and Spearman's correlation, see `numeric_figures`."""

    column = datasets.Value("float64")

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        labels = np.asarray(references, np.float64)
        return numeric_figures(np.ones(len(labels)), np.asarray(predictions, np.float64), labels)


def measure_numbers(
    labels: np.ndarray, predictions: np.ndarray, seed: int = 0, groups: Groups = None
) -> dict[str, Measured]:
    """Return the figures of predicted numbers with their intervals; see `interval_of`.

    Args:
        labels: (N,) true numbers.
        predictions: (N,) predicted numbers.
        seed: of the bootstrap.
    """
    labels, predictions = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    values = Regression().score(predictions=predictions, references=labels)
    errors = error_parts(labels, predictions, labels.mean())
    products = product_parts(labels, predictions, labels.mean(), predictions.mean())
    of = {
        "r2": (errors, r2_of),
        "rmse": (errors, _rmse_of),
        "mae": (np.stack([np.abs(labels - predictions), np.ones(len(labels))], 1), _mean_of),
        "pearson": (products, pearson_of),
    }
    measured = {}
    for name, (parts, figure) in of.items():
        found = interval_of(name, values[name], parts[:, None], figure, seed, groups)
        measured[name] = found or _exact(name, labels, groups)
    measured["spearman"] = _spearman(values["spearman"], labels, predictions, seed, groups)
    return {name: measured[name] for name in values}


def interval_of(
    name: str,
    value: float,
    parts: np.ndarray,
    figure: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    groups: Groups = None,
) -> Measured | None:
    """Return a figure of numbers, or its mean over seeds, with a 95 % interval.

    It is a bootstrap-t interval on a scale without bounds. Where there are too few rows for it, or
    they have no variance, errors are taken to be normal: squared ones then have a chi-squared
    distribution, and what R squared leaves, a quotient of two variances, has Fisher's F.
    Correlations have Fisher's z then, whose standard deviation is 1 / sqrt(N - 3).

    None where an error is 0, whose interval depends on how large the numbers are.

    Args:
        name: r2, rmse, mae or pearson.
        value: of the figure.
        parts: (N, S, K) what S seeds made of N rows.
        figure: from sums of parts (..., K) to the figure of a seed (...).
        seed: of the bootstrap.
    """
    N, S, K = parts.shape
    to, back = SCALES[name]
    count = N if groups is None else len(np.unique(groups))

    def scaled(sums: np.ndarray) -> np.ndarray:
        return to(figure(sums.reshape(-1, S, K)).mean(1))

    beside = {"r2": 1 - value, "pearson": 1 - abs(value)}
    perfect = beside.get(name, value) <= (ROUNDED if name in beside else 0)
    middle = 0.0 if perfect else float(to(np.array(value)))
    found = None if perfect else studentized(parts.reshape(N, S * K), scaled, seed, groups)
    method = f"bootstrap-t, {RESAMPLES} resamples"
    if found is not None:
        widest = gamma_ends(1)[1]  # a single squared normal error
        found = max(found[0], middle - widest), min(found[1], middle + widest)
    elif perfect and name in ("rmse", "mae"):
        return None
    elif perfect and (name == "r2" or count >= 4):
        return bounded(value, *_perfect(name, value, count), EXACT, groups)
    elif name == "pearson":
        return _by_fisher(value, count, 1.0, groups)
    elif name == "r2" and value == 0:
        return bounded(value, 0.0, 1.0, "none: all labels are alike", groups)
    else:
        below, above = ASSUMED[name](count)
        found, method = (middle + below, middle + above), NORMAL
    low, high = sorted(float(back(np.array(end))) for end in found)
    return bounded(value, low, high, method, groups)


def _part(count: int) -> float:
    """Return the upper end of Wilson's interval of a share of which none of so many rows is."""
    return Z**2 / (count + Z**2)


def _perfect(name: str, value: float, count: int) -> tuple[float, float]:
    """Return the ends of R squared, or a correlation, of 1 or -1.

    As Wilson's interval of a share, it takes a part of the rows to be predicted no better than by
    the mean.
    """
    if name == "r2":
        return 1 - _part(count), 1.0
    end = float(np.sqrt(1 - _part(count)))
    return (end, 1.0) if value > 0 else (-1.0, -end)


def _exact(name: str, labels: np.ndarray, groups: Groups) -> Measured:
    """Return an error of 0, as `_perfect` does; equal labels are set against 0, not their mean."""
    part = _part(len(labels) if groups is None else len(np.unique(groups)))
    alike = np.ptp(labels) == 0
    off = labels if alike else labels - labels.mean()
    size = np.abs(off).mean() if name == "mae" else np.sqrt((off**2).mean())
    high = float((size or 1.0) * (part if name == "mae" else np.sqrt(part)))
    return bounded(0.0, 0.0, high, EXACT, groups)


def _by_fisher(value: float, count: int, factor: float, groups: Groups) -> Measured:
    """Return a correlation with the interval of normal numbers (Fisher 1921).

    Args:
        count: rows, or groups of them.
        factor: 1 of Pearson's, 1.06 of Spearman's (Fieller, Hartley and Pearson 1957).
    """
    if count < 4 or value == 0:
        return bounded(value, -1.0, 1.0, "none: the rows are too few or all alike", groups)
    middle, reach = np.arctanh(value), Z * np.sqrt(factor / (count - 3))
    low, high = (float(np.tanh(middle + side * reach)) for side in (-1, 1))
    return bounded(value, low, high, "Fisher's z of normal numbers", groups)


def _spearman(
    value: float, labels: np.ndarray, predictions: np.ndarray, seed: int, groups: Groups
) -> Measured:
    """Return Spearman's correlation with Fisher's z and the bootstrap's standard deviation."""
    rows = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(rows.max()) + 1
    if abs(value) == 1 and count >= 4:
        return bounded(value, *_perfect("spearman", value, count), EXACT, groups)
    if count < FEWEST:
        return _by_fisher(value, count, 1.06, groups)
    each = []
    for drawn in islice(chain.from_iterable(resamples(count, RESAMPLES, seed)), SPEARMAN):
        weights = drawn[rows].astype(np.float64)
        each.append(_correlation(weights, *(_ranks(weights, v) for v in (predictions, labels))))
    drawn_z = np.arctanh(np.clip(each, -1 + ROUNDED, 1 - ROUNDED))
    reach = float(drawn_z.std() * t.ppf(0.975, count - 1))
    if not reach > 0:
        return _by_fisher(value, count, 1.06, groups)
    low, high = (float(np.tanh(np.arctanh(value) + side * reach)) for side in (-1, 1))
    return bounded(value, low, high, "Fisher's z, standard deviation of the bootstrap", groups)


def _rmse_of(sums: np.ndarray) -> np.ndarray:
    return np.sqrt(sums[..., 0] / sums[..., 3])


def _mean_of(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


SPEARMAN = 1000
"""A standard deviation needs so many resamples; percentiles need more."""
EXACT = "as Wilson's of a share, all rows being predicted exactly"
NORMAL = "chi squared or F of normal errors, the rows being few or all alike"
HALF_NORMAL = 3.5
"""Degrees of freedom of a row's absolute error: the squared mean of the half-normal distribution is
1.75 times its variance, and that of chi squared half its degrees of freedom."""
ASSUMED: dict[str, Callable[[int], tuple[float, float]]] = {
    "r2": lambda count: f_ends(count, max(count - 1, 1)),
    "rmse": gamma_ends,
    "mae": lambda count: gamma_ends(HALF_NORMAL * count),
}
"""How far the ends lie from the figure on its scale, where errors of so many rows are normal."""
Scale = Callable[[np.ndarray], np.ndarray]
SCALES: dict[str, tuple[Scale, Scale]] = {
    "r2": (lambda v: np.log(1 - v), lambda z: 1 - np.exp(z)),
    "rmse": (lambda v: 2 * np.log(v), lambda z: np.exp(z / 2)),
    "mae": (np.log, np.exp),
    "pearson": (np.arctanh, np.tanh),
}
"""For each figure a scale without bounds, and the way back."""
