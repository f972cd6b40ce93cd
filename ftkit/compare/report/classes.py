"""What a report shows of one class out of C: the surest errors, each class, confusion, calibration.

What it has of calibration and of tables of classes serves other tasks too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ftkit.compare.finished_runs import Run
from ftkit.compare.report import charts
from ftkit.compare.report.sections import Picture, Section, Table
from ftkit.compare.report.shown_rows import examples_of

BINS = 15
"""The bins of the calibration error (Guo et al. 2017)."""
SAMPLES = 1000
"""Samples are drawn so often to see which error chance alone gives."""
MOST_DRAWN = 2 * 10**7
"""The most samples times rows. Larger data have fewer samples, 100 at least."""
EXAMPLES = 12
"""The examples that are shown."""
MOST_CLASSES = 40
"""A confusion matrix of more classes is not drawn."""
MOST_ROWS = 60
"""The table of classes has at most so many lines, those of the hardest classes."""
MOST_PAIRS = 5
"""So many pairs of confused classes are named."""


@dataclass(frozen=True)
class Scores:
    """How well each of C classes is found, (C,) each."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    """How often each class occurs."""


def sections(tables: Sequence[pa.Table], runs: Sequence[Run], best: int) -> list[Section]:
    """Return what there is to see of these runs' predictions.

    Args:
        best: place of the run whose errors are shown.
    """
    names = label_names(tables[best])
    scores, matrices, reliabilities = [], [], []
    for table, run in zip(tables, runs, strict=True):
        truth, told = answers(table)
        found = precision_recall_fscore_support(truth, told, labels=list(names), zero_division=0)
        scores.append(Scores(*found))
        counts = confusion_matrix(truth, told, labels=list(names))
        matrices.append(matrix(run.label, counts, names))
        sure = np.array(table["probability"].to_pylist()).max(1)
        reliabilities.append(reliability(run.label, sure, truth == told))
    return [
        wrong_examples(tables[best], runs[best]),
        table_of_classes("Classes", names, scores, [run.label for run in runs], best),
        confusion_section(matrices),
        calibration_section("How often a strategy is right where it is so sure.", reliabilities),
    ]


def label_names(table: pa.Table) -> tuple[str, ...]:
    """Return the names of the classes."""
    return tuple(json.loads((table.schema.metadata or {})[b"label_names"]))


def answers(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns (N,) of labels and of predictions."""
    truth, told = (np.array(table[name].to_pylist()) for name in ("label", "prediction"))
    return truth, told


def wrong_examples(table: pa.Table, run: Run) -> Section:
    """Return the wrong test rows of which the run was most confident, with their inputs."""
    truth, told = answers(table)
    sure = np.array(table["probability"].to_pylist()).max(1)
    wrong = np.flatnonzero(truth != told)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:EXAMPLES].tolist()
    said = {row: f"{truth[row]}, taken for {told[row]} ({sure[row]:.2f})" for row in chosen}
    about = f"Test rows that {run.label}, the best, has wrong, those of which it is surest first."
    return Section("wrong", "Most confidently wrong", about, examples=examples_of(table, run, said))


def table_of_classes(
    title: str,
    names: Sequence[str],
    scores: Sequence[Scores],
    labels: Sequence[str],
    best: int,
    unit: str = "test rows",
) -> Section:
    """Return F1 of each class by strategy, precision and recall of the best; the hardest if many.

    Args:
        labels: of the strategies.
        unit: what the support counts.
    """
    chosen = sorted(np.argsort(scores[best].f1, kind="stable")[:MOST_ROWS].tolist())
    hardest = f", the {len(chosen)} hardest" if len(chosen) < len(names) else ""
    best_name, own = labels[best], scores[best]
    lines = tuple(
        (
            names[c],
            str(own.support[c]),
            *(f"{one.f1[c]:.3f}" for one in scores),
            f"{own.precision[c]:.3f}",
            f"{own.recall[c]:.3f}",
        )
        for c in chosen
    )
    return Section(
        "classes",
        title,
        f"F1 of each{hardest}; precision and recall of {best_name}.",
        Table(("class", unit, *labels, "precision", "recall"), lines),
    )


def matrix(label: str, counts: np.ndarray, names: Sequence[str]) -> Picture:
    """Return a strategy's confusion matrix (C, C), and a sentence on what is confused most."""
    wrong = counts * (1 - np.eye(len(names), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    places = [divmod(int(place), len(names)) for place in order]
    said = [f"{names[a]} taken for {names[b]} ({wrong[a, b]})" for a, b in places if wrong[a, b]]
    caption = f"Most often: {', '.join(said)}." if said else "Nothing is taken for anything else."
    drawn = len(names) <= MOST_CLASSES
    title = f"Confusion matrix of {label}"
    return Picture(label, charts.confusion(counts, names, title) if drawn else "", caption)


def confusion_section(matrices: Sequence[Picture], about: str = "") -> Section:
    """Return the confusion matrices of the strategies."""
    return Section("confusion", "Confusion", about, pictures=tuple(matrices))


def reliability(label: str, confidence: np.ndarray, right: np.ndarray) -> Picture:
    """Return a strategy's reliability diagram, and whether its error is more than chance.

    Of one that tells only 0 and 1, as the single nearest neighbour does, that there is none.
    """
    if np.isin(confidence, (0, 1)).all():
        why = "every probability that it gives is 0 or 1, so there is no calibration to measure"
        return Picture(label, "", f"{label}: {why}")
    bins, error = calibration(confidence, right)
    usual, most = error_by_chance(confidence)
    told = "more than chance" if error > most else "no more than chance"
    caption = (
        f"{label}: ECE {error:.3f}, {told} (perfect calibration: {usual:.3f}, at most {most:.3f})"
    )
    return Picture(label, charts.reliability(bins, label, error), caption)


def calibration_section(about: str, pictures: Sequence[Picture]) -> Section:
    """Return the reliability diagrams of the strategies."""
    about += (
        " The expected calibration error (ECE) is the mean distance from the dashed line, over 15 "
        "bins of equal width; larger points hold more. Few rows give an error even under perfect "
        "calibration: in brackets stands its mean, and what 95 of 100 such samples stay below, if "
        "rows are independent. Only an error above that tells of bad calibration."
    )
    return Section("calibration", "Calibration", about, pictures=tuple(pictures), small=True)


def calibration(
    confidence: np.ndarray, right: np.ndarray
) -> tuple[tuple[tuple[float, float, int], ...], float]:
    """Return the bins of a reliability diagram that hold rows, and the expected calibration error.

    Args:
        confidence: (N,) probability of what is told.
        right: (N,) bool.
    """
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        (float(confidence[place == b].mean()), float(right[place == b].mean()), int(n))
        for b, n in enumerate(np.bincount(place, minlength=BINS))
        if n
    ]
    error = sum(n * abs(sure - share) for sure, share, n in bins) / len(right)
    return tuple(bins), float(error)


def error_by_chance(confidence: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return mean and 95 % quantile of the calibration error of perfect calibration.

    The error over bins is above 0 for every finite sample (Kumar, Liang and Ma 2019; Roelofs et al.
    2022), so it is compared with that of samples whose rows are right with just the probability
    that was told.

    Args:
        confidence: (N,) probability of what is told.
        seed: of the samples.
    """
    random, N = np.random.default_rng(seed), len(confidence)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    sure = np.bincount(place, confidence, BINS)
    errors = []
    for _ in range(int(np.clip(MOST_DRAWN // N, 100, SAMPLES))):
        right = random.random(N) < confidence
        errors.append(np.abs(np.bincount(place, right, BINS) - sure).sum() / N)
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))
