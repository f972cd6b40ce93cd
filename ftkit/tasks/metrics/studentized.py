"""The bootstrap-t: 95 % intervals of figures that have no bounds, such as errors and R squared.

Each resample's distance from the figure is divided by its own standard error (Efron and Tibshirani
1993, section 12.5), which follows skewed rows better than percentiles do. The figure is a function
of sums over groups of rows, and so is its standard error, by the delta method.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import chi2, f, t

from ftkit.tasks.metrics import RESAMPLES, Groups, resamples
from ftkit.tasks.metrics.intervals import cluster_sums

Figure = Callable[[np.ndarray], np.ndarray]
"""From sums (B, K) to a figure (B,) that stays the same where all sums are doubled."""
ROUNDING = 1e-9
"""A standard error below that, next to the figure, is one of rounding: the groups are all alike."""
STEP = 1e-5
"""The step of the numeric derivative, as a share of each sum's size."""
FEWEST = 10
"""Groups that the bootstrap-t needs; with fewer an interval rests on an assumed distribution."""
LEAST = 0.03
"""Share of the figure's standard error that a resample's own has to reach: one of rows that are
nearly alike has next to none, and its distance, divided by it, says nothing."""
MOST = 3.0
"""The jackknife's standard error counts as at most so many times that of the delta method: it has
no bound where all rows but one are predicted exactly."""


def studentized(
    parts: np.ndarray, figure: Figure, seed: int = 0, groups: Groups = None
) -> tuple[float, float] | None:
    """Return the ends of the figure's 95 % interval; None of few groups, or without a variance.

    It is the wider at each end of the bootstrap-t with equal tails and the one that is symmetric
    (Hall 1988), with the jackknife's standard error of the figure, because each of them alone is
    short on small skewed data.

    Args:
        parts: (N, K) what is summed over rows, one of them how many each row counts.
        seed: of the resamples.
    """
    parts = cluster_sums(np.asarray(parts, np.float64), groups)
    G = len(parts)
    if G < FEWEST:
        return None
    scale = np.abs(parts).mean(0) + 1e-300
    with np.errstate(all="ignore"):
        value = float(figure(parts.sum(0)[None])[0])
        without = figure(parts.sum(0) - parts)
        without = without[np.isfinite(without)]
        error = np.sqrt((G - 1) * without.var()) if len(without) else 0.0
        slope = _slopes(figure, parts.sum(0)[None], scale * G)[0]
        error = min(error, MOST * np.sqrt(np.sum((parts @ slope) ** 2) * G / (G - 1)))
        if not np.isfinite(value) or not error > ROUNDING * max(1.0, abs(value)):
            return None
        distances = []
        for weights in resamples(G, RESAMPLES, seed):
            sums = weights @ parts
            moves = _slopes(figure, sums, scale * G) @ parts.T
            variance = (weights * moves**2).sum(1) * G / (G - 1)
            some = variance > (LEAST * error) ** 2
            distances.append((figure(sums) - value)[some] / np.sqrt(variance[some]))
    found = np.concatenate(distances)
    found = found[np.isfinite(found)]
    if len(found) < RESAMPLES / 2:
        reach = float(t.ppf(0.975, G - 1) * error)
        return value - reach, value + reach
    lowest, highest = np.quantile(found, [0.025, 0.975])
    either = np.quantile(np.abs(found), 0.95)
    return value - max(highest, either) * error, value + max(-lowest, either) * error


def gamma_ends(freedom: float) -> tuple[float, float]:
    """Return how far below and above its logarithm the true mean lies, at 95 %.

    The mean of what has a gamma distribution, such as squared normal numbers, times its degrees of
    freedom over the truth, has a chi-squared distribution.
    """
    most, least = chi2.ppf([0.975, 0.025], freedom)
    return float(np.log(freedom / most)), float(np.log(freedom / least))


def f_ends(freedom: float, other: float) -> tuple[float, float]:
    """Return the same of the ratio of two such means, which has Fisher's F distribution."""
    most, least = f.ppf([0.975, 0.025], freedom, other)
    return float(-np.log(most)), float(-np.log(least))


def _slopes(figure: Figure, sums: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return (B, K) the figure's derivative by each sum, by central differences."""
    found = []
    for column, size in enumerate(scale * STEP):
        step = np.zeros(len(scale))
        step[column] = size
        found.append((figure(sums + step) - figure(sums - step)) / (2 * size))
    return np.stack(found, axis=1)
