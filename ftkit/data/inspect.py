"""What a careful colleague says of labelled rows before anybody trains on them.

`inspect` returns findings: errors are what training refuses, warnings what makes its figures worth
less than they look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from ftkit.data.class_names import odd_names
from ftkit.data.encoders import is_constant
from ftkit.data.findings import MOST_EXAMPLES, Finding, Rows, rows_are, rows_of
from ftkit.data.row_fingerprints import RowFingerprints, near_pairs
from ftkit.data.splits import ROLES, Splits
from ftkit.errors.names import first_few
from ftkit.machine.numbers import plain

UNEVEN_FACTOR = 10
"""Classes are uneven when the largest has so many times the rows of the smallest."""
LONGEST_TEXT = 100_000
"""Texts of more characters are reported; no model here reads so many."""


def inspect(splits: Splits, fingerprints: Mapping[str, RowFingerprints]) -> tuple[Finding, ...]:
    """Return what is wrong or odd with the rows, errors first. Nothing is printed or changed.

    Args:
        splits: whose `label_names` may name classes that no training row has.
        fingerprints: of each split, from `ftkit.data.row_fingerprints.fingerprint_rows`.
    """
    seen = {role: _SplitRows(splits, role, fingerprints[role]) for role in ROLES}
    found = chain(
        _missing_classes(splits, seen),
        odd_names(splits),
        _imbalance(splits, seen),
        _one_number(seen),
        _odd_rows(seen),
        _duplicates(seen["train"]),
        _in_two_splits(seen),
        _nearly_in_two_splits(seen),
        _conflicts(seen),
    )
    return tuple(sorted(found, key=lambda finding: finding.severity))


class _SplitRows:
    """The readable rows of a split: fingerprints, numbers in the source, labels."""

    def __init__(self, splits: Splits, role: str, fingerprints: RowFingerprints) -> None:
        rows = getattr(splits, role)
        self.role, self.fingerprints = role, fingerprints
        self.index = np.asarray(rows["index"][:])[fingerprints.positions]
        labels = rows["label"][:]
        self.pairs = "source" in rows.column_names
        self.same = np.zeros(len(fingerprints.positions), bool)
        if self.pairs:
            self.same = untranslated(rows["source"][:], labels)[fingerprints.positions]
        self.classes, self.rows = _classes(labels, fingerprints.positions)
        if labels and isinstance(labels[0], (list, dict, str)):
            labels = np.array([repr(label) for label in labels])
        self.labels = np.asarray(labels)[fingerprints.positions]

    def at(self, rows: Iterable[Any]) -> Rows:
        return {self.role: tuple(int(self.index[row]) for row in rows)}

    def images_that_are(self, what: str) -> np.ndarray:
        """Return (M,) whether each image has an oddity."""
        return self.fingerprints.odd.get(what, np.zeros(len(self.index), bool))

    def rows_of_each(self, classes: int) -> np.ndarray:
        """Return how many rows each class has."""
        return np.bincount(self.classes, minlength=classes)


def _classes(labels: Any, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of all rows, one after the other, and the row that each is in.

    Args:
        labels: of each row a class number, or a list of them. Anything else is no class.
    """
    if any(isinstance(label, list) for label in labels[:1]):
        lists = [np.unique(np.array(labels[position], int)) for position in positions]
        rows = np.repeat(np.arange(len(lists)), [len(classes) for classes in lists])
        return np.concatenate([*lists, np.array([], int)]), rows
    classes = np.asarray(labels)[positions]
    if classes.dtype.kind not in "iu":
        classes = np.array([], int)
    return classes, np.arange(len(classes))


def _missing_classes(splits: Splits, seen: Mapping[str, _SplitRows]) -> Iterator[Finding]:
    names = splits.label_names
    if not _has_classes(splits, seen):
        return
    counts = {role: seen[role].rows_of_each(len(names)) for role in ROLES}
    for role in ("validation", "test"):
        for label in np.flatnonzero((counts[role] > 0) & (counts["train"] == 0)):
            rows = seen[role].rows[seen[role].classes == label]
            yield Finding(
                "error" if names[label] in splits.lacking else "warning",
                f"class '{names[label]}' has {rows_of(len(rows))} in {role} and none in train",
                tuple(seen[role].at([row]) for row in rows[:MOST_EXAMPLES]),
            )
    unmeasured = [names[label] for label in np.flatnonzero(counts["test"] == 0)]
    unmeasured = [name for name in unmeasured if counts["train"][names.index(name)]]
    if unmeasured:
        yield Finding(
            "warning",
            f"{len(unmeasured)} of {len(names)} classes have no test row, so nothing is measured "
            f"of them: {first_few(unmeasured)}",
        )


def _imbalance(splits: Splits, seen: Mapping[str, _SplitRows]) -> Iterator[Finding]:
    if not _has_classes(splits, seen):
        return
    if "tokens" in splits.train.column_names:  # most words have no tag, and are no mistake
        return
    names = splits.label_names
    counts = seen["train"].rows_of_each(len(names))
    there = np.flatnonzero(counts)
    if not len(there):
        return
    most, fewest = there[counts[there].argmax()], there[counts[there].argmin()]
    single = len(seen["train"].classes) == len(seen["train"].labels)
    advice = "balanced_accuracy too, and try --set train.class_weights=balanced"
    if counts[most] >= UNEVEN_FACTOR * counts[fewest]:
        yield Finding(
            "warning",
            f"classes are uneven: '{names[most]}' has {rows_of(counts[most])} in train, "
            f"'{names[fewest]}' {counts[fewest]:,}; look at {advice if single else 'macro_f1 too'}",
        )


