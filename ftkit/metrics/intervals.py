"""95 % intervals of shares: Wilson's at the number of independent examples that the rows are worth.

Rows of one group (positions that are rotations of each other, words of one text) stand and fall
together, and a mean over several seeds says more of a row than one seed does. Both change how much
a row is worth, and the effective number of examples says by how much (Korn and Graubard 1998).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, t

Z = float(norm.ppf(0.975))
"""Quantile of the normal distribution for 95 % on two sides."""


def wilson(share: float, n_effective: float) -> tuple[float, float]:
    """Return the ends of the 95 % score interval of a share (Wilson 1927).

    Args:
        share: from 0 to 1.
        n_effective: independent examples that the share is worth; need not be a whole number.
    """
    squared = Z * Z / n_effective
    centre = (share + squared / 2) / (1 + squared)
    variance = max(share * (1 - share), 0.0) / n_effective
    half = Z * np.sqrt(variance + squared / (4 * n_effective)) / (1 + squared)
    return float(max(0.0, min(centre - half, share))), float(min(1.0, max(centre + half, share)))


def effective_n(
    values: np.ndarray, groups: np.ndarray | None = None, counts: np.ndarray | None = None
) -> float:
    """Return how many independent right or wrong answers the mean of these values is worth.

    It is p (1 - p) / Var(p) (Korn and Graubard 1998; Dean and Pagano 2015), with the variance of a
    ratio of sums that is robust to clusters (Cameron, Gelbach and Miller 2008), and Korn and
    Graubard's adjustment for few clusters, the square of a quotient of Student quantiles. It is the
    number of rows where each row is right or wrong by itself. Where all values are alike there is
    no variance to be seen, and each group, or row without groups, counts once.

    Args:
        values: (N,) of each row, from 0 to 1; with `counts` its sum of so many values.
        groups: (N,) number of each row's group; None where every row is one of its own.
        counts: (N,) how many values each row holds, such as words of a text; 1 when not given.
    """
    values = np.asarray(values, np.float64)
    there = np.ones(len(values)) if counts is None else np.asarray(counts, np.float64)
    used = there > 0
    values, there = values[used], there[used]
    total, share = there.sum(), values.sum() / there.sum()
    off = values - share * there
    rows = cluster_sums(off, None if groups is None else np.asarray(groups)[used])
    if not (rows**2).sum() > 1e-12 * total:
        return float(len(rows))
    alone = share * (1 - share) * total**2 / (off**2).sum()
    whole = alone if counts is None else total
    clusters = share * (1 - share) * total**2 / (rows**2).sum()
    clusters *= few_clusters(len(rows), max(total, len(rows)))
    return float(alone if groups is None and counts is None else min(whole, clusters))


def few_clusters(clusters: int, rows: float) -> float:
    """Return by what an effective number is multiplied where its variance is that of few clusters.

    The variance of G clusters is G / (G - 1) times the mean square, and its root has a Student
    distribution with G - 1 degrees of freedom; both are set against those of the rows (Korn and
    Graubard 1998, section 3). It is 1 where each row is a cluster.
    """
    if clusters < 2:
        return 1 / rows
    spread = (clusters - 1) / clusters * rows / (rows - 1)
    return float(spread * (t.ppf(0.975, rows - 1) / t.ppf(0.975, clusters - 1)) ** 2)


def cluster_sums(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return (G, ...) the sum of the values (N, ...) of each group; the values without groups."""
    if groups is None:
        return values
    _, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((place.max() + 1, *values.shape[1:]))
    np.add.at(sums, place, values)
    return sums
