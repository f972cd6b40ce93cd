"""Figures of a language model, over all tokens that were to be told, with 95 % intervals.

Perplexity is exp of the mean over tokens of -log p(token). A row is a text, whose tokens stand and
fall together, so the intervals count rows as clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import datasets
import evaluate
import numpy as np

from ftkit.metrics import RESAMPLES, measure, score
from ftkit.metrics.intervals import measured_share, of_groups
from ftkit.metrics.studentized import studentized
from ftkit.recipe import LanguageModelling
from ftkit.result import Measured


@dataclass(frozen=True)
class Told:
    """What a language model said of N texts."""

    nats: np.ndarray
    """(N,) float64, the sum of -log p over the tokens that were to be told."""
    tokens: np.ndarray
    """(N,) float64, how many those were."""
    right: np.ndarray
    """(N,) float64, of how many of them the right one was the likeliest."""
    answers: tuple[str | None, ...]
    """N, what it wrote itself where it was asked to."""

    @property
    def losses(self) -> np.ndarray:
        """(N,) nats a token, NaN where none was to be told."""
        return np.divide(
            self.nats, self.tokens, out=np.full(len(self.nats), np.nan), where=self.tokens > 0
        )


@score.register
def _(task: LanguageModelling, labels: np.ndarray, outputs: Told) -> dict[str, float]:
    found = Language().compute(
        predictions=outputs.nats, right=outputs.right, references=outputs.tokens
    )
    assert found is not None
    return {"loss": float(np.log(found["perplexity"])), **found}


@measure.register
def _(
    task: LanguageModelling,
    labels: np.ndarray,
    outputs: Told,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> dict[str, Measured]:
    """Perplexity with a bootstrap-t interval of nats a token on their logarithm's scale."""
    values = score(task, labels, outputs)
    right = measured_share(outputs.right, outputs.tokens, groups)
    return {
        "perplexity": measured_perplexity(
            values["perplexity"], outputs.nats, outputs.tokens, seed, groups
        ),
        "token_accuracy": right.model_copy(update={"value": values["token_accuracy"]}),
    }


def measured_perplexity(
    value: float, nats: np.ndarray, tokens: np.ndarray, seed: int, groups: np.ndarray | None
) -> Measured:
    """Return perplexity with its interval, which a single text does not give.

    Args:
        nats: (N,) of each text, -log p of all its tokens.
        tokens: (N,) of each text.
    """
    found = studentized(np.stack([nats, tokens], axis=1), _log_nats, seed, groups)
    if found is None:
        return Measured(value=value, low=value, high=value, method="none: a single text")
    low, high = (float(np.exp(np.exp(end))) for end in found)
    method = f"bootstrap-t over texts, {RESAMPLES} resamples" + of_groups(groups)
    return Measured(value=value, low=min(low, value), high=max(high, value), method=method)


def _log_nats(sums: np.ndarray) -> np.ndarray:
    return np.log(sums[:, 0]) - np.log(sums[:, 1])


def language_figures(
    nats: np.ndarray, right: np.ndarray, tokens: np.ndarray
) -> dict[str, np.ndarray]:
    """Return perplexity and the share of tokens told right, from sums of equal shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return {"perplexity": np.exp(nats / tokens), "token_accuracy": right / tokens}


class Language(evaluate.Metric):
    """Perplexity and token accuracy from the sums of each text, computed without the Hub."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        column = datasets.Value("float64")
        names = ("predictions", "right", "references")
        return evaluate.MetricInfo(
            description="Perplexity and token accuracy over all tokens that were to be told.",
            citation="",
            inputs_description="predictions: nats of each text; right: tokens told right in it; "
            "references: tokens to be told",
            features=datasets.Features(dict.fromkeys(names, column)),
        )

    def _compute(
        self, predictions: list[float], right: list[float], references: list[float]
    ) -> dict[str, float]:
        sums = (np.sum(values) for values in (predictions, right, references))
        return {name: float(value) for name, value in language_figures(*sums).items()}
