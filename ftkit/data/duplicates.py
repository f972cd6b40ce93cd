"""Copies: rows with equal inputs, told without decoding an image, and the groups they make."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, List, Value, concatenate_datasets

WORDS = re.compile(r"[^\W_]+")
ASCII_TO_WORDS = bytes(
    ord(chr(n).lower()) if chr(n).isalnum() and n < 128 else 32 for n in range(256)
)
"""A table for `bytes.translate`: letters become small, digits stay, every other sign becomes a
space."""
MOST_BYTES = 5e9
"""Images of equal size are not compared when they have more bytes together; reading them may take a
minute."""
FEWEST_DIFFERENT = 10
"""Equal rows are copies only where there are so many different rows, and at most so many rows for
each of them. Rows of three columns with two values each are no copies, nor are the texts yes and
no."""


def number_copies(*splits: Dataset) -> tuple[np.ndarray | None, str]:
    """Return (N,) int, equal for rows with equal inputs; or None, and why there are no numbers.

    N counts the rows of all splits, one split after the other.

    Texts are equal that differ in case, spaces, punctuation or Unicode's variant forms alone, and
    images of which every byte is equal. Nearly equal images are not looked for, which would need
    each of them decoded; `ftkit check` does it. Where there are few different rows, equal ones are
    no copies.

    Args:
        splits: as `ftkit.data.columns.canonical` gives them.
    """
    rows = _inputs_of(splits)
    found, why = _numbers(rows)
    if found is None:
        return None, why
    different = int(found.max(initial=-1)) + 1
    if different < len(rows) and (
        different < FEWEST_DIFFERENT or len(rows) > FEWEST_DIFFERENT * different
    ):
        return None, f"only {different} of {len(rows):,} are different"
    return found, ""


def inputs_alone(rows: Dataset) -> Dataset:
    """Return the rows without their labels and their numbers in the source."""
    return rows.remove_columns([name for name in ("label", "index") if name in rows.column_names])


def _inputs_of(splits: Sequence[Dataset]) -> Dataset:
    """Return the inputs of all splits as one table, in the types that the first one has."""
    first, *others = map(inputs_alone, splits)
    same = [o if o.features == first.features else o.cast(first.features) for o in others]
    return concatenate_datasets([first, *same]) if same else first


def _numbers(rows: Dataset) -> tuple[np.ndarray | None, str]:
    if rows.column_names == ["image"]:
        return _of_images(rows)
    inputs = (normalised(one) or one if isinstance(one, str) else one for one in contents(rows))
    return numbered(map(hash, inputs)), ""


def contents(rows: Dataset) -> Iterator[str | bytes]:
    """Return what each row without an image holds: its texts as one, or else its values as bytes.

    Args:
        rows: of inputs alone.
    """
    columns = [rows[name][:] for name in rows.column_names]
    if all(_holds_text(kind) for kind in rows.features.values()):
        return ("\n".join(map(_as_text, row)) for row in zip(*columns, strict=True))
    if rows.column_names == ["features"]:
        values = np.asarray(columns[0], np.float64) + 0.0  # -0 is 0
        return (row.tobytes() for row in values)
    return (repr(row).encode("utf-8", "surrogatepass") for row in zip(*columns, strict=True))


def numbered(values: Iterable[Hashable]) -> np.ndarray:
    """Return (N,) int64: equal numbers for equal values, in the order in which they first come."""
    seen: dict[Hashable, int] = {}
    return np.fromiter((seen.setdefault(value, len(seen)) for value in values), np.int64)


def normalised(text: str) -> str:
    """Return the words of a text, without case, punctuation and Unicode's variant forms."""
    if text.isascii():  # the same in a fifth of the time
        return b" ".join(text.encode().translate(ASCII_TO_WORDS).split()).decode()
    return " ".join(WORDS.findall(unicodedata.normalize("NFKC", text).casefold()))


def _as_text(value: str | list[str] | None) -> str:
    """Return a text, or words as one."""
    return " ".join(word or "" for word in value) if isinstance(value, list) else value or ""


def _holds_text(kind: Any) -> bool:
    """Return whether a column holds texts, or lists of words."""
    kind = kind.feature if isinstance(kind, List) else kind
    return isinstance(kind, Value) and kind.dtype in ("string", "large_string")


def _of_images(rows: Dataset) -> tuple[np.ndarray | None, str]:
    """Compare the bytes of those images that have as many bytes as another one."""
    column = rows.with_format("arrow")["image"][:]
    content = pc.struct_field(column, "bytes")
    lengths = pc.binary_length(content).to_pylist()
    paths = pc.struct_field(column, "path").to_pylist()
    sizes = np.array(
        [_size(path) if n is None else n for n, path in zip(lengths, paths, strict=True)]
    )
    _, which, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    alike = (counts[which] > 1) & (sizes >= 0)
    if sizes[alike].sum() > MOST_BYTES:
        return None, f"{alike.sum():,} images of {sizes[alike].sum() / 1e9:,.0f} GB may be copies"

    def key(row: int) -> Hashable:
        if not alike[row]:
            return -row, None  # its own
        if lengths[row] is not None:
            return hash(content[row].as_buffer().to_pybytes())
        with suppress(OSError), open(paths[row], "rb") as file:
            return hash(file.read())
        return -row, None

    return numbered(map(key, range(len(rows)))), ""


def _size(path: Any) -> int:
    """Return the bytes of a file; -1 for what is no file: a pipe could block for ever."""
    with suppress(OSError, TypeError, ValueError):
        about = os.stat(path)
        return about.st_size if stat.S_ISREG(about.st_mode) else -1
    return -1
