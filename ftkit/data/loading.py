"""Files told apart by their content: each is read once, whatever its name, time or place is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from ftkit.checksums import of_files
from ftkit.embedded import cache_folder
from ftkit.errors import DataError
from ftkit.hub import said


def load(reader: str, files: Sequence[Path], **options: Any) -> Dataset:
    """Return the rows of files of one kind, kept in $FTKIT_CACHE under the names of their contents.

    `datasets` takes names for patterns, and a file for the one that it knows where name and time
    are equal; so it is given other names, below a folder that is called as the contents are.

    Args:
        reader: of `datasets`: csv, json, parquet or text.
        options: that it takes.

    Raises:
        DataError: they cannot be read.
    """
    try:
        home = place_for(files)
        names = [_named(home, number, file) for number, file in enumerate(files)]
        rows = load_dataset(
            reader, data_files=names, split="train", cache_dir=str(home / "read"), **options
        )
        if reader == "parquet":
            rows.data.validate(full=True)  # texts that are no UTF-8 are seen only when looked at
        return rows
    except Exception as error:  # libraries raise anything over a file that is not what it says
        empty = isinstance(error.__cause__ or error, StopIteration)
        cause = "there are no rows in it" if empty else said(error)
        raise DataError(f"data '{files[0]}': {cause}") from error


def place_for(files: Sequence[Path]) -> Path:
    """Return the folder of what is made of files with these contents."""
    home = cache_folder() / "rows" / of_files(files)[:32]
    home.mkdir(parents=True, exist_ok=True)
    return home


def _named(home: Path, number: int, file: Path) -> str:
    """Return a name without signs of a pattern that leads to the file: a link, or a copy of it."""
    name = home / f"{number:05d}"
    fresh = home / f".{number:05d}.{os.getpid()}.part"
    fresh.unlink(missing_ok=True)
    try:
        fresh.symlink_to(file.resolve())
    except OSError:  # Windows asks for a right to make links
        shutil.copyfile(file, fresh)
    fresh.replace(name)
    return escape(str(name))