def _one_number(seen: Mapping[str, _SplitRows]) -> Iterator[Finding]:
    for role, one in seen.items():
        labels = one.labels
        if labels.dtype.kind == "f" and len(labels) and is_constant(labels[:, None])[0]:
            what = "there is nothing to learn"
            if role != "train":
                what = "R squared says nothing there; look at rmse"
            rows, number = {"train": "training"}.get(role, role), plain(labels[0], 6)
            yield Finding("warning", f"all {rows} rows have the number {number}: {what}")


def _odd_rows(seen: Mapping[str, _SplitRows]) -> Iterator[Finding]:
    """Yield what a user may not expect of rows that can be read, one finding for each kind."""
    longest = max(int(one.fingerprints.length.max(initial=0)) for one in seen.values())
    too_long = f"longer than {LONGEST_TEXT:,} characters (the longest has {longest:,})"
    kinds: dict[str, Callable[[_SplitRows], np.ndarray]] = {
        what: partial(_SplitRows.images_that_are, what=what)
        for what in sorted({what for one in seen.values() for what in one.fingerprints.odd})
    }
    kinds |= {
        "of one colour only": lambda one: one.fingerprints.empty,
        too_long: lambda one: one.fingerprints.length > LONGEST_TEXT,
        "the same before and after translation": lambda one: one.same,
    }
    for what, marks in kinds.items():
        rows = [one.at([row]) for one in seen.values() for row in np.flatnonzero(marks(one))]
        if rows:
            yield Finding("warning", f"{rows_are(len(rows))} {what}", tuple(rows[:MOST_EXAMPLES]))


def _duplicates(train: _SplitRows) -> Iterator[Finding]:
    exact = train.fingerprints.exact
    if train.pairs:  # a text may have several translations
        exact = np.array([hash(pair) for pair in zip(exact.tolist(), train.labels, strict=True)])
    _, first, which, counts = np.unique(
        exact, return_index=True, return_inverse=True, return_counts=True
    )
    again = len(which) - len(counts)
    if again:
        groups = np.flatnonzero(counts > 1)
        groups = groups[np.argsort(first[groups])]
        yield Finding(
            "warning",
            f"{rows_of(again)} of train {'repeats' if again == 1 else 'repeat'} another one "
            f"({again / len(which):.2%})",
            tuple(train.at(np.flatnonzero(which == group)[:4]) for group in groups[:MOST_EXAMPLES]),
        )


def _in_two_splits(seen: Mapping[str, _SplitRows]) -> Iterator[Finding]:
    for some, others in _pairs_of_splits(seen):
        unique, first = np.unique(some.fingerprints.exact, return_index=True)
        if not len(unique):
            continue
        place = np.searchsorted(unique, others.fingerprints.exact).clip(max=len(unique) - 1)
        rows = np.flatnonzero(unique[place] == others.fingerprints.exact)
        pairs = [(int(first[place[row]]), int(row)) for row in rows]
        yield from _leak(some, others, pairs, "also in")


def _nearly_in_two_splits(seen: Mapping[str, _SplitRows]) -> Iterator[Finding]:
    for some, others in _pairs_of_splits(seen):
        texts = some.fingerprints.near.ndim == 1
        how = "equal but for case, spaces and punctuation to rows of" if texts else "nearly in"
        pairs = list(near_pairs(some.fingerprints, others.fingerprints))
        yield from _leak(some, others, pairs, how)


def _leak(
    some: _SplitRows, others: _SplitRows, pairs: list[tuple[int, int]], how: str
) -> Iterator[Finding]:
    if pairs:
        yield Finding(
            "warning",
            f"{rows_of(len(pairs))} of {others.role} {'is' if len(pairs) == 1 else 'are'} {how} "
            f"{some.role} ({len(pairs) / len(others.index):.2%})",
            tuple({**some.at([one]), **others.at([other])} for one, other in pairs[:MOST_EXAMPLES]),
        )


def _conflicts(seen: Mapping[str, _SplitRows]) -> Iterator[Finding]:
    """Yield equal inputs with different classes, over all splits; numbers and texts may differ."""
    if seen["train"].pairs:
        return
    labels = np.concatenate([one.labels for one in seen.values()])
    if labels.dtype.kind == "f":
        return
    exact = np.concatenate([one.fingerprints.exact for one in seen.values()])
    order = np.lexsort((labels, exact))
    same = exact[order][1:] == exact[order][:-1]
    differ = same & (labels[order][1:] != labels[order][:-1])
    inputs = exact[np.sort(order[1:][differ])]
    inputs = inputs[np.sort(np.unique(inputs, return_index=True)[1])]
    if not len(inputs):
        return
    examples = []
    for input_ in inputs[:MOST_EXAMPLES]:
        where = {r: np.flatnonzero(one.fingerprints.exact == input_)[:4] for r, one in seen.items()}
        examples.append(
            {role: seen[role].at(rows)[role] for role, rows in where.items() if len(rows)}
        )
    yield Finding(
        "warning",
        f"{len(inputs):,} input{'s have' if len(inputs) > 1 else ' has'} different labels in "
        f"different rows; at most one of them is right",
        tuple(examples),
    )


def _pairs_of_splits(seen: Mapping[str, _SplitRows]) -> list[tuple[_SplitRows, _SplitRows]]:
    train, validation, test = (seen[role] for role in ROLES)
    return [(train, validation), (train, test), (validation, test)]


def _has_classes(splits: Splits, seen: Mapping[str, _SplitRows]) -> bool:
    return bool(splits.label_names) and any(len(one.classes) for one in seen.values())


def untranslated(sources: list[str], targets: list[Any]) -> np.ndarray:
    """Return (N,) whether a text and its translation are the same."""
    pairs = zip(sources, targets, strict=True)
    return np.array([(text or "").strip() == (other or "").strip() for text, other in pairs], bool)
