"""Figures of any number of classes for each row, with 95 % intervals."""

from __future__ import annotations

import datasets
import evaluate
import numpy as np
from scipy.stats import binomtest

from ftkit.metrics import RESAMPLES, measure, resamples, score
from ftkit.metrics.ranking import auroc, measure_auroc
from ftkit.recipe import TextTagging
from ftkit.result import Measured


@score.register
def _(task: TextTagging, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    """Of logits (N, C) and labels (N, C) of 0 and 1."""
    found = Tagging().compute(predictions=tags_of(outputs), references=labels.astype(int))
    assert found is not None
    area = auroc(labels > 0, outputs)
    return {
        "loss": mean_binary_cross_entropy(labels, outputs),
        **found,
        "auroc": 0.5 if np.isnan(area) else area,  # nothing can be told apart
    }


@measure.register
def _(
    task: TextTagging, labels: np.ndarray, outputs: np.ndarray, seed: int = 0
) -> dict[str, Measured]:
    """Accuracy has the Wilson score interval, the others the percentile bootstrap over rows."""
    found, truth = tags_of(outputs), labels.astype(int)
    values = Tagging().compute(predictions=found, references=truth)
    assert values is not None
    N, C = truth.shape
    parts = np.concatenate([truth * found, found, truth], axis=1).astype(np.float32)
    counts = np.concatenate([weights @ parts for weights in resamples(N, RESAMPLES, seed)])
    measured = {}
    for name, draws in f1_scores(*np.split(counts, [C, 2 * C], axis=1)).items():
        low, high = np.quantile(draws, [0.025, 0.975])
        method = f"percentile bootstrap, {RESAMPLES} resamples"
        measured[name] = Measured(value=values[name], low=low, high=high, method=method)
    right = int((found == truth).all(1).sum())
    wilson = binomtest(right, N).proportion_ci(0.95, method="wilson")
    exact = Measured(
        value=values["accuracy"], low=wilson.low, high=wilson.high, method="Wilson score"
    )
    return {**measured, **measure_auroc(labels > 0, outputs, seed), "accuracy": exact}


def tags_of(logits: np.ndarray) -> np.ndarray:
    """Return (N, C) 1 where a class is told: its probability is above one half."""
    return (logits > 0).astype(int)


def f1_scores(hits: np.ndarray, found: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return micro-F1 over all labels, and macro-F1 over the classes that occur or are told.

    A figure without any class is 0.

    Args:
        hits: (..., C) rows that rightly have each class.
        found: (..., C) rows that are told to have it.
        truth: (..., C) rows that have it.
    """
    matters = found + truth > 0
    f1 = np.divide(2 * hits, found + truth, out=np.zeros(hits.shape), where=matters)
    return {
        "micro_f1": 2 * hits.sum(-1) / np.maximum((found + truth).sum(-1), 1),
        "macro_f1": f1.sum(-1) / np.maximum(matters.sum(-1), 1),
    }


class Tagging(evaluate.Metric):
    """Micro-F1, macro-F1 and the share of rows with exactly the right classes, without the Hub."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        row = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description="Micro-F1, macro-F1, accuracy of whole rows.",
            citation="",
            inputs_description="predictions and references: rows of 0 and 1, one for each class",
            features=datasets.Features({"predictions": row, "references": row}),
        )

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
