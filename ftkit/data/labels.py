"""Labels: one list of class names that all splits agree on, or the numbers of a regression."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from ftkit.data.column_kinds import TRUTH
from ftkit.data.encoders import is_constant
from ftkit.data.findings import rows_of
from ftkit.data.table_columns import advice_on_number, looks_like_number, numbers_of
from ftkit.errors import DataError, nearest
from ftkit.errors.names import first_few
from ftkit.recipe import Data

ROUNDING_SHARE = float(np.finfo(np.float32).eps) / 2
"""The largest share of a number by which float32 rounds it."""
UNBROKEN = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.0+)?")
MOST_ODD = 0.1
"""Labels of which a larger share are no numbers are not called numbers with exceptions."""
COARSEST = 3e-2
"""Rounding errors may be at most this share of the labels' deviation. Their variance is a third of
its square, 3e-4, so R2 loses that much at most."""


def read_numbers(splits: Mapping[str, Dataset], column: str) -> dict[str, np.ndarray]:
    """Return for each split the numbers to be told; NaN for a row without one.

    Of a column of classes, as folders called 10 and 20 make one, the names are the numbers: how the
    classes are counted says nothing.

    Raises:
        DataError: a label is no number, or float32, in which models answer, cannot tell it.
    """
    found = {}
    for split, rows in splits.items():
        values: list[Any] = rows[column][:]
        if isinstance(rows.features[column], ClassLabel):
            values = _as_text(rows, column, split)
        found[split] = numbers_of(values, f"column '{column}', split '{split}'")
        _require_size(column, split, found[split])
    if "train" in found:
        _require_digits(column, found["train"])
    return found


def _require_size(column: str, split: str, numbers: np.ndarray) -> None:
    large = np.flatnonzero(np.isfinite(numbers) & (np.abs(numbers) > np.finfo(np.float32).max))
    if len(large):
        raise DataError(
            f"column '{column}', split '{split}', row {large[0]}: {numbers[large[0]]:g} is beyond "
            f"what a model can answer, 3.4e38; divide the column first, or take its logarithm"
        )


def _require_digits(column: str, numbers: np.ndarray) -> None:
    """Refuse training labels whose differences are lost in float32, in which a model answers."""
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers) or is_constant(numbers[:, None])[0]:
        return
    mean, deviation = float(numbers.mean()), float(numbers.std())
    if abs(mean) * ROUNDING_SHARE > COARSEST * deviation:
        raise DataError(
            f"column '{column}': its numbers are about {mean:.6g} with a deviation of "
            f"{deviation:.2g}, and a model answers with 7 digits; "
            f"{'subtract' if mean > 0 else 'add'} about {abs(mean):.10g} "
            f"{'from' if mean > 0 else 'to'} the column first"
        )


def is_labelled(labels: np.ndarray) -> np.ndarray:
    """Return (N,) whether each row has a label. None is no label in lists and texts."""
    if labels.dtype.kind == "O":
        return np.array([label is not None for label in labels], bool)
    return np.isfinite(labels) if labels.dtype.kind == "f" else labels >= 0


def labelled_rows(
    data: Data, source: dict[str, Dataset], roles: dict[str, str], labels: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return which rows have a label, by role, and notes; a test split without any is dropped."""
    known, notes = {}, []
    for role, name in list(roles.items()):
        known[role] = np.flatnonzero(is_labelled(labels[role]))
        unlabelled = len(source[name]) - len(known[role])
        if role == "test" and not len(known[role]):
            notes.append("the test split has no labels and is not used; ftkit predict answers it")
            del known["test"], roles["test"]
        elif unlabelled:
            first = int(np.flatnonzero(~is_labelled(labels[role]))[0])
            have = "has" if unlabelled == 1 else "have"
            problem = f"split '{name}': {rows_of(unlabelled)} {have} no label, the first is {first}"
            if data.on_bad_row == "error" and role != "test":
                raise DataError(f"{problem}; leave them out with --set data.on_bad_row=skip")
            notes.append(f"left out: {problem}")
    return known, notes


