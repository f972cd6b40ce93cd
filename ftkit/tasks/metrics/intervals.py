"""95 % intervals of shares: Wilson's at the number of independent examples that the rows are worth.

Rows of one group (positions that are rotations of each other, words of one text) stand and fall
together, and a mean over several seeds says more of a row than one seed does. Both change how much
a row is worth, and the effective number of examples says by how much (Korn and Graubard 1998).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, t

from ftkit.runs.result import Measured
from ftkit.tasks.metrics import Groups

Z = float(norm.ppf(0.975))
"""Quantile of the normal distribution for 95 % on two sides."""
BY_DELTA = "Wilson score at the effective n by the delta method"
"""The method of figures whose variance the delta method gives."""
NOTHING = "none: there is nothing to count"
"""The method where a figure has no interval but its whole scale."""


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


def measured_share(
    hits: np.ndarray, counts: np.ndarray | None = None, groups: Groups = None
) -> Measured:
    """Return sum(hits) / sum(counts) with Wilson's interval at the effective number of examples.

    Where nothing was counted the share is 0 and may be anything.

    Args:
        hits: (N,) of each row, at most `counts`.
        counts: (N,) of each row; 1 when not given.
    """
    total = len(hits) if counts is None else counts.sum()
    if not total:
        return Measured(value=0, low=0, high=1, method=NOTHING)
    share = float(np.sum(hits) / total)
    low, high = wilson(share, effective_n(hits, groups, counts))
    clustered = groups is not None or counts is not None
    name = "Wilson score at the effective n" if clustered else "Wilson score"
    return bounded(share, low, high, name, groups)


def bounded(value: float, low: float, high: float, method: str, groups: Groups = None) -> Measured:
    """Return a figure with an interval that is widened to hold it."""
    low, high = min(low, value), max(high, value)
    return Measured(value=value, low=low, high=high, method=method + said_of_groups(groups))


def said_of_groups(groups: Groups) -> str:
    """Return how a method's name says that groups of rows were taken together."""
    if groups is None:
        return ""
    count = len(np.unique(groups))
    return ", rows in one group" if count == 1 else f", rows in {count:,} groups"


def effective_n(
    values: np.ndarray, groups: Groups = None, counts: np.ndarray | None = None, seeds: int = 1
) -> float:
    """Return how many independent right or wrong answers the mean of these values is worth.

    It is p (1 - p) / Var(p) (Korn and Graubard 1998; Dean and Pagano 2015), with the variance of a
    ratio of sums that is robust to clusters (Cameron, Gelbach and Miller 2008), and Korn and
    Graubard's adjustment for few clusters, the square of a quotient of Student quantiles. It is the
    number of rows where each row is right or wrong by itself. Where all values are alike there is
    no variance to be seen, and each group, or row without groups, counts once. It is never above
    the number of answers of all seeds.

    Args:
        values: (N,) of each row, from 0 to 1; with `counts` its sum of so many values.
        counts: (N,) how many values each row holds, such as words of a text; 1 when not given.
        seeds: trainings of which values and counts are the mean.
    """
    values = np.asarray(values, np.float64)
    there = np.ones(len(values)) if counts is None else np.asarray(counts, np.float64)
    used = there > 0
    values, there = values[used], there[used]
    groups = None if groups is None else np.asarray(groups)[used]
    total, share = there.sum(), values.sum() / there.sum()
    off, inside = values - share * there, share * (1 - share)
    sums, sizes = cluster_sums(off, groups), cluster_sums(there, groups)
    if not (sums**2).sum() > 1e-12 * total:
        return float(len(sums))
    alone = total if counts is not None else inside * total**2 / (off**2).sum()
    alone = float(min(alone, seeds * total))
    if groups is None and counts is None:
        return alone
    seen = float((sums**2).sum() / (inside * total**2 / alone))
    return alone / widened(seen, sums, sizes, least=1.0 if counts is None else 1 / seeds)


def design_effect(slopes: np.ndarray, groups: Groups) -> float:
    """Return by how much groups widen the variance of a figure, at least 1.

    Args:
        slopes: (N,) of each row, the figure's derivative.
        groups: (N,), or None where every row is one of its own.
    """
    if groups is None or not (slopes**2).sum() > 0:
        return 1.0
    sums = cluster_sums(slopes, groups)
    seen = float((sums**2).sum() / (slopes**2).sum())
    return widened(seen, sums, cluster_sums(np.ones(len(slopes)), groups))


def widened(seen: float, sums: np.ndarray, sizes: np.ndarray, least: float = 1.0) -> float:
    """Return the design effect with one group more, whose rows are all alike.

    Where few groups are off, the effect that is seen is that of these few alone, and intervals are
    too short without the added group. All rows of a single group are worth one row.

    Args:
        seen: variance of the clusters over that of independent rows.
        sums: (G,) how far each group is off.
        sizes: (G,) rows of each.
        least: what it is at least; below 1 where several seeds answer each row.
    """
    if len(sums) < 2:
        return float(sizes.sum())
    alike = float((sizes**2).sum() / sizes.sum())
    if not (fourth := float((sums**4).sum())) > 0:
        return max(least, alike)
    off = float((sums**2).sum() ** 2 / fourth)  # groups that make up the variance
    effect = max(least, (off * seen + alike) / (off + 1))
    return effect / min(1.0, few_clusters(len(sums), max(sizes.sum(), len(sums))))


def few_clusters(clusters: int, rows: float) -> float:
    """Return by what an effective number is multiplied where its variance is that of few clusters.

    The variance of G clusters is G / (G - 1) times the mean square, and its root has a Student
    distribution with G - 1 degrees of freedom; both are set against those of the rows (Korn and
    Graubard 1998, section 3). It is 1 where each row is a cluster.

    Args:
        clusters: two or more.
    """
    spread = (clusters - 1) / clusters * rows / (rows - 1)
    return float(spread * (t.ppf(0.975, rows - 1) / t.ppf(0.975, clusters - 1)) ** 2)


def cluster_sums(values: np.ndarray, groups: Groups) -> np.ndarray:
    """Return (G, ...) the sum of the values (N, ...) of each group; the values without groups."""
    if groups is None:
        return values
    _, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((place.max() + 1, *values.shape[1:]))
    np.add.at(sums, place, values)
    return sums
