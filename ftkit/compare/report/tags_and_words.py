"""What a report shows of any number of classes for each row, and of a class for each word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import confusion_matrix

from ftkit.compare.finished_runs import Run
from ftkit.compare.report.classes import (
    EXAMPLES,
    Scores,
    calibration_section,
    confusion_section,
    label_names,
    matrix,
    reliability,
    table_of_classes,
)
from ftkit.compare.report.sections import Example, Section, Table, shortened
from ftkit.compare.report.shown_rows import examples_of
from ftkit.tasks.metrics.words import as_iob

NONE = "O"
"""The class of a word that belongs to no name."""
MOST_WORDS = 5
"""So many wrong words of a sentence are named."""


def tags(tables: Sequence[pa.Table], runs: Sequence[Run], best: int) -> list[Section]:
    """Return what there is to see of any number of classes for each row."""
    names = label_names(tables[best])
    pairs = [
        (_class_marks(table["label"], names), _class_marks(table["prediction"], names))
        for table in tables
    ]
    scores = [_scores((a & b).sum(0), b.sum(0), a.sum(0)) for a, b in pairs]
    labels = [run.label for run in runs]
    reliabilities = [
        reliability(run.label, np.array(table["probability"].to_pylist()).ravel(), truth.ravel())
        for run, table, (truth, _) in zip(runs, tables, pairs, strict=True)
    ]
    truth, told = pairs[best]
    sides = (truth & told, truth & ~told, ~truth & told, ~truth & ~told)
    counts = np.stack([side.sum(0) for side in sides], 1)
    lines = tuple((name, *map(str, row)) for name, row in zip(names, counts, strict=True))
    return [
        _surest_errors(tables[best], runs[best], truth, told, names),
        table_of_classes("Classes", names, scores, labels, best),
        Section(
            "confusion",
            "Confusion",
            f"Each class by itself, as {labels[best]} has it.",
            Table(("class", "rightly told", "missed", "wrongly told", "rightly not told"), lines),
        ),
        calibration_section(
            "How often a class is there where it has such a probability, over all classes.",
            reliabilities,
        ),
    ]


def _surest_errors(
    table: pa.Table, run: Run, truth: np.ndarray, told: np.ndarray, names: Sequence[str]
) -> Section:
    """Return the rows in which a class was missed or wrongly told with most confidence."""
    probability = np.array(table["probability"].to_pylist())
    off = np.where(told == truth, 0.0, np.abs(probability - truth))
    chosen = np.argsort(-off.max(1), kind="stable")[:EXAMPLES]
    chosen = chosen[off[chosen].max(1) > 0]
    said = {}
    for row in chosen.tolist():
        c = int(off[row].argmax())
        wrong = f"{names[c]} {'missed' if truth[row, c] else 'told'} ({probability[row, c]:.2f})"
        true, found = (", ".join(table[n][row].as_py()) or "none" for n in ("label", "prediction"))
        said[row] = f"{wrong}. Is: {true}. Told: {found}."
    about = f"Test rows in which {run.label}, the best, is surest of something wrong."
    return Section("wrong", "Most confidently wrong", about, examples=examples_of(table, run, said))


def words(tables: Sequence[pa.Table], runs: Sequence[Run], best: int) -> list[Section]:
    """Return what there is to see of a class for each word; names by seqeval's rules."""
    names, labels = label_names(tables[best]), [run.label for run in runs]
    seen = [[_words_of(row) for row in table.to_pylist()] for table in tables]
    kinds = sorted({_kind(name) for name in names} - {NONE})
    scores = [_of_names(rows, names, kinds) for rows in seen]
    matrices, reliabilities = [], []
    for run, rows in zip(runs, seen, strict=True):
        every = [word for row in rows for word in row]
        truth, told = zip(*((_kind(word.truth), _kind(word.told)) for word in every), strict=True)
        counts = confusion_matrix(truth, told, labels=[NONE, *kinds])
        matrices.append(matrix(run.label, counts, [NONE, *kinds]))
        seen_words = [word for word in every if word.sure is not None]
        if seen_words:
            right = np.array([word.truth == word.told for word in seen_words])
            sure = np.array([word.sure for word in seen_words], float)
            reliabilities.append(reliability(run.label, sure, right))
    found = [
        _wrong_words(tables[best], seen[best], runs[best]),
        table_of_classes("Kinds of names", kinds, scores, labels, best, "names"),
        confusion_section(matrices, "Word by word; O is in no name."),
    ]
    if reliabilities:
        about = "How often a word's class is right where a strategy is so sure."
        found.append(calibration_section(about, reliabilities))
    return found


