"""Labels that are lists: the classes of a tagged text, and the tag of each word of a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value

from ftkit.data.columns import is_text
from ftkit.data.labels import ordered_names, plain_name, refuse_unknown
from ftkit.data.sources import TEXT
from ftkit.data.splits import objects
from ftkit.data.usual_columns import LABEL_NAMES, usually_named
from ftkit.errors import DataError

TOKEN_NAMES = ("tokens", "words")
BETWEEN = (";", "|", ",", " / ", "/", "+", "&", " ")
"""What may separate the classes in one text, as in good;long."""
TAG_NAMES = ("ner_tags", "tags", "pos_tags", "chunk_tags", *LABEL_NAMES)


def list_candidates(features: Features, usual: tuple[str, ...]) -> list[str]:
    """Return the columns of lists that may be meant; one alone, if one names its classes."""
    found = [name for name, kind in features.items() if isinstance(kind, List)]
    classes = [name for name in found if isinstance(features[name].feature, ClassLabel)]
    if len(classes) == 1:
        return classes
    return found if len(found) == 1 else usually_named(usual, features) or found


def holds_words(kind: Any) -> bool:
    """Return whether a column holds lists of words."""
    inner = getattr(kind, "feature", None)
    return isinstance(kind, List) and isinstance(inner, Value) and inner.dtype in TEXT


def name_lists(
    splits: Mapping[str, Dataset], column: str, strict: bool = True, between: str | None = None
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return the class names and, for each split, the list of class numbers of each row.

    As `ftkit.data.labels.name_labels`, for lists: names come from the training split, an empty list
    is a row without any class, None one whose label is not known.

    Args:
        between: what stands between the classes of a row whose label is one text.

    Raises:
        DataError: fewer than two classes, lists of something else, or a class that another split
            has and the training rows lack.
    """
    text = {split: _class_names(rows, column, split, between) for split, rows in splits.items()}
    present = {name for row in text["train"] for name in row or ()}
    if len(present) < 2:
        raise DataError(
            f"column '{column}': the training rows have {len(present)} class"
            f"{'' if len(present) != 1 else f' ({present.pop()})'}; two or more are needed"
        )
    names = ordered_names(getattr(splits["train"].features[column], "feature", None), present)
    for split, rows in text.items():
        unknown = sorted({name for row in rows for name in row or ()} - {*present, *names})
        if unknown and not strict:
            names = (*names, *unknown)
        elif unknown:
            row = next(n for n, labels in enumerate(rows) if {*unknown} & {*(labels or ())})
            refuse_unknown(split, unknown, names, row)
    number = {name: position for position, name in enumerate(names)}
    return names, {
        split: objects([None if row is None else [number[n] for n in row] for row in rows])
        for split, rows in text.items()
    }


def _class_names(
    rows: Dataset, column: str, split: str, between: str | None
) -> list[list[str] | None]:
    """Return the names of each row's classes; None when all are hidden, as -1."""
    classes: Any = getattr(rows.features[column], "feature", None)
    known = isinstance(classes, ClassLabel)
    found: list[list[str] | None] = []
    kinds: dict[str, int] = {}
    labels: list[Any] = rows[column][:]
    if between is not None and is_text(rows.features[column]) and any(labels):
        labels = [classes_in(label or "", between) for label in labels]  # no text: none of them
    for row, values in enumerate(labels):
        where = f"column '{column}', split '{split}', row {row}"
        if isinstance(rows.features[column], ClassLabel):
            raise DataError(
                f"{where}: expected a list of classes, got one class; where each row has one, use "
                "image-classification or text-classification"
            )
        if values is not None and not isinstance(values, list):
            said = separator_in(label for label in labels if isinstance(label, str)) or ";"
            raise DataError(
                f"{where}: expected a list of classes, got {values!r}; where one text holds all of "
                f"them, say what stands between: --set 'task.separator={said}'"
            )
        if known and values and all(value in (None, -1) for value in values):
            values = None
        for value in values or ():
            hidden = value is None or value == "" or (known and value < 0)
            if hidden or not isinstance(value, (str, bool, int)):
                raise DataError(f"{where}: {value!r} is no class; give names or whole numbers")
            kinds.setdefault("text" if isinstance(value, str) else "numbers", row)
        if len(kinds) > 1:
            (kind, first), (other, _) = sorted(kinds.items(), key=lambda seen: seen[1])
            raise DataError(
                f"{where}: {values} holds {other}, where row {first} has {kind}; write all labels "
                f"in one way"
            )
        texts = [classes.int2str(v) if known else plain_name(str(v)) for v in values or ()]
        found.append(None if values is None else texts)
    return found


def read_marks(rows: Dataset, column: str, split: str) -> list[bool | None]:
    """Return whether each row has the class; None when the row does not say so."""
    values = rows[column][:]
    for row, value in enumerate(values):
        if value is not None and (isinstance(value, str) or value not in (0, 1)):
            raise DataError(
                f"column '{column}', split '{split}', row {row}: expected 0 or 1, got {value!r}"
            )
    return [None if value is None else bool(value) for value in values]


def separator_in(labels: Iterable[str | None]) -> str | None:
    """Return what separates classes when some labels hold several; None when no label does.

    That is so where most parts of such labels stand alone, or in others of them, too.
    """
    there = {label for label in labels if label}
    for between in BETWEEN:
        several = {label for label in there if between in label}
        alone = there - several
        parts = Counter(part.strip() for label in several for part in label.split(between))
        again = sum(n for part, n in parts.items() if n > 1 or part in alone)
        if several and all(parts) and again > 0.8 * parts.total() and alone & {*parts}:
            return between.strip() or between
    return None


def classes_in(label: str, between: str) -> list[str]:
    """Return the classes in one text in their order, each once."""
    return list(dict.fromkeys(part for part in map(str.strip, label.split(between)) if part))
