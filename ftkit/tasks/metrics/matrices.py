"""95 % intervals of figures of a confusion matrix: Wilson's at the effective number of examples.

A figure is a function of the shares P (C, C) of the matrix's cells, whose variance the delta method
gives: that of the figure's derivatives over the rows. With few rows of a class it fails, because a
class without an error seems to have no variance. So the variance is that of a smoothed matrix, in
which each class has one error more at the rate of all classes, or four rows more if that is more.
scripts/simulate_intervals.py measures how often the intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import t

from ftkit.tasks.metrics import Groups
from ftkit.tasks.metrics.intervals import Z, design_effect, measured_share, wilson

Derivatives = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""From shares (C, C) to a figure on a scale from 0 to 1, and its derivative by each cell."""
LEAST = 4
"""Rows added to each class, as Agresti and Coull (1998) add to a share: two right, two wrong."""


def matrix_interval(
    value: float,
    name: str,
    counts: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    groups: Groups = None,
) -> tuple[float, float]:
    """Return the ends of the figure's 95 % interval.

    Student's quantile is that of the rows and of those added to one class.

    Args:
        value: of the figure.
        name: one of `FIGURES`.
        counts: (C, C) rows by true class (first axis) and predicted class.
        labels: (N,) place of each row's true class in the matrix.
        predictions: (N,) place of the predicted one.
    """
    N = len(labels)
    derive, lowest = FIGURES[name]
    if (counts.sum(1) > 0).sum() == 1:
        return _of_one_class(name, counts, labels == predictions, groups)
    shares = smoothed(counts)
    middle, slopes = derive(shares)
    slopes = slopes - (shares * slopes).sum()
    variance = float((shares * slopes**2).sum()) / N
    n = middle * (1 - middle) / variance
    n *= (Z / t.ppf(0.975, N - 1 + LEAST)) ** 2
    n /= design_effect(slopes[labels, predictions], groups)
    width = 1 - lowest
    low, high = wilson((value - lowest) / width, n)
    return lowest + width * low, lowest + width * high


def _of_one_class(
    name: str, counts: np.ndarray, right: np.ndarray, groups: Groups
) -> tuple[float, float]:
    """Return the ends where all rows are of one class, of which a share is predicted right.

    Balanced accuracy is that share r then; F1 of the class is 2 r / (1 + r) and that of the others
    that are predicted 0; and nothing says how well this class is told from others, which Matthews
    correlation is about.
    """
    if name == "matthews":
        return -1.0, 1.0
    share = measured_share(right.astype(float), groups=groups)
    if name == "balanced_accuracy":
        return share.low, share.high
    matters = int((counts.sum(0) + counts.sum(1) > 0).sum())
    low, high = (2 * r / (1 + r) / matters for r in (share.low, share.high))
    return low, high


def smoothed(counts: np.ndarray) -> np.ndarray:
    """Return (C, C) the shares of the cells, the classes' shares as they are, errors smoothed.

    The rate of errors of all classes is (wrong + 2) / (N + 4); a row that is added to a class is
    wrong at that rate, and then of another class as often as that occurs. One added error at the
    rate e takes 1 / e rows. Two classes or more have to occur.
    """
    N, C, true = counts.sum(), len(counts), counts.sum(1)
    right = (counts.trace() + 2) / (N + 4)
    others = true * (1 - np.eye(C))
    others = others / others.sum(1, keepdims=True)
    added = right * np.eye(C) + (1 - right) * others
    rows = max(LEAST, 1 / (1 - right))
    return (counts + rows * added) / (true[:, None] + rows) * (true / N)[:, None]


def _balanced(shares: np.ndarray) -> tuple[float, np.ndarray]:
    true, hits = shares.sum(1), shares.diagonal()
    occurs = true > 0
    recall = np.divide(hits, true, out=np.zeros(len(true)), where=occurs)
    weight = np.divide(1, true, out=np.zeros(len(true)), where=occurs) / occurs.sum()
    return float(recall[occurs].mean()), (np.eye(len(true)) - recall[:, None]) * weight[:, None]


def _macro_f1(shares: np.ndarray) -> tuple[float, np.ndarray]:
    both = shares.sum(1) + shares.sum(0)
    matters = both > 0
    each = np.divide(1, both, out=np.zeros(len(both)), where=matters)
    f1 = 2 * shares.diagonal() * each
    slopes = 2 * np.diag(each) - (f1 * each)[:, None] - (f1 * each)[None, :]
    return float(f1[matters].mean()), slopes / matters.sum()


def _matthews(shares: np.ndarray) -> tuple[float, np.ndarray]:
    """Of (1 + correlation) / 2, which is accuracy where both margins are even."""
    true, told = shares.sum(1), shares.sum(0)
    spread, other = 1 - true @ true, 1 - told @ told
    if min(spread, other) < 1e-12:
        return 0.5, np.zeros(shares.shape)
    scale = np.sqrt(spread * other)
    value = (shares.trace() - true @ told) / scale
    slopes = (np.eye(len(true)) - told[:, None] - true[None, :]) / scale
    slopes += value * (true[:, None] / spread + told[None, :] / other)
    return float(1 + value) / 2, slopes / 2


FIGURES: dict[str, tuple[Derivatives, float]] = {
    "balanced_accuracy": (_balanced, 0.0),
    "macro_f1": (_macro_f1, 0.0),
    "matthews": (_matthews, -1.0),
}
"""The figure by its derivatives, and its least value."""
