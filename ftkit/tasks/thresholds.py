"""The probability above which a class is told, chosen on validation rows for the best micro-F1.

One half is best for accuracy; F1 is best at half of the best F1 that can be reached, where the
probabilities are right (Lipton, Elkan and Naryanaswamy 2014), and small data make models shy.
"""

from __future__ import annotations

import logging

import numpy as np
from scipy.special import expit

log = logging.getLogger(__name__)
LEAST_LABELS = 50
"""Labels in the validation rows, below which one half is kept: a threshold chosen on fewer may be
worse on new rows than one half, where the probabilities were right already."""

LEAST = 1e-9
"""Distance of a threshold from 0 and from 1."""


def choose_threshold(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the probability above which a class is told, and log how it was chosen."""
    there, N = int(labels.sum()), len(labels)
    if there < LEAST_LABELS:
        log.info(
            f"threshold: 0.5, because the {N} validation rows have {there} labels and "
            f"{LEAST_LABELS} are needed"
        )
        return 0.5
    threshold, best = best_threshold(labels, logits)
    log.info(
        f"threshold: a class is predicted above a probability of {threshold:.3g}, which has the "
        f"best micro-F1 on the {N} validation rows ({best:.3f})"
    )
    return threshold


def best_threshold(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Return the probability above which micro-F1 is the highest, and that micro-F1.

    It stands in the middle between two logits that are there, the lowest that is predicted and the
    highest that is not.

    Args:
        labels: (N, C) of 0 and 1.
        logits: (N, C).
    """
    order = np.argsort(-logits, axis=None, kind="stable")
    scores, there = logits.ravel()[order].astype(np.float64), labels.ravel()[order] > 0
    told = np.arange(1, len(scores) + 1)
    f1 = 2 * np.cumsum(there) / (told + there.sum())
    ends = np.append(scores[:-1] > scores[1:], True)  # equal logits are predicted together
    last = int(np.where(ends, f1, -1).argmax())
    below = scores[last + 1] if last + 1 < len(scores) else scores[last] - 1
    return float(np.clip(expit((scores[last] + below) / 2), LEAST, 1 - LEAST)), float(f1[last])
