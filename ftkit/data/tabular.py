"""Tables for the perceptron: columns of numbers, columns of words as 0 and 1 for each, and gaps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from typing import Any

import numpy as np
from datasets import Dataset, Features

from ftkit.data.columns import is_number, is_text
from ftkit.data.findings import first_few, rows_of
from ftkit.data.numbers import as_numbers, as_people_write, looks_like_number
from ftkit.errors import DataError
from ftkit.recipe import TabularClassification, TabularRegression

MOST_WORDS = 20
"""Different values of a column, above which they are no categories."""


@singledispatch
def with_words(asked: Any, task: Any, there: Features, train: Dataset) -> tuple[Any, list[str]]:
    """Return the task with what it has to know of the training rows, and which columns it leaves.

    Args:
        asked: the task before its columns were filled in.
        there: the columns that inputs can be.
    """
    used = {name for field in type(task).model_fields for name in _names(getattr(task, field))}
    left = [name for name in there if name not in used]
    shown = ", ".join(map(repr, left[:5])) + (", ..." if left[5:] else "")
    return task, [f"not used: column{'s' if left[1:] else ''} {shown}"] if left else []


@with_words.register(TabularClassification)
@with_words.register(TabularRegression)
def _(asked: Any, task: Any, there: Features, train: Dataset) -> tuple[Any, list[str]]:
    """Words become categories where they are few; what else is left is named with the reason."""
    texts = [name for name in there if is_text(there[name]) and name != task.label]
    if asked.columns is not None:
        texts = [name for name in texts if name in asked.columns]
    words, left = {}, {}
    for name in texts:
        found, why = _categories(train[name][:])
        if found and why is None:
            words[name] = found
        else:
            left[name] = why
    for name in there if asked.columns is None else asked.columns:
        if name != task.label and not is_text(there[name]) and not is_number(there[name]):
            kind = str(getattr(there[name], "dtype", type(there[name]).__name__))
            left[name] = "empty" if kind == "null" else kind
    if left and asked.columns is not None:
        name, why = next(iter(left.items()))
        raise DataError(f"column '{name}' cannot be an input: {why}")
    chosen = asked.columns or tuple(
        name for name in there if name in words or (name in task.columns and name not in left)
    )
    if not chosen:
        why = ", ".join(f"{name} ({reason})" for name, reason in left.items())
        raise DataError(
            f"the data has no column of numbers but '{task.label}', nor one of few words: {why}"
        )
    notes = [f"columns of words: {', '.join(f'{n} ({len(w)} values)' for n, w in words.items())}"]
    notes = notes if words else []
    gaps = {
        name: int(np.isnan(as_numbers(train, name, None)).sum())
        for name in chosen
        if name not in words
    }
    some = [f"{name} ({count:,})" for name, count in gaps.items() if count]
    if some:
        notes.append(f"gaps in training rows, where the mean stands in: {', '.join(some)}")
    unused = [f"{name} ({why})" for name, why in left.items()] if asked.columns is None else []
    if unused:
        notes.append(f"not used: {', '.join(unused)}")
    update = {"columns": chosen, "categories": words or asked.categories}
    return task.model_copy(update=update), notes


def unknown_words(task: Any, rows: Dataset, where: str = "") -> Iterator[str]:
    """Yield a note for each column with words that training did not have; all its inputs are 0.

    Args:
        task: with what it has to know of the training rows.
        where: stands before the note.
    """
    for name, words in getattr(task, "categories", {}).items():
        texts = (str(value).strip() for value in rows[name][:] if value is not None)
        strange = [text for text in texts if text and text not in words]
        if strange:
            hold = "holds" if len(strange) == 1 else "hold"
            yield (
                f"{where}{rows_of(len(strange))} {hold} a word in '{name}' that the training rows "
                f"lack ({first_few(sorted({*strange}))}), which is read as a gap"
            )


def _categories(values: list[Any]) -> tuple[tuple[str, ...], str | None]:
    """Return the different words of a column, and why they are none that can be learned from."""
    texts = [str(value).strip() for value in values if value is not None and str(value).strip()]
    found = tuple(sorted(set(texts)))
    if not texts:
        return (), "empty"
    numbers = sum(looks_like_number(text) or bool(as_people_write(text)) for text in texts)
    if numbers > len(texts) / 2:
        stripped = ((row, str(value or "").strip()) for row, value in enumerate(values))
        odd = ((row, text) for row, text in stripped if text and not looks_like_number(text))
        row, text = next(odd, (0, ""))
        if not text:
            return found, "numbers as text"
        return found, f"row {row} is {text[:40]!r}{as_people_write(text)}"
    if len(found) > MOST_WORDS or len(found) > len(texts) / 2:
        return found, f"words, {len(found):,} different ones"
    return found, None


def _names(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(name.partition(".")[0] for name in values if isinstance(name, str))
