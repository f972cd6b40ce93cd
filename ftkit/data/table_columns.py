"""Columns of a table as numbers: as they are, or 0 and 1 for each word that they may hold.

A column of words is one of categories, each of which is an input. A column of few whole numbers may
be one too (days of a week, squares of a board), so each of them is an input beside the number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from ftkit.data.column_kinds import COMMA, number_of
from ftkit.data.findings import rows_of
from ftkit.errors import DataError
from ftkit.errors.names import first_few

THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}([.,' \u00a0\u202f][0-9]{3})+([.,][0-9]+)?")
"""A number with signs between its thousands."""
MOST_WORDS = 20
"""A column with more different words, or whole numbers, holds no categories."""
FEWEST_LEVELS = 4
"""A column with fewer different whole numbers loses nothing by being read as numbers alone: two are
one input in any case, and three mostly an order."""
ROWS_OF_LEVEL = 5
"""So many rows for each different whole number, in the mean, or nothing can be learned of it."""


def words_as_numbers(rows: Dataset, name: str, words: tuple[str, ...]) -> np.ndarray:
    """Return (N, words) of 0 and 1: which word of a column each row has."""
    values = rows[name][:]
    texts = np.array(["" if value is None else str(value).strip() for value in values])
    return (texts[:, None] == np.array(words)[None]).astype(np.float64)


def as_numbers(
    rows: Dataset, name: str, levels: tuple[int, ...] = (), gaps: bool = False
) -> np.ndarray:
    """Return (N, 1 + levels + gaps) the numbers of a column, NaN where there is none, and 0 and 1.

    Args:
        levels: whole numbers of which each has a column of 0 and 1.
        gaps: add a column that is 1 where there is no number.

    Raises:
        DataError: it holds something else.
    """
    column = rows.with_format("arrow")[name][:]
    try:
        values = column.cast(pa.float64()).to_numpy()
    except (pa.ArrowException, ValueError):
        values = numbers_of(column.to_pylist(), f"column '{name}'")
    parts = [values[:, None], values[:, None] == np.array(levels)[None]]
    parts += [np.isnan(values)[:, None]] if gaps else []
    return np.concatenate(parts, axis=1, dtype=np.float64)


def levels_of(values: np.ndarray) -> tuple[int, ...]:
    """Return the different numbers of a column where they are few whole ones, else none.

    Args:
        values: (N,) NaN where there is none.
    """
    there = values[~np.isnan(values)]
    found = np.unique(there)
    few = FEWEST_LEVELS <= len(found) <= min(MOST_WORDS, len(there) / ROWS_OF_LEVEL)
    whole = few and np.isfinite(found).all() and (found == np.round(found)).all()
    return tuple(int(value) for value in found) if whole else ()


def numbers_of(values: Sequence[Any], where: str) -> np.ndarray:
    """Return (N,) the numbers that values are, NaN for gaps.

    Args:
        where: names the column in a message.

    Raises:
        DataError: a value is no number.
    """
    try:
        return np.array([number_of(value) for value in values], np.float64)
    except (TypeError, ValueError):
        row = next(row for row, value in enumerate(values) if not _reads_as_number(value))
        value = values[row][:40] if isinstance(values[row], str) else values[row]
        advice = advice_on_number(values[row])
        raise DataError(f"{where}, row {row}: expected a number, got {value!r}{advice}") from None


def _reads_as_number(value: Any) -> bool:
    """Return whether a value is a number, a text that says one, or a gap."""
    try:
        number_of(value)
    except (TypeError, ValueError):
        return False
    return True


def advice_on_number(value: Any) -> str:
    """Return what to do about a text that people write for a number, to end a message; or ""."""
    text = value.strip() if isinstance(value, str) else ""
    ways = []
    if THOUSANDS.fullmatch(text):
        ways.append("write it without signs between the thousands")
    if "," in text and COMMA.fullmatch(text):
        ways.append("where a comma stands before the fraction: --set data.decimal=,")
    return f"; {', or '.join(ways)}" if ways else ""


def looks_like_number(text: str) -> bool:
    """Return whether a text says a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def unknown_words(
    categories: Mapping[str, tuple[str, ...]], rows: Dataset, where: str = ""
) -> Iterator[str]:
    """Yield a note for each column with words that training did not have; all its inputs are 0.

    Args:
        categories: of each column of words those that training has.
        where: stands before the note.
    """
    for name, words in categories.items():
        texts = (str(value).strip() for value in rows[name][:] if value is not None)
        strange = [text for text in texts if text and text not in words]
        if strange:
            hold = "holds" if len(strange) == 1 else "hold"
            yield (
                f"{where}{rows_of(len(strange))} {hold} a word in '{name}' that the training rows "
                f"lack ({first_few(sorted({*strange}))}), which is read as a gap"
            )


def unknown_levels(
    name: str, values: np.ndarray, levels: tuple[int, ...], where: str = ""
) -> Iterator[str]:
    """Yield a note where a column that is read as categories too has numbers that training lacks.

    Args:
        values: (N,) of the column.
        levels: what training has; empty where the column is read as numbers alone.
        where: stands before the note.
    """
    strange = values[~np.isnan(values) & ~np.isin(values, levels)] if levels else values[:0]
    if len(strange):
        hold = "holds" if len(strange) == 1 else "hold"
        told = first_few([f"{value:g}" for value in np.unique(strange)])
        said = f"{where}{rows_of(len(strange))} {hold} a number in '{name}'"
        yield f"{said} that the training rows lack ({told})"


def categories_of(values: list[Any]) -> tuple[tuple[str, ...], str | None]:
    """Return the different words of a column, and why nothing can be learned from them, if so."""
    texts = [str(value).strip() for value in values if value is not None and str(value).strip()]
    found = tuple(sorted(set(texts)))
    if not texts:
        return (), "empty"
    numbers = sum(looks_like_number(text) or bool(advice_on_number(text)) for text in texts)
    if numbers > len(texts) / 2:
        stripped = ((row, str(value or "").strip()) for row, value in enumerate(values))
        odd = ((row, text) for row, text in stripped if text and not looks_like_number(text))
        row, text = next(odd, (0, ""))
        if not text:
            return found, "numbers as text"
        return found, f"row {row} is {text[:40]!r}{advice_on_number(text)}"
    if len(found) > MOST_WORDS or len(found) > len(texts) / 2:
        return found, f"words, {len(found):,} different ones"
    return found, None
