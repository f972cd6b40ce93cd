"""Rows that a program holds in memory, as a source that a recipe can name."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from datasets.table import embed_table_storage

from ftkit.data.sources import ROWS_FILE
from ftkit.errors import DataError
from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import private_folder
from ftkit.recipe import Data


def data_of(rows: Any, **settings: Any) -> Data:
    """Return `Data` for a pandas DataFrame, a `datasets.Dataset` or a `DatasetDict`.

    The rows are written to $FTKIT_CACHE/data under a hash of their content, and the recipe names
    that folder: equal rows are one source, changed rows another, and the recipe runs again as long
    as the folder is kept. To hand a run on, hand on that folder with it.

    Args:
        settings: other fields of `Data`, as in test_fraction=0.1.

    Raises:
        DataError: it is none of these.
    """
    if not isinstance(rows, (Dataset, DatasetDict)):
        if type(rows).__name__ != "DataFrame" or not hasattr(rows, "columns"):
            raise DataError(
                f"data_of: expected a pandas DataFrame, a Dataset or a DatasetDict, got "
                f"{type(rows).__name__}; give files by Data(path=...)"
            )
        rows = Dataset.from_pandas(rows, preserve_index=False)
    splits = rows if isinstance(rows, DatasetDict) else DatasetDict({"train": rows})
    home = cache_folder() / "data"
    part = home / f".{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    for name, split in splits.items():
        (part / name).mkdir(parents=True)
        whole = split.with_format("arrow").map(embed_table_storage, batched=True)  # images' bytes
        whole.with_format(None).to_parquet(part / name / ROWS_FILE)
    folder = home / _content(part)
    if folder.exists() and any(private_folder(folder).iterdir()):
        shutil.rmtree(part)
    else:
        part.replace(folder)
        private_folder(folder)
    named = any(map(_names_files, splits.values()))  # by the program itself
    return Data(path=str(folder), **({"outside": True} if named else {}) | settings)


def _names_files(rows: Dataset) -> bool:
    """Return whether a column of texts begins with a whole path."""
    first = rows[0] if len(rows) else {}
    return any(isinstance(value, str) and os.path.isabs(value) for value in first.values())


def _content(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.parquet")):
        digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
