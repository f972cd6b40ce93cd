"""Columns of a table as numbers: as they are, or 0 and 1 for each word that they may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from ftkit.errors import DataError


def as_numbers(rows: Dataset, name: str, words: tuple[str, ...] | None) -> np.ndarray:
    """Return (N, 1) the numbers of a column, NaN where there is none, or (N, words) of 0 and 1.

    Raises:
        DataError: it holds something else.
    """
    if words is not None:
        values = rows[name][:]
        texts = np.array(["" if value is None else str(value).strip() for value in values])
        return (texts[:, None] == np.array(words)[None]).astype(np.float64)
    column = rows.with_format("arrow")[name][:]
    try:
        return column.cast(pa.float64()).to_numpy()[:, None]
    except (pa.ArrowException, ValueError):
        values = column.to_pylist()
    try:
        return np.array([np.nan if v is None else float(v) for v in values], np.float64)[:, None]
    except (TypeError, ValueError):
        row = next(row for row, value in enumerate(values) if not looks_like_number(value))
        raise DataError(
            f"column '{name}', row {row}: expected a number, got {str(values[row])[:40]!r}"
        ) from None


def looks_like_number(value: Any) -> bool:
    """Return whether a value is a number, or a text that says one, or nothing."""
    try:
        float(value)
    except (TypeError, ValueError):
        return value is None
    return True
