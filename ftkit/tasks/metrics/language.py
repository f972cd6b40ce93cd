"""Figures of a language model, over all tokens that were to be predicted, with 95 % intervals.

Perplexity is exp of the mean over tokens of -log p(token). A row is a text, whose tokens stand and
fall together, so the intervals count rows as clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import datasets
import numpy as np

from ftkit.runs.result import Measured
from ftkit.tasks.metrics import RESAMPLES, Groups, LocalMetric
from ftkit.tasks.metrics.intervals import Z, bounded, cluster_sums, measured_share
from ftkit.tasks.metrics.studentized import gamma_ends, studentized

GUESSED = 18 * float(np.log(2))
"""Nats of a guess among 2^18 tokens; vocabularies have up to that many (Gemma's 262,144)."""
DIFFER = 0.5
"""Standard deviation of nats a token between texts that are too few to show it, over the mean."""
ALIKE = 1e-9
"""A loss of fewer nats a token is taken for zero."""


@dataclass(frozen=True)
class TextScores:
    """What a language model said of N texts."""

    nats: np.ndarray
    """(N,) float64, the sum of -log p over the tokens that were to be predicted."""
    tokens: np.ndarray
    """(N,) float64, how many those were."""
    right: np.ndarray
    """(N,) float64, of how many of them the right one was the likeliest."""
    answers: tuple[str | None, ...]
    """N, what it wrote itself where it was asked to."""

    @property
    def losses(self) -> np.ndarray:
        """(N,) nats a token, NaN where none was to be predicted."""
        return np.divide(
            self.nats, self.tokens, out=np.full(len(self.nats), np.nan), where=self.tokens > 0
        )


def score_texts(outputs: TextScores) -> dict[str, float]:
    """Return the loss and the figures of what a language model said of texts."""
    found = Language().score(
        predictions=outputs.nats, right=outputs.right, references=outputs.tokens
    )
    return {"loss": float(np.log(found["perplexity"])), **found}


def measure_texts(outputs: TextScores, seed: int = 0, groups: Groups = None) -> dict[str, Measured]:
    """Return perplexity and token accuracy with their intervals.

    Perplexity has a bootstrap-t interval of nats a token on their logarithm's scale.
    """
    values = score_texts(outputs)
    right = measured_share(outputs.right, outputs.tokens, groups)
    return {
        "perplexity": measured_perplexity(
            values["perplexity"], outputs.nats, outputs.tokens, seed, groups
        ),
        "token_accuracy": right.model_copy(update={"value": values["token_accuracy"]}),
    }


def measured_perplexity(
    value: float, nats: np.ndarray, tokens: np.ndarray, seed: int, groups: Groups
) -> Measured:
    """Return perplexity, or its mean over seeds, with its 95 % interval.

    It is a bootstrap-t interval of nats a token on their logarithm's scale. Where there are too few
    texts for it, or these are all alike, nats a token are taken to have a gamma distribution whose
    standard deviation between texts is half the mean, or what is seen if that is more, and within
    a text as large as the mean, which is that of the exponential distribution. No end is above
    `GUESSED`.

    Args:
        value: of the figure.
        nats: (N,) or (N, S) of each text in each of S seeds, -log p of all its tokens.
        tokens: of the same shape.
        seed: of the bootstrap.
    """
    N = len(nats)
    nats, tokens = (np.asarray(each, np.float64).reshape(N, -1) for each in (nats, tokens))
    S = nats.shape[1]

    def scaled(sums: np.ndarray) -> np.ndarray:
        return np.log(np.log(np.exp(sums[:, :S] / sums[:, S:]).mean(1)))

    found = None
    if value > 1 + ALIKE:
        found = studentized(np.concatenate([nats, tokens], axis=1), scaled, seed, groups)
    if found is not None:
        low, high = (float(np.exp(end)) for end in found)
        method = f"bootstrap-t over texts, {RESAMPLES} resamples"
    else:
        low, high = _assumed(float(np.log(value)), nats.mean(1), tokens.mean(1), groups)
        method = "gamma distribution of nats a token, the texts being few or all alike"
    low, high = (float(np.exp(min(end, GUESSED))) for end in (low, high))
    return bounded(value, low, high, method, groups)


def _assumed(
    middle: float, nats: np.ndarray, tokens: np.ndarray, groups: Groups
) -> tuple[float, float]:
    """Return the ends of nats a token as `measured_perplexity` takes them to be distributed.

    Where all are predicted exactly, a part of the tokens is taken for guessed, as Wilson's interval
    of a share has it.

    Args:
        middle: nats a token.
    """
    nats, tokens = cluster_sums(nats, groups), cluster_sums(tokens, groups)
    G = len(tokens)
    if middle <= ALIKE:
        return middle, GUESSED * Z**2 / (G + Z**2)
    there = tokens > 0
    each = nats[there] / tokens[there]
    seen = float(each.var(ddof=1) / middle**2) if len(each) > 1 else 0.0
    variance = max(DIFFER**2, seen) + G / tokens.sum()
    below, above = gamma_ends(2 * G / variance)
    return middle * float(np.exp(below)), middle * float(np.exp(above))


class Language(LocalMetric):
    """Perplexity and token accuracy from each text's nats, tokens predicted right, and tokens."""

    column = datasets.Value("float64")
    names = ("predictions", "right", "references")

    def _compute(
        self, predictions: list[float], right: list[float], references: list[float]
    ) -> dict[str, float]:
        nats, hits, tokens = (np.sum(values) for values in (predictions, right, references))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {"perplexity": np.exp(nats / tokens), "token_accuracy": hits / tokens}
        return {name: float(value) for name, value in found.items()}
