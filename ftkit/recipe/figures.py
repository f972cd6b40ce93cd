"""The names of what is measured."""

from __future__ import annotations

from typing import Literal

MetricName = Literal[
    "accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "matthews", "auroc",
    "r2", "rmse", "mae", "pearson", "spearman",
    "f1", "precision", "recall",
    "perplexity", "token_accuracy", "bleu", "chrf",
]  # fmt: skip
LOWER_IS_BETTER = {"loss", "rmse", "mae", "perplexity"}
