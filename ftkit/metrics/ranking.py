"""AUROC: how well scores put the examples of a class before all others, with a 95 % interval."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
import evaluate
import numpy as np

from ftkit.metrics import RESAMPLES, resamples
from ftkit.result import Measured

WORK = 2 * 10**8
"""Resamples times examples times classes; beyond it there are fewer resamples, 200 at least."""


class Auroc(evaluate.Metric):
    """Mean over classes of the area under the ROC curve, one class against the rest, without the
    Hub; NaN where no class has examples and others."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        row = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description="Area under the ROC curve, the mean over classes.",
            citation="",
            inputs_description="predictions: scores (N, C); references: 1 of each class of a row",
            features=datasets.Features({"predictions": row, "references": row}),
        )

    def _compute(
        self, predictions: list[list[float]], references: list[list[float]]
    ) -> dict[str, float]:
        scores, truth = np.asarray(predictions), np.asarray(references) > 0
        areas = list(class_areas(truth, scores, np.ones((1, len(truth)), np.float32)))
        return {"auroc": float(np.mean(areas)) if areas else float("nan")}


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean area over the classes that have examples and others, NaN without any.

    Args:
        truth: (N, C) whether an example is of a class.
        scores: (N, C), higher where it is thought to be.
    """
    truth, scores = of_two(truth, scores)
    found = Auroc().compute(predictions=scores, references=truth.astype(np.float64))
    assert found is not None
    return float(found["auroc"])


def measure_auroc(truth: np.ndarray, scores: np.ndarray, seed: int = 0) -> dict[str, Measured]:
    """Return the area with a percentile bootstrap interval over examples (Efron 1979).

    Empty where no class has examples and others: there is nothing to measure.

    Args:
        truth: (N, C) whether an example is of a class.
        scores: (N, C).
        seed: of the bootstrap.
    """
    value = auroc(truth, scores)
    if np.isnan(value):
        return {}
    truth, scores = of_two(truth, scores)
    N, C = truth.shape
    count = int(np.clip(WORK // (N * C), 200, RESAMPLES))
    found = []
    for weights in resamples(N, count, seed):
        areas = np.stack(list(class_areas(truth, scores, weights)))
        there = ~np.isnan(areas)
        found.append(np.where(there, areas, 0).sum(0) / np.maximum(there.sum(0), 1))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    method = f"percentile bootstrap, {count} resamples"
    return {"auroc": Measured(value=value, low=low, high=high, method=method)}


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return (N, C) bool: which class each example is of."""
    return labels[:, None] == np.arange(classes)


def of_two(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the second class alone where there are two and each is the other's opposite."""
    opposite = truth.shape[1] == 2 and bool((truth.sum(1) == 1).all())
    return (truth[:, 1:], scores[:, 1:]) if opposite else (truth, scores)


def class_areas(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (B,) the area under each class's ROC curve; classes without both kinds are left out.

    The area is the share of pairs, one example of the class and one of another, in which the first
    has the higher score; a tie is half a pair (Mann and Whitney 1947). Examples are sorted once;
    what is in no pair with the class is summed in one stretch.

    Args:
        truth: (N, C).
        scores: (N, C).
        weights: (B, N) how often each example counts in each resample; NaN where a resample lacks
            one kind.
    """
    for positive, score in zip(truth.T, scores.T, strict=True):
        if positive.all() or not positive.any():
            continue
        order = np.argsort(score, kind="stable")
        value, of_class = score[order], positive[order]
        first = np.r_[True, value[1:] != value[:-1]]  # of equal scores
        group = np.cumsum(first) - 1
        holds = np.bincount(group, of_class) > 0
        # a stretch begins with a group that holds examples of the class, or behind one
        begins = np.flatnonzero(first)[holds | np.r_[True, holds[:-1]]]
        counts = weights[:, order]
        own = np.add.reduceat(counts * of_class, begins, axis=1)
        others = np.add.reduceat(counts, begins, axis=1) - own
        pairs = (own * (np.cumsum(others, axis=1) - others / 2)).sum(1, dtype=np.float64)
        total = own.sum(1, dtype=np.float64) * others.sum(1, dtype=np.float64)
        yield np.divide(pairs, total, out=np.full(len(total), np.nan), where=total > 0)
