"""Figures of a language model, over all tokens that were to be told, with 95 % intervals.

Perplexity is exp of the mean over tokens of -log p(token). A row is a text, whose tokens stand and
fall together, so the bootstrap draws rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import datasets
import evaluate
import numpy as np

from ftkit.metrics import RESAMPLES, measure, score
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
    task: LanguageModelling, labels: np.ndarray, outputs: Told, seed: int = 0
) -> dict[str, Measured]:
    """With percentile bootstrap intervals (Efron 1979) over rows."""
    values = score(task, labels, outputs)
    N, random = len(outputs.nats), np.random.default_rng(seed)
    sums = np.stack([outputs.nats, outputs.right, outputs.tokens], axis=1)
    drawn = np.array([sums[random.integers(0, N, N)].sum(0) for _ in range(RESAMPLES)])
    resampled = language_figures(*drawn.T)
    return {
        name: Measured(
            value=values[name],
            low=np.nanquantile(found, 0.025),
            high=np.nanquantile(found, 0.975),
            method=f"percentile bootstrap over rows, {RESAMPLES} resamples",
        )
        for name, found in resampled.items()
    }


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
