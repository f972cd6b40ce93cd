"""The names of what is measured."""

from __future__ import annotations

import math
from typing import Literal

MetricName = Literal[
    "accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "matthews", "auroc",
    "r2", "rmse", "mae", "pearson", "spearman",
    "f1", "precision", "recall",
    "perplexity", "token_accuracy", "bleu", "chrf",
]  # fmt: skip
LIMITS = {
    "r2": (-math.inf, 1.0), "rmse": (0.0, math.inf), "mae": (0.0, math.inf),
    "matthews": (-1.0, 1.0), "pearson": (-1.0, 1.0), "spearman": (-1.0, 1.0),
    "perplexity": (1.0, math.inf), "bleu": (0.0, 100.0), "chrf": (0.0, 100.0),
}  # fmt: skip
"""The least and the largest value of a figure that is no share of one."""
LOWER_IS_BETTER = {"loss", "rmse", "mae", "perplexity"}