def name_labels(
    splits: Mapping[str, Dataset],
    column: str,
    strict: bool = True,
    measure: str = "",
    several: str = "",
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return the class names and, for each split, the class number of each row (-1 where none).

    Names come from the training split: a ClassLabel's own names and order, numbers in numeric
    order, text in alphabetical order. Other splits are matched by name, never by number. Spaces
    around a name, and whether its accents are composed, make no other class.

    Args:
        strict: refuse a class that another split has and the training rows lack; else such classes
            stand after the others, for `ftkit.data.inspect` to name.
        measure: what takes numbers that are measures, to be told where labels are such.
        several: what takes several classes a row, to be told where labels are lists.

    Raises:
        DataError: fewer than two classes, labels that are no classes, or a class that another split
            has and the training rows lack.
    """
    text: Mapping[str, list[str | None]]
    text = {name: _as_text(rows, column, name, measure, several) for name, rows in splits.items()}
    own = getattr(splits["train"].features[column], "names", ())
    same = plain_name if len(set(map(plain_name, own))) == len(own) else str
    text = {
        split: [None if label is None else same(label) or None for label in labels]
        for split, labels in text.items()
    }
    present = {label for label in text["train"] if label is not None}
    if "-1" not in present:  # the usual sign of a hidden label
        text = {k: [None if label == "-1" else label for label in v] for k, v in text.items()}
    text = _spelled_as_in_training(text)
    present = {label for label in text["train"] if label is not None}
    if len(present) < 2:
        raise DataError(
            f"column '{column}': the training rows have {len(present)} class"
            f"{'' if len(present) != 1 else f' ({present.pop()})'}; a classifier needs two or more"
        )
    if len(present) > 20 and len(present) > len(text["train"]) / 2:
        odd = [n for n in present if not (looks_like_number(n) or advice_on_number(n))]
        said = f"{measure}, or " if measure and len(odd) <= MOST_ODD * len(present) else ""
        if said and odd:
            row = next(row for row, label in enumerate(text["train"]) if label in odd)
            said = f"all but {len(odd)} are numbers (row {row} has {text['train'][row]!r}); {said}"
        raise DataError(
            f"column '{column}': {len(present)} different values in {len(text['train'])} training "
            f"rows cannot be classes; {said}name the right column with --set task.label=COLUMN"
        )
    names = ordered_names(splits["train"].features[column], present)
    number = {same(name): position for position, name in enumerate(names)}
    for split, labels in text.items():
        unknown = sorted({label for label in labels if label is not None} - {*present, *number})
        lacking = sorted({label for label in labels if label is not None} - present)
        if lacking and strict:
            row = next(row for row, label in enumerate(labels) if label in lacking)
            refuse_unknown(split, lacking, names, row)
        names = (*names, *unknown)
        number |= {name: len(number) + place for place, name in enumerate(unknown)}
    return names, {
        split: np.array([-1 if label is None else number[label] for label in labels], dtype=int)
        for split, labels in text.items()
    }


def plain_name(name: str) -> str:
    """Return a class name without spaces around it, its accents composed (NFC)."""
    return unicodedata.normalize("NFC", name.strip())


def _spelled_as_in_training(text: Mapping[str, list[str | None]]) -> Mapping[str, list[str | None]]:
    """Return labels as training spells them, if all of its are true or false, or whole.

    A gap makes 1.0 of 1 in one file, and one program writes True where another writes true.
    """
    in_training = {label for label in text["train"] if label is not None}
    for pattern, value in ((TRUTH, str.lower), (UNBROKEN, float)):
        if in_training and all(pattern.fullmatch(label) for label in in_training):
            order = sorted(in_training, key=lambda label: (len(label), label), reverse=True)
            spelled = {value(label): label for label in order}  # the shortest is last, and stays
            there = {label for labels in text.values() for label in labels if label is not None}
            alike = {n: spelled.get(value(n), n) for n in there if pattern.fullmatch(n)}
            return {
                split: [label and alike.get(label, label) for label in labels]
                for split, labels in text.items()
            }
    return text


def refuse_unknown(split: str, unknown: list[str], names: tuple[str, ...], row: int) -> None:
    """Refuse classes of a split that the training rows lack; the first of them is in that row."""
    hint = nearest(unknown[0], names) if len(unknown) == 1 else ""
    raise DataError(
        f"split '{split}' has {len(unknown)} class{'es' if len(unknown) > 1 else ''} that the "
        f"training rows lack: {', '.join(map(quoted_name, unknown[:5]))} (row {row}); the "
        f"classes in training are {first_few([*map(quoted_name, names)], 10)}{hint}"
    )


def quoted_name(name: str) -> str:
    """Return a name for a message, in quotes when its ends could not be seen."""
    return name if name and name == plain_name(name) and "," not in name else repr(name)


def class_numbers(labels: np.ndarray) -> np.ndarray:
    """Return the different class numbers that occur in labels (N,), or in lists of them."""
    if labels.dtype.kind != "O":
        return np.unique(labels[is_labelled(labels)])
    return np.unique(np.array([n for row in labels if row is not None for n in row], int))


def ordered_names(feature: Any, present: set[str]) -> tuple[str, ...]:
    """Return the class names: a ClassLabel's own order, numbers by size, texts by the alphabet."""
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    if all(re.fullmatch(r"-?[0-9]+", name) for name in present):
        return tuple(sorted(present, key=lambda name: (Decimal(name), name)))
    return tuple(sorted(present))


def _as_text(
    rows: Dataset, column: str, split: str, measure: str = "", several: str = ""
) -> list[str | None]:
    """Return the name of each row's class; None for a row without a label."""
    feature = rows.features[column]
    values: list[Any] = rows[column][:]
    if isinstance(feature, ClassLabel):
        return [None if value is None or value < 0 else feature.int2str(value) for value in values]
    texts: list[str | None] = []
    kinds: dict[str, int] = {}
    for row, value in enumerate(values):
        if value is None or value == "" or value != value:  # the last one is NaN
            texts.append(None)
        elif isinstance(value, float) and not value.is_integer():
            raise DataError(
                f"column '{column}', split '{split}', row {row}: {value} is a measure, not a "
                f"class; {measure or 'name another column'}, or let each value be a class with "
                f"--set data.as_text={column}"
            )
        elif isinstance(value, (str, bool, int, float)):
            texts.append(str(int(value)) if isinstance(value, float) else str(value))
            kinds.setdefault("text" if isinstance(value, str) else "numbers", row)
        else:
            advice = f"; {several}" if isinstance(value, list) and several else ""
            raise DataError(
                f"column '{column}', split '{split}', row {row}: expected one class, got "
                f"{type(value).__name__}{advice}"
            )
    if len(kinds) > 1:
        (kind, first), (other, row) = sorted(kinds.items(), key=lambda found: found[1])
        raise DataError(
            f"column '{column}', split '{split}', row {row}: {values[row]!r} is {other}, where row "
            f"{first} has {kind} ({values[first]!r}); write all labels in one way"
        )
    return texts
