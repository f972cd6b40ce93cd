"""Rows as people have them become the inputs of an exported file, in batches.

What a row is, `About.reads` says: an image is the name of a file, a mapping with its `bytes`, or
its pixels as RGB (H, W, 3) uint8; a text is a text, and a pair two of them; the words of a text are
a list; a row of a table is a mapping from column to number or word. Each reader gives batches of
inputs and the places of their rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.data.column_kinds import number_of
from ftkit.data.open_images import open_rgb
from ftkit.errors import DataError, ModelError
from ftkit.exported.about import About, Column
from ftkit.exported.engines import require
from ftkit.exported.ngrams import count_ngrams

Batch = tuple[list[int], dict[str, np.ndarray]]
"""The places of its rows, and the inputs by name."""
MOST_IMAGES, MOST_TEXTS, MOST_ROWS = 16, 32, 1024
"""Rows of one batch at most."""
MOST_TOKENS = 256
"""Tokens of one batch, fillers among them, unless one text has more. More at once are no faster on
a CPU, and short texts are filled up to longer ones: MiniLM took 16 ms for each of 32 texts of 3 to
27 tokens in one batch, and 8 ms in batches of eight (2 cores)."""
IMAGE, FEATURES = "image", "features"
"""The names of the inputs that are not tokens."""
UNSEEN = -1
"""The place of a word that no token stands for."""


def images(rows: Sequence[Any]) -> Iterator[Batch]:
    """Yield images (B, H, W, 3) uint8; those of one size that follow each other are one batch.

    Raises:
        BadImage: one cannot be read.
    """
    places: list[int] = []
    same: list[np.ndarray] = []
    for place, row in enumerate(rows):
        decoded = isinstance(row, np.ndarray)
        pixels = row if decoded else np.asarray(open_rgb(as_image(row)))
        if same and (same[0].shape != pixels.shape or len(same) == MOST_IMAGES):
            yield places, {IMAGE: np.stack(same)}
            places, same = [], []
        places.append(place)
        same.append(pixels)
    if same:
        yield places, {IMAGE: np.stack(same)}


def as_image(row: Any) -> Mapping[str, Any]:
    """Return a row as `ftkit.data.open_images` takes it: of a file's name or of its bytes."""
    if isinstance(row, (str, os.PathLike)):
        return {"bytes": None, "path": os.fspath(row)}
    if isinstance(row, (bytes, bytearray)):
        return {"bytes": bytes(row), "path": None}
    return row


class Tokens:
    """Texts, pairs or lists of words as tokens, by the tokenizer.json beside the file.

    In the layout of transformers.js it lies one folder higher, in the export's own.
    """

    def __init__(self, about: About, folder: Path) -> None:
        """Read the tokenizer.

        Raises:
            MachineError: the package is missing.
            ModelError: the file is gone or damaged.
        """
        require("tokenizers")
        from tokenizers import Tokenizer

        self.about, file = about, folder / "tokenizer.json"
        if not file.is_file() and folder.name == "onnx":
            file = folder.parent / "tokenizer.json"
        if not file.is_file():
            raise ModelError(f"{file} is gone: the exported file needs it beside it")
        self.file = file
        """The tokenizer.json, for whoever needs another tokenizer of it."""
        try:
            self.tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # its errors are of no other class
            raise ModelError(f"{file} cannot be read: {error}") from None

    def __call__(self, rows: Sequence[Any]) -> Iterator[Batch]:
        """Yield token ids and masks (B, T) int64, texts of similar length together."""
        yield from self.batches(self.encode(rows))

    def batches(self, encoded: Sequence[Any]) -> Iterator[Batch]:
        """Yield the same of rows that `encode` has read."""
        longest_first = sorted(range(len(encoded)), key=lambda row: -_length(encoded[row]))
        while longest_first:
            longest = _length(encoded[longest_first[0]])
            most = min(MOST_TEXTS, max(1, MOST_TOKENS // max(1, longest)))
            places, longest_first = longest_first[:most], longest_first[most:]
            yield places, self.inputs([encoded[place] for place in places])

    def encode(self, rows: Sequence[Any]) -> list[Any]:
        """Return what the tokenizer makes of each row by itself, cut to `About.max_tokens`."""
        self.tokenizer.no_padding()
        words = self.about.reads == "words"
        given = [list(row) if words else tuple(row) if self.about.pair else row for row in rows]
        return self.tokenizer.encode_batch(given, is_pretokenized=words)

    def inputs(self, encoded: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return the inputs of one batch, all as long as its longest row."""
        longest = max(map(_length, encoded))
        pad = self.about.padding
        kinds = {
            "input_ids": ("ids", pad["pad_id"]),
            "attention_mask": ("attention_mask", 0),
            "token_type_ids": ("type_ids", pad["pad_type_id"]),
        }
        found = {}
        for name in self.about.tokens:
            attribute, filler = kinds[name]
            rows = np.full((len(encoded), longest), filler, np.int64)
            for row, one in enumerate(encoded):
                values = getattr(one, attribute)
                where = (
                    slice(0, len(values)) if pad["right"] else slice(longest - len(values), None)
                )
                rows[row, where] = values
            found[name] = rows
        return found

    def places_of_words(self, words: Sequence[str], encoded: Any) -> np.ndarray:
        """Return (W,) where the first token of each word stands, or UNSEEN."""
        found = np.full(len(words), UNSEEN)
        for place, word in reversed(list(enumerate(encoded.word_ids))):
            if word is not None:
                found[word] = place
        return found


def _length(encoded: Any) -> int:
    return len(encoded.ids)


def table(about: About, rows: Sequence[Mapping[str, Any]]) -> Iterator[Batch]:
    """Yield (B, D) float64: the number of each column, or the place of its word.

    Raises:
        DataError: a column is missing, or holds no number.
    """
    for start in range(0, len(rows), MOST_ROWS):
        places = list(range(start, min(start + MOST_ROWS, len(rows))))
        values = [
            [cell(column, rows[place], place) for column in about.columns] for place in places
        ]
        yield places, {FEATURES: np.array(values, np.float64)}


def cell(column: Column, row: Mapping[str, Any], place: int = 0) -> float:
    """Return what stands for one cell among the inputs.

    Raises:
        DataError: the row has no such column, or no number in it.
    """
    if column.name not in row:
        there = ", ".join(map(str, row))
        raise DataError(f"row {place} has no column '{column.name}'; columns are {there}")
    value = row[column.name]
    if column.words:
        word = "" if value is None else str(value).strip()
        return float(column.words.index(word)) if word in column.words else -1.0
    try:
        return number_of(value)
    except (TypeError, ValueError):
        raise DataError(
            f"row {place}, column '{column.name}': expected a number, got {value!r}"
        ) from None


def ngrams(about: About, rows: Sequence[str]) -> Iterator[Batch]:
    """Yield (B, buckets) float32 counts of n-grams."""
    assert about.ngrams is not None
    for start in range(0, len(rows), MOST_ROWS):
        places = list(range(start, min(start + MOST_ROWS, len(rows))))
        yield places, {FEATURES: count_ngrams([rows[place] for place in places], about.ngrams)}


def reader_of(about: About, folder: Path) -> Callable[[Sequence[Any]], Iterator[Batch]]:
    """Return what makes batches of rows.

    Args:
        folder: where the exported file lies.

    Raises:
        ModelError: a file that must lie beside it is gone.
    """
    if about.reads in ("text", "words"):
        return Tokens(about, folder)
    if about.reads == "images":
        return images
    if about.reads == "table":
        return lambda rows: table(about, rows)
    return lambda rows: ngrams(about, rows)
