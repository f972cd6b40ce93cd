"""Figures of translations: BLEU and chrF by sacrebleu, and perplexity, with 95 % intervals.

Each is a function of counts that are summed over sentences: matching n-grams, nats and tokens. So
the bootstrap draws sentences and sums their counts again; no text is looked at twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import datasets
import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.helpers import extract_all_char_ngrams
from scipy.stats import t

from ftkit.recipe import Translation
from ftkit.runs.result import Measured
from ftkit.tasks.metrics import RESAMPLES, Groups, LocalMetric, resamples
from ftkit.tasks.metrics.intervals import Z, said_of_groups, wilson
from ftkit.tasks.metrics.language import measured_perplexity

TOKENIZED_BY = {"zh": "zh", "ja": "char", "ko": "char", "th": "char", "km": "char", "my": "char"}
"""How BLEU parts what has no spaces between words, by the first letters of the language's code."""


@dataclass(frozen=True)
class Translated:
    """What a model makes of N pairs of texts."""

    losses: np.ndarray
    """(N,) nats of all target tokens together: -log p(translation | text)."""
    tokens: np.ndarray
    """(N,) target tokens."""
    texts: tuple[str, ...] | None = None
    """N translations; None where only the loss was asked for."""

    @property
    def loss(self) -> float:
        """Nats per target token."""
        return float(self.losses.sum() / self.tokens.sum())


def score_translations(
    task: Translation, labels: np.ndarray, outputs: Translated
) -> dict[str, float]:
    """Of what the model made of the pairs, and the translations (N,) of the data."""
    found = {"loss": outputs.loss, "perplexity": float(np.exp(outputs.loss))}
    if outputs.texts is None:
        return found
    overlap = Overlap(tokenizer_of(task)).score(
        predictions=list(outputs.texts), references=list(labels)
    )
    return {**overlap, **found}


def measure_translations(
    task: Translation, labels: np.ndarray, outputs: Translated, seed: int = 0, groups: Groups = None
) -> dict[str, Measured]:
    """BLEU and chrF from 0 to 100, as sacrebleu has them, and perplexity.

    Their intervals are those of `overlap_interval` and `measured_perplexity`.
    """
    values, overlap = score_translations(task, labels, outputs), Overlap(tokenizer_of(task))
    texts, references = list(outputs.texts or ()), list(labels)
    counts = [overlap.bleu_counts(texts, references), chrf_counts(texts, references)]
    draws: dict[str, list[float]] = {"bleu": [], "chrf": []}
    rows = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    size = int(rows.max()) + 1
    for weights in chain.from_iterable(resamples(size, RESAMPLES, seed)):
        bleu, chrf = (np.tensordot(weights[rows], each, 1) for each in counts)
        draws["bleu"].append(overlap.bleu_of(bleu.round().astype(int)))
        draws["chrf"].append(float(chrf_of(chrf)))
    measured = {}
    for name, drawn in draws.items():
        found = overlap_interval(values[name], np.array(drawn), size)
        measured[name] = found.model_copy(
            update={
                "method": found.method + said_of_groups(groups),
                "signature": overlap.signatures[name],
            }
        )
    measured["perplexity"] = measured_perplexity(
        values["perplexity"], outputs.losses, outputs.tokens, seed, groups
    )
    return {name: measured[name] for name in Translation.figures}


def overlap_interval(value: float, drawn: np.ndarray, size: int) -> Measured:
    """Return BLEU or chrF, or the mean over seeds, with its 95 % interval.

    It is Wilson's at the effective n by the bootstrap's variance, so that an interval near 0 or 100
    stays inside and has a width where all sentences are alike.

    Args:
        value: from 0 to 100.
        drawn: (B,) what the resamples have.
        size: sentences, or groups of them, each of which counts once where no resample differs.
    """
    share, variance = value / 100, float(np.var(drawn)) / 1e4
    inside = share * (1 - share)
    n = min(inside / variance, 1e12) if variance > 1e-12 and inside > 0 else float(size)
    if size > 1:
        n *= (Z / t.ppf(0.975, size - 1)) ** 2
    low, high = (100 * end for end in wilson(share, n))
    method = f"Wilson score at the effective n by the bootstrap over sentences, {RESAMPLES} "
    return Measured(
        value=value, low=min(low, value), high=max(high, value), method=method + "resamples"
    )


class Overlap(LocalMetric):
    """BLEU and chrF of whole corpora, from 0 to 100, by sacrebleu (Post 2018)."""

    column = datasets.Value("string")

    def __init__(self, tokenize: str = "13a") -> None:
        self.bleu, self.chrf = BLEU(tokenize=tokenize), CHRF()
        self.counter = BLEU(tokenize=tokenize, effective_order=True)  # without it warns of each
        for metric in (self.bleu, self.chrf):
            metric.corpus_score(["a"], [["a"]])  # signatures need to have seen one
        super().__init__()

    @property
    def signatures(self) -> dict[str, str]:
        """What sacrebleu calls what it computed."""
        return {"bleu": str(self.bleu.get_signature()), "chrf": str(self.chrf.get_signature())}

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {
            "bleu": min(self.bleu.corpus_score(predictions, [references]).score, 100.0),
            "chrf": min(self.chrf.corpus_score(predictions, [references]).score, 100.0),
        }

    def bleu_counts(self, texts: list[str], references: list[str]) -> np.ndarray:
        """Return (N, 10): words of text and reference, matches and n-grams of order 1 to 4."""
        found = [
            self.counter.sentence_score(text, [reference])
            for text, reference in zip(texts, references, strict=True)
        ]
        return np.array([[one.sys_len, one.ref_len, *one.counts, *one.totals] for one in found])

    def bleu_of(self, counts: np.ndarray) -> float:
        """Return BLEU of the summed counts (10,)."""
        sys_len, ref_len, *rest = counts.tolist()
        return BLEU.compute_bleu(
            rest[:4], rest[4:], sys_len, ref_len, smooth_method=self.bleu.smooth_method
        ).score


def chrf_counts(texts: list[str], references: list[str]) -> np.ndarray:
    """Return (N, 6, 3): character n-grams of text, reference and both, of order 1 to 6."""
    counts = np.zeros((len(texts), CHRF.CHAR_ORDER, 3))
    for row, pair in enumerate(zip(texts, references, strict=True)):
        grams = (extract_all_char_ngrams(text, CHRF.CHAR_ORDER, False) for text in pair)
        for order, (found, true) in enumerate(zip(*grams, strict=True)):
            both = (found & true).total()
            counts[row, order] = found.total() if true else 0, true.total(), both
    return counts


def chrf_of(counts: np.ndarray) -> np.ndarray:
    """Return chrF, F2 of the mean precision and recall over the orders that occur (Popovic 2015).

    Args:
        counts: (..., 6, 3), of sentences or summed over them.

    Returns:
        (...), from 0 to 100.
    """
    found, true, both = np.moveaxis(counts, -1, 0)
    occurs = (found > 0) & (true > 0)
    orders = occurs.sum(-1).clip(1)
    precision = (both / found.clip(1) * occurs).sum(-1) / orders
    recall = (both / true.clip(1) * occurs).sum(-1) / orders
    squared = CHRF.BETA**2
    total = (squared * precision + recall).clip(1e-16)
    return 100 * (1 + squared) * precision * recall / total


def tokenizer_of(task: Translation) -> str:
    """Return sacrebleu's name of how BLEU parts the target's texts into words."""
    code = task.target_language or (task.target or "").rpartition(".")[2]
    return TOKENIZED_BY.get(code[:2].lower(), "13a")
