"""Columns of words in a table, each of whose words is an input of 0 or 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from datasets import Dataset

from ftkit.data.findings import first_few, rows_of
from ftkit.data.numeric_columns import as_people_write, looks_like_number

MOST_WORDS = 20
"""Different values of a column, above which they are no categories."""


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


def categories_of(values: list[Any]) -> tuple[tuple[str, ...], str | None]:
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
