"""Figures of any number of classes for each row, with 95 % intervals."""

from __future__ import annotations

import datasets
import numpy as np
from scipy.special import logit

from ftkit.runs.result import Measured
from ftkit.tasks.metrics import Groups, LocalMetric
from ftkit.tasks.metrics.intervals import (
    BY_DELTA,
    NOTHING,
    bounded,
    design_effect,
    measured_share,
    wilson,
)
from ftkit.tasks.metrics.matrices import LEAST
from ftkit.tasks.metrics.ranking import auroc, measure_auroc


def score_tags(
    threshold: float | None, labels: np.ndarray, outputs: np.ndarray
) -> dict[str, float]:
    """Of logits (N, C) and labels (N, C) of 0 and 1."""
    found = Tagging().score(predictions=tags_of(outputs, threshold), references=labels.astype(int))
    area = auroc(labels > 0, outputs)
    return {
        "loss": mean_binary_cross_entropy(labels, outputs),
        **found,
        "auroc": 0.5 if np.isnan(area) else area,  # nothing can be told apart
    }


def measure_tags(
    threshold: float | None, labels: np.ndarray, outputs: np.ndarray, groups: Groups = None
) -> dict[str, Measured]:
    """Return the figures with Wilson's intervals at the effective number of labels or rows.

    Micro-F1 is 2 J / (1 + J) of Jaccard's share J of the labels that are predicted or true, so its
    interval is that of J, whose rows are clusters of labels.
    """
    found, truth = tags_of(outputs, threshold), labels.astype(int)
    values = Tagging().score(predictions=found, references=truth)
    hits = found * truth
    measured = {
        "micro_f1": measured_f1(hits.sum(1), found.sum(1), truth.sum(1), groups),
        "macro_f1": _measured_macro_f1(values["macro_f1"], hits, found, truth, groups),
    }
    exact = measured_share((found == truth).all(1).astype(float), groups=groups)
    return {**measured, **measure_auroc(labels > 0, outputs, groups), "accuracy": exact}


def measured_f1(
    hits: np.ndarray, found: np.ndarray, truth: np.ndarray, groups: Groups = None
) -> Measured:
    """Return 2 hits / (found + truth) over all rows, with its interval.

    Of the labels that are predicted or true a share J is both, and F1 is 2 J / (1 + J), which rises
    with J.

    Args:
        hits: (N,) labels of each row, or names, that are rightly told.
        found: (N,) that are told.
        truth: (N,) that are there.
    """
    share = measured_share(hits, found + truth - hits, groups)
    value, low, high = (2 * j / (1 + j) for j in (share.value, share.low, share.high))
    return Measured(value=value, low=low, high=high, method=share.method)


def _measured_macro_f1(
    value: float, hits: np.ndarray, found: np.ndarray, truth: np.ndarray, groups: Groups
) -> Measured:
    """Return the mean F1 of the classes, with Wilson's interval at its effective n.

    The variance of each class's F1 is that of Jaccard's share, smoothed towards the share of all
    classes as `ftkit.tasks.metrics.matrices.smoothed` does; how the classes of one row, and the
    rows of one group, depend on each other widens their sum.
    """
    right, either = hits.sum(0), (found + truth - hits).sum(0)
    matters = either > 0
    if not matters.any():
        return Measured(value=value, low=0, high=1, method=NOTHING)
    right, either = right[matters], either[matters]
    pooled = (right.sum() + 2) / (either.sum() + 4)
    rows = max(LEAST, 1 / (1 - pooled))
    share = (right + rows * pooled) / (either + rows)
    slope = 2 / (1 + share) ** 2
    variance = float((slope**2 * share * (1 - share) / either).sum()) / len(share) ** 2
    middle = float((2 * share / (1 + share)).mean())
    slopes = slope / either * (hits[:, matters] - share * (found + truth - hits)[:, matters])
    width = float((slopes.sum(1) ** 2).sum() / (slopes**2).sum())
    n = middle * (1 - middle) / variance / max(1.0, width)
    n /= design_effect(slopes.sum(1), groups)
    low, high = wilson(value, n)
    return bounded(value, low, high, BY_DELTA, groups)


def tags_of(logits: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Return (N, C) 1 where a class is predicted: its probability is above the threshold.

    Args:
        logits: (N, C).
        threshold: one half where none was chosen yet.
    """
    return (logits > logit(threshold or 0.5)).astype(int)


def f1_scores(hits: np.ndarray, found: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return micro-F1 over all labels, and macro-F1 over the classes that occur or are told.

    A figure without any class is 0.

    Args:
        hits: (..., C) rows that rightly have each class.
        found: (..., C) rows that are predicted to have it.
        truth: (..., C) rows that have it.
    """
    matters = found + truth > 0
    f1 = np.divide(2 * hits, found + truth, out=np.zeros(hits.shape), where=matters)
    return {
        "micro_f1": 2 * hits.sum(-1) / np.maximum((found + truth).sum(-1), 1),
        "macro_f1": f1.sum(-1) / np.maximum(matters.sum(-1), 1),
    }


class Tagging(LocalMetric):
    """Micro-F1, macro-F1 and the share of rows with exactly the right classes."""

    column = datasets.Sequence(datasets.Value("int64"))

    def _compute(
        self, predictions: list[list[int]], references: list[list[int]]
    ) -> dict[str, float]:
        found, truth = np.asarray(predictions), np.asarray(references)
        scores = f1_scores((found * truth).sum(0), found.sum(0), truth.sum(0))
        exact = (found == truth).all(1).mean()
        return {**{name: float(v) for name, v in scores.items()}, "accuracy": float(exact)}


def mean_binary_cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean over rows and classes of -log p(label), in nats; both (N, C)."""
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))
