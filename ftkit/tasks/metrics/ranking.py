"""AUROC: how well scores put the examples of a class before all others, with a 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass

import datasets
import numpy as np
from scipy.stats import t

from ftkit.runs.result import Measured
from ftkit.tasks.metrics import Groups, LocalMetric
from ftkit.tasks.metrics.intervals import Z, bounded, design_effect, wilson

FEW = 4
"""So many rows out of order weigh as much as the variance of the exponential model."""


class Auroc(LocalMetric):
    """The mean over classes of the area under the ROC curve, one class against the rest.

    It is NaN where no class has examples and others.
    """

    column = datasets.Sequence(datasets.Value("float64"))

    def _compute(
        self, predictions: list[list[float]], references: list[list[float]]
    ) -> dict[str, float]:
        scores, truth = np.asarray(predictions), np.asarray(references) > 0
        areas = [curve.area for curve in curves(truth, scores)]
        return {"auroc": float(np.mean(areas)) if areas else float("nan")}


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean area over the classes that have examples and others, NaN without any.

    Args:
        truth: (N, C) whether an example is of a class.
        scores: (N, C), higher where it is thought to be.
    """
    truth, scores = second_of_two(truth, scores)
    return Auroc().score(predictions=scores, references=truth.astype(np.float64))["auroc"]


def measure_auroc(
    truth: np.ndarray, scores: np.ndarray, groups: Groups = None
) -> dict[str, Measured]:
    """Return the area with Wilson's interval at the effective n by DeLong's variance.

    The variance is that of the placements (DeLong, DeLong and Clarke-Pearson 1988), which sees
    nothing where no row is out of order. There the exponential model's (Hanley and McNeil 1982), at
    an area with two rows right and two wrong added, takes its place, as in Newcombe's method 5
    (2006); in between the model counts as much as `FEW` rows out of order. Student's quantile has
    Satterthwaite's degrees of freedom of both kinds of rows (Brunner and Munzel 2000). Groups widen
    it by their design effect (Obuchowski 1997).
    scripts/simulate_intervals.py measures how often it holds the truth.

    Empty where no class has examples and others: there is nothing to measure.

    Args:
        truth: (N, C) whether an example is of a class.
        scores: (N, C).
    """
    truth, scores = second_of_two(truth, scores)
    found = curves(truth, scores)
    if not found:
        return {}
    value = float(np.mean([curve.area for curve in found]))
    slopes, out_of_order = np.zeros(len(truth)), 0
    for curve in found:
        slopes[curve.rows] += (curve.placements - curve.area) / curve.sizes / len(found)
        out_of_order += int((curve.placements < 1).sum())
    few = float(np.mean([curve.few for curve in found]))
    middle = (value * few + 2) / (few + 4)
    model, degrees = modelled(found, middle)
    ratio = 1.0
    if (seen := float((slopes**2).sum())) > 0:
        share = out_of_order / (out_of_order + FEW)
        against = seen / modelled(found, value)[0]
        ratio = max(against, share * against + 1 - share)
    n = middle * (1 - middle) / (model * ratio) * (Z / t.ppf(0.975, degrees)) ** 2
    if seen > 0:
        n /= design_effect(slopes, groups)
    elif groups is not None:
        n *= len(np.unique(groups)) / len(groups)
    low, high = wilson(value, n)
    method = "Wilson score at the effective n by DeLong's variance"
    return {"auroc": bounded(value, low, high, method, groups)}


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return (N, C) bool: which class each example is of."""
    return labels[:, None] == np.arange(classes)


def second_of_two(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the second class alone where there are two and each is the other's opposite."""
    opposite = truth.shape[1] == 2 and bool((truth.sum(1) == 1).all())
    return (truth[:, 1:], scores[:, 1:]) if opposite else (truth, scores)


@dataclass(frozen=True)
class Curve:
    """The ROC curve of one class against the rest."""

    area: float
    """The share of pairs, one row of the class and one of another, in which the first has the
    higher score; a tie is half a pair (Mann and Whitney 1947)."""
    rows: np.ndarray
    """(M,) rows in it: those of the class, then the others."""
    placements: np.ndarray
    """(M,) of each, the share of rows of the other kind that it stands on the right side of."""
    sizes: np.ndarray
    """(M,) how many rows of its own kind there are."""

    @property
    def few(self) -> int:
        """Rows of the scarcer kind."""
        return int(self.sizes.min())


def curves(truth: np.ndarray, scores: np.ndarray) -> list[Curve]:
    """Return the curve of each class; classes without both kinds of rows are left out.

    Args:
        truth: (N, C).
        scores: (N, C).
    """
    found = []
    for positive, score in zip(truth.T, scores.T, strict=True):
        own, others = np.flatnonzero(positive), np.flatnonzero(~positive)
        if not len(own) or not len(others):
            continue
        above = _below(score[own], np.sort(score[others]))
        under = 1 - _below(score[others], np.sort(score[own]))
        sizes = np.repeat([len(own), len(others)], [len(own), len(others)])
        placed = np.concatenate([above, under])
        found.append(Curve(float(above.mean()), np.concatenate([own, others]), placed, sizes))
    return found


def _below(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return (N,) the share of the sorted numbers `among` below each score, equal ones half."""
    ends = [np.searchsorted(among, scores, side) for side in ("left", "right")]
    return (ends[0] + ends[1]) / (2 * len(among))


def modelled(found: list[Curve], area: float) -> tuple[float, float]:
    """Return the variance of the mean of these areas by the exponential model, and its freedom.

    Hanley and McNeil (1982). The curves' errors are taken to be fully correlated, which is the
    most that they can be.

    Args:
        area: that all of them are taken to have.
    """
    squared = area**2
    own, other = area / (2 - area) - squared, 2 * squared / (1 + area) - squared
    deviations, parts = 0.0, []
    for curve in found:
        positives, negatives = curve.sizes[0], curve.sizes[-1]
        both = area * (1 - area) - own - other
        parts += [(own / positives, positives - 1), (other / negatives, negatives - 1)]
        deviations += np.sqrt(own / positives + other / negatives + both / (positives * negatives))
    variance = max(float(deviations / len(found)) ** 2, 1e-300)
    total = sum(part for part, _ in parts)
    freedom = sum(part**2 / max(degrees, 1) for part, degrees in parts)
    return variance, float(total**2 / freedom) if freedom > 0 else 1.0
