"""R squared and Pearson's correlation as functions of sums over rows.

What a resample, or an exchange of rows, makes of them then costs one product of matrices.
"""

from __future__ import annotations

import numpy as np

ROUNDED = 1e-12
"""Share that is taken for an error of rounding."""


def error_parts(labels: np.ndarray, predictions: np.ndarray, centre: float) -> np.ndarray:
    """Return (N, 4) whose sums `r2_of` reads.

    Args:
        centre: what is taken from the labels, near them: squares of large numbers cancel.
    """
    y = labels - centre
    return np.stack([(labels - predictions) ** 2, y * y, y, np.ones(len(y))], axis=1)


def product_parts(
    labels: np.ndarray, predictions: np.ndarray, centre: float, other: float
) -> np.ndarray:
    """Return (N, 6) whose sums `pearson_of` reads.

    Args:
        centre: what is taken from the labels.
        other: what is taken from the predictions.
    """
    y, p = labels - centre, predictions - other
    return np.stack([y * y, p * p, y * p, y, p, np.ones(len(y))], axis=1)


def r2_of(sums: np.ndarray) -> np.ndarray:
    """Return R squared (...) of sums (..., 4) of `error_parts`, of equal labels 0 or 1."""
    errors, squares, total, count = np.moveaxis(sums, -1, 0)
    spread = _spread(squares, total, count)
    exact = np.where(errors > 0, 0.0, 1.0)
    return np.where(spread > 0, 1 - errors / np.where(spread > 0, spread, 1), exact)


def pearson_of(sums: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation (...) of sums (..., 6) of `product_parts`, of a constant 0."""
    yy, pp, yp, y, p, count = np.moveaxis(sums, -1, 0)
    both = np.sqrt(_spread(yy, y, count) * _spread(pp, p, count))
    found = (yp - y * p / np.maximum(count, 1)) / np.where(both > 0, both, 1)
    found = np.where(np.abs(found) > 1 - ROUNDED, np.sign(found), found)
    return np.where(both > 0, found, 0.0)


def _spread(squares: np.ndarray, total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the sum of squared distances from the mean, 0 where it is one of rounding alone."""
    spread = squares - total**2 / np.maximum(count, 1)
    return np.where(spread > ROUNDED * squares, spread, 0.0)
