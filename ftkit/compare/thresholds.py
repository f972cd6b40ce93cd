"""Above what share of votes a class is told, where a row has any number of classes.

Half of the votes is right for nothing here: a class of every tenth row never has it, and what tells
no class has a micro-F1 of 0. The threshold that makes F1 largest lies at half of that F1, below one
half (Lipton, Elkan and Naryanaswamy 2014), so it is looked for on rows that are not test rows.
"""

from __future__ import annotations

import numpy as np

from ftkit.metrics.tags import f1_scores

THRESHOLDS = np.arange(1, 20) / 20


def best_constant(truth: np.ndarray) -> np.ndarray:
    """Return (C,) which classes to tell of every row so that micro-F1 is largest: the commonest.

    Args:
        truth: (N, C) of training rows, 1 of each class of a row.
    """
    counts = truth.sum(0)
    order = np.argsort(-counts, kind="stable")
    told = np.arange(1, len(counts) + 1)
    f1 = 2 * np.cumsum(counts[order]) / np.maximum(len(truth) * told + counts.sum(), 1)
    chosen = np.zeros(len(counts), bool)
    chosen[order[: int(f1.argmax()) + 1]] = True
    return chosen


def best_threshold(truth: np.ndarray, votes: np.ndarray) -> float:
    """Return above which share of votes to tell a class so that micro-F1 is largest.

    Args:
        truth: (N, C) of validation rows.
        votes: (N, C) from 0 to 1.
    """
    told = votes[None] > THRESHOLDS[:, None, None]
    hits, found = (told * truth).sum(1), told.sum(1)
    f1 = f1_scores(hits, found, np.broadcast_to(truth.sum(0), found.shape))["micro_f1"]
    best = np.flatnonzero(f1 == f1.max())
    return float(THRESHOLDS[best[len(best) // 2]])
