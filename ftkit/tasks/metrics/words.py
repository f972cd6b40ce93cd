"""Figures of a class for each word, with 95 % intervals: names by seqeval's rules.

A name counts as right where its first word, its last word and its kind are. Words of a sentence
depend on each other, so the intervals count sentences as clusters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import datasets
import numpy as np
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from ftkit.recipe import TokenClassification
from ftkit.runs.result import Measured
from ftkit.tasks.metrics import Groups, LocalMetric
from ftkit.tasks.metrics.classes import mean_cross_entropy
from ftkit.tasks.metrics.intervals import measured_share
from ftkit.tasks.metrics.tags import measured_f1

IOB = re.compile(r"O|[BIES]-.+")
NONE = "O"
"""The class of a word that is in no name."""


@dataclass(frozen=True)
class Tagged:
    """What a model gives for the words of N rows."""

    names: tuple[str, ...]
    """The names of the C classes."""
    logits: list[np.ndarray]
    """(W, C) float32 of each row; NaN for a word that the model did not see."""

    @property
    def unseen(self) -> int:
        """How many words the model did not see."""
        return sum(int((~np.isfinite(row).all(1)).sum()) for row in self.logits)

    def seen(self, labels: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return, for each row, the classes and the logits of the words that the model saw.

        Args:
            labels: (N,) lists of class numbers.
        """
        there = [np.isfinite(logits).all(1) for logits in self.logits]
        pairs = zip(labels, there, strict=True)
        truth = [np.array(row, int)[mask] for row, mask in pairs]
        return truth, [row[mask] for row, mask in zip(self.logits, there, strict=True)]


def score_words(labels: np.ndarray, outputs: Tagged) -> dict[str, float]:
    """Return the figures of all words, and the loss of those that the model saw."""
    truth, logits = outputs.seen(labels)
    found = Entities().score(
        predictions=predicted_tags(outputs), references=true_tags(outputs, labels)
    )
    return {"loss": mean_cross_entropy(np.concatenate(truth), np.concatenate(logits)), **found}


def measure_words(
    labels: np.ndarray, outputs: Tagged, groups: Groups = None
) -> dict[str, Measured]:
    """Return the figures with Wilson's intervals at the effective number of names or words.

    Texts are clusters.
    """
    rows = zip(true_tags(outputs, labels), predicted_tags(outputs), strict=True)
    hits, found, there, right, words = np.array([entity_counts(*row) for row in rows], float).T
    measured = {
        "f1": measured_f1(hits, found, there, groups),
        "precision": measured_share(hits, found, groups),
        "recall": measured_share(hits, there, groups),
        "accuracy": measured_share(right, words, groups),
    }
    return {name: measured[name] for name in TokenClassification.figures}


def predicted_tags(outputs: Tagged) -> list[list[str]]:
    """Return the names of the most likely classes, as seqeval reads them.

    A word that the model did not see counts as in no name. So all backbones are measured on the
    same words, whatever their tokenizers make of a text, and a name that is cut off is missed.
    """
    rows = [
        [outputs.names[word.argmax()] if np.isfinite(word).all() else NONE for word in row]
        for row in outputs.logits
    ]
    return as_iob(outputs.names, rows)


def true_tags(outputs: Tagged, labels: np.ndarray) -> list[list[str]]:
    """Return the names of the true classes (N,) of lists, as seqeval reads them."""
    rows = [[outputs.names[number] for number in row] for row in labels]
    return as_iob(outputs.names, rows)


def as_iob(names: tuple[str, ...], rows: list[list[str]]) -> list[list[str]]:
    """Return tags that say where a name begins; where they do not, each word is a name of its own.

    Args:
        names: of all classes.
    """
    if all(IOB.fullmatch(name) for name in names):
        return rows
    return [[tag if tag == "O" else f"B-{tag}" for tag in row] for row in rows]


def entity_counts(truth: list[str], found: list[str]) -> tuple[int, int, int, int, int]:
    """Return, of one row, the right, found and true names, and the right and all words."""
    there, said = set(get_entities(truth)), set(get_entities(found))
    right = sum(one == other for one, other in zip(truth, found, strict=True))
    return len(there & said), len(said), len(there), right, len(truth)


class Entities(LocalMetric):
    """F1, precision and recall of names, and accuracy of words, by seqeval."""

    column = datasets.Sequence(datasets.Value("string"))

    def _compute(
        self, predictions: list[list[str]], references: list[list[str]]
    ) -> dict[str, float]:
        rows = [list(row) for row in references], [list(row) for row in predictions]
        return {
            "f1": float(f1_score(*rows, zero_division=0)),
            "precision": float(precision_score(*rows, zero_division=0)),
            "recall": float(recall_score(*rows, zero_division=0)),
            "accuracy": float(accuracy_score(*rows)),
        }
