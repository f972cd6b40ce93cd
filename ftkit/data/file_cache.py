"""Files told apart by their content: each is read once, whatever its name, time or place is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, List, Value, load_dataset

from ftkit.errors import DataError
from ftkit.hub.checksums import checksum_of_files
from ftkit.hub.errors import one_line
from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import private_folder

BYTES = (Value("binary"), Value("large_binary"))


def load_files(reader: str, files: Sequence[Path], **options: Any) -> Dataset:
    """Return the rows of files of one kind; $FTKIT_CACHE keeps them by the content of the files.

    `datasets` takes names for patterns, and a file for the one that it knows where name and time
    are equal; so it is given other names, below a folder that is called as the contents are.

    Args:
        reader: of `datasets`: csv, json, parquet or text.
        options: that it takes.

    Raises:
        DataError: they cannot be read.
    """
    try:
        home = cache_folder_of(files)
        names = [_named(home, number, file) for number, file in enumerate(files)]
        rows = load_dataset(
            reader, data_files=names, split="train", cache_dir=str(home / "read"), **options
        )
        if reader == "parquet":
            rows.data.validate(full=True)  # texts that are no UTF-8 are seen only when looked at
        return _in_plain_types(rows)
    except Exception as error:  # libraries raise anything over a file that is not what it says
        empty = isinstance(error.__cause__ or error, StopIteration)
        cause = "there are no rows in it" if empty else one_line(error)
        raise DataError(f"data '{files[0]}': {cause}") from error


def _in_plain_types(rows: Dataset) -> Dataset:
    """Return the rows with texts and bytes in types that `datasets` can work with.

    Polars writes views of them, and Hive and others texts as bytes without a mark.
    """
    plain = Features({name: _plain(kind) for name, kind in rows.features.items()})
    for name, kind in plain.items():
        if kind in BYTES and _are_texts(rows.data.column(name)):
            plain[name] = Value("string")
    return rows if plain == rows.features else rows.cast(plain)


def _plain(kind: Any) -> Any:
    """Return a type without views and without bytes of fixed length, also within lists."""
    if isinstance(kind, Value):
        if kind.dtype.startswith("fixed_size_binary"):
            return Value("binary")
        return Value(kind.dtype.removesuffix("_view")) if kind.dtype.endswith("_view") else kind
    if isinstance(kind, List):
        return List(_plain(kind.feature))
    return {n: _plain(k) for n, k in kind.items()} if isinstance(kind, dict) else kind


def _are_texts(column: pa.ChunkedArray) -> bool:
    """Return whether all bytes are UTF-8. Those of an image never are."""
    try:
        column.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return column.null_count < len(column)


def cache_folder_of(files: Sequence[Path]) -> Path:
    """Return the folder in the cache for what is made from files with these contents."""
    return private_folder(cache_folder() / "rows" / checksum_of_files(files)[:32])


def _named(home: Path, number: int, file: Path) -> str:
    """Return a name for the file that is no pattern: that of a link to it, or of a copy."""
    name = home / f"{number:05d}"
    fresh = home / f".{number:05d}.{os.getpid()}.part"
    fresh.unlink(missing_ok=True)
    try:
        fresh.symlink_to(file.resolve())
    except OSError:  # Windows asks for a right to make links
        shutil.copyfile(file, fresh)
    fresh.replace(name)
    return escape(str(name))
