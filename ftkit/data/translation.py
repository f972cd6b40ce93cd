"""Pairs of texts: which columns hold a text and its translation, plain or nested by language."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from datasets import Dataset, Features

from ftkit.data.columns import (
    fields,
    input_columns,
    inputs_of,
    is_text,
    label_columns,
    pick,
    resolve_columns,
)
from ftkit.data.labels import read_labels
from ftkit.errors import DataError, nearest
from ftkit.recipe import Translation

NESTED = "translation"
"""The column {code: text} of translation data sets on the Hub."""
OTHER = {"source": "target", "target": "source"}


@resolve_columns.register
def _(task: Translation, features: Features) -> Translation:
    """A language's code stands for that field of the column `translation`.

    Guessed are columns called source and target, and of two languages the one that is left. Which
    of two languages is the source, nobody can know.
    """
    found = {role: _column_of(role, task, features) for role in OTHER}
    if found["source"] == found["target"]:
        raise DataError(
            f"source and target are both '{found['source']}'; give the column of each with "
            f"--set task.source=COLUMN --set task.target=COLUMN"
        )
    return task.model_copy(update=found)


def _column_of(role: str, task: Translation, features: Features) -> str:
    """Return the column that plays the role; `translation.de` for the language de."""
    languages = {code: f"{NESTED}.{code}" for code in fields(features.get(NESTED))}
    asked, other = getattr(task, role), getattr(task, OTHER[role])
    if asked in languages:
        return languages[asked]
    if asked in languages.values():
        return cast(str, asked)
    if asked is None and other in languages and len(languages) == 2:
        return next(column for code, column in languages.items() if code != other)
    if languages and asked not in features:
        raise DataError(
            (f"the data has no language '{asked}'" if asked else f"which language is the {role}?")
            + f"{nearest(asked or '', languages)} Column '{NESTED}' has {', '.join(languages)}. "
            f"Use --set task.source=CODE --set task.target=CODE"
        )
    column = pick(role, asked, [role] if role in features else [], features)
    if not is_text(features[column]):
        raise DataError(f"column '{column}' holds {features[column]}, not texts")
    return column


@input_columns.register
def _(task: Translation) -> tuple[str, ...]:
    return (cast(str, task.source),)


@label_columns.register
def _(task: Translation) -> tuple[str, ...]:
    return (cast(str, task.target),)


@inputs_of.register
def _(task: Translation, rows: Dataset, folder: Path | None) -> Dataset:
    return _texts(rows, cast(str, task.source)).rename_columns({cast(str, task.source): "source"})


@read_labels.register
def _(
    task: Translation, splits: Mapping[str, Dataset], strict: bool = True
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return no names, and for each split its translations; a hidden one is None."""
    found = {}
    for split, rows in splits.items():
        column = cast(str, task.target)
        texts = _texts(rows, column)[column][:]
        hidden = split != "train" and not any(texts)
        labels = np.empty(len(texts), object)
        labels[:] = [None if hidden else text or "" for text in texts]
        found[split] = labels
    return (), found


def _texts(rows: Dataset, column: str) -> Dataset:
    """Return the rows with that column alone, which may be a field of another."""
    if column not in rows.column_names:
        rows = rows.select_columns([column.partition(".")[0]]).flatten()
    return rows.select_columns([column])


def untranslated(sources: list[str], targets: list[Any]) -> np.ndarray:
    """Return (N,) whether a text and its translation are the same."""
    pairs = zip(sources, targets, strict=True)
    return np.array([(text or "").strip() == (other or "").strip() for text, other in pairs], bool)