class Word(NamedTuple):
    """A word, its class, the class that was told, and the probability of that."""

    text: str
    truth: str
    told: str
    sure: float | None


def _words_of(row: dict[str, Any]) -> list[Word]:
    """Return the words of a row. One that the model did not see counts as told to be in no name."""
    sure = row.get("confidence") or [None] * len(row["tokens"])
    every = zip(row["tokens"], row["label"], row["prediction"], sure, strict=True)
    return [Word(text, truth, told or NONE, p) for text, truth, told, p in every]


def _of_names(rows: Sequence[Sequence[Word]], names: Sequence[str], kinds: Sequence[str]) -> Scores:
    counts: list[Counter[str]] = [Counter() for _ in range(3)]
    for row in rows:
        both = as_iob(tuple(names), [[word.truth for word in row], [word.told for word in row]])
        truth, told = (set(get_entities(tagged)) for tagged in both)
        for counter, entities in zip(counts, (truth & told, told, truth), strict=True):
            counter.update(kind for kind, _, _ in entities)
    return _scores(*(np.array([counter[kind] for kind in kinds]) for counter in counts))


def _wrong_words(table: pa.Table, rows: Sequence[Sequence[Word]], run: Run) -> Section:
    """Return the sentences with a wrong word of which the run was most confident."""

    def worst(row: Sequence[Word]) -> float:
        return max((word.sure or 0.0 for word in row if word.truth != word.told), default=-1.0)

    chosen = np.argsort([-worst(row) for row in rows], kind="stable")[:EXAMPLES].tolist()
    index, examples = table["index"].to_pylist(), []
    for place in chosen:
        wrong = [word for word in rows[place] if word.truth != word.told]
        if wrong:
            said = [
                f"{word.text}: {_class(word.truth)}, taken for {_class(word.told)}"
                + (f" ({word.sure:.2f})" if word.sure is not None else "")
                for word in wrong[:MOST_WORDS]
            ]
            more = f"; and {len(wrong) - MOST_WORDS} more" * (len(wrong) > MOST_WORDS)
            text = shortened(" ".join(table["tokens"][place].as_py()))
            examples.append(Example(index[place], "; ".join(said) + more, texts=(("", text),)))
    about = f"Test rows in which {run.label}, the best, is surest of a wrong class of a word."
    return Section("wrong", "Most confidently wrong", about, examples=tuple(examples))


def _kind(name: str) -> str:
    """Return PER of B-PER and I-PER."""
    return name[2:] if name[1:2] == "-" and name[0] in "BIES" else name


def _class(name: str) -> str:
    return "no name" if name == NONE else name


def _class_marks(column: Iterable[Any], names: Sequence[str]) -> np.ndarray:
    """Return (N, C) bool: whether each row has each class."""
    return np.array([[name in row.as_py() for name in names] for row in column])


def _scores(hits: np.ndarray, told: np.ndarray, there: np.ndarray) -> Scores:
    """Return the scores of counts (C,): rightly told, told, and there."""
    precision, recall = hits / np.maximum(told, 1), hits / np.maximum(there, 1)
    return Scores(precision, recall, 2 * hits / np.maximum(told + there, 1), there)
