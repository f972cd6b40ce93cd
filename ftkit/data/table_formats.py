"""Tables in other forms: compressed, in an archive, Excel, feather, JSON of one object.

Each becomes plain files in $FTKIT_CACHE, under the name of its content, and is unpacked once.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
from pyarrow import feather, parquet

from ftkit.data.column_kinds import MISSING
from ftkit.data.file_cache import cache_folder_of
from ftkit.data.json_rows import rows_of_object
from ftkit.errors import DataError
from ftkit.errors.names import first_few
from ftkit.hub.errors import one_line
from ftkit.recipe import Data

PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
EXCEL = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
FEATHER = (".feather", ".arrow", ".ftr")
ARCHIVES = (".zip",)


def is_packed(file: Path) -> bool:
    """Return whether a file may hold tables that `unpacked` takes out of it."""
    suffix = file.suffix.lower()
    return suffix in PACKED or suffix in (*EXCEL, *FEATHER, *ARCHIVES)


def unzipped(file: Path) -> Path:
    """Return a folder with what is in an archive.

    Raises:
        DataError: it cannot be read.
    """

    def write(part: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(part)

    return _make_once(file, "unzipped", write)


def unpacked(file: Path, data: Data) -> tuple[list[Path], list[str]]:
    """Return the plain files that this one is or holds, in their order, and what is not used of it.

    Raises:
        DataError: it cannot be unpacked.
    """
    suffix = file.suffix.lower()
    if suffix in PACKED:
        plain = _make_once(file, file.stem, lambda part: _decompress(PACKED[suffix], file, part))
        return unpacked(plain, data)
    if suffix in ARCHIVES:
        folder = unzipped(file)
        inside = sorted(path for path in folder.rglob("*") if path.is_file())
        each = [unpacked(path, data) for path in inside if not _is_hidden(path, folder)]
        return [one for files, _ in each for one in files], [note for _, of in each for note in of]
    if suffix in FEATHER:
        return [
            _make_once(file, f"{file.stem}.parquet", lambda part: _from_feather(file, part))
        ], []
    if suffix in EXCEL:
        rows = _make_once(file, f"{file.stem}.parquet", lambda part: _from_excel(file, part))
        others = rows.with_suffix(".json")
        sheets = json.loads(others.read_text(encoding="utf-8")) if others.exists() else []
        named = first_few([*map(repr, sheets)])
        note = f"not used: sheets {named} of {file.name}, all but the first"
        return [rows], [note] if sheets else []
    if suffix == ".json":
        found = rows_of_object(file, data.encoding)
        if found is not None:
            name = f"{file.stem} as {quote(data.encoding or 'found', safe='')}"
            folder = _make_once(file, name, lambda part: _as_lines(found, file, data, part))
            return sorted(folder.iterdir()), []
    return [file], []


def _make_once(file: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return the file or folder of that name, which `make` writes the first time.

    Raises:
        DataError: it cannot.
    """
    try:
        target = cache_folder_of([file]) / name
        if not target.exists():
            part = target.with_name(f".{os.getpid()}.part.{name}")
            shutil.rmtree(part, ignore_errors=True)  # of a process that ended while it wrote
            make(part)
            if target.exists():  # by another process, in the meantime
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.replace(target)
        return target
    except DataError:
        raise
    except ImportError as error:
        package = error.name or str(error).partition("'")[2].partition("'")[0] or "openpyxl"
        raise DataError(
            f"data '{file}': {file.suffix} files are read by the package {package}; pip install "
            f"{package}, or save the file as CSV"
        ) from None
    except Exception as error:  # libraries raise anything over a file that is not what it says
        raise DataError(
            f"data '{file}': it is no {file.suffix} file that can be read ({one_line(error)}); "
            f"save it anew, or as CSV"
        ) from error


def _decompress(opened: Callable[..., Any], file: Path, part: Path) -> None:
    with opened(file, "rb") as packed, part.open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)


def _from_feather(file: Path, part: Path) -> None:
    """Write a table as parquet, pandas' categories as the values that they stand for."""
    table = feather.read_table(file)
    schema = table.schema.remove_metadata()
    for place, kind in enumerate(schema):
        if pa.types.is_dictionary(kind.type):
            schema = schema.set(place, kind.with_type(kind.type.value_type))
    parquet.write_table(table.cast(schema), part)


def _from_excel(file: Path, part: Path) -> None:
    """Write the first sheet as parquet, and the names of the others beside it."""
    with pd.ExcelFile(file) as book:
        first, *others = book.sheet_names
        frame = book.parse(first, keep_default_na=False, na_values=[""]).dropna(how="all")
    frame.columns = [str(name).strip() for name in frame.columns]
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"data '{file}': two columns are called '{twice[0]}'; rename one")
    frame.apply(_of_one_kind).to_parquet(part, index=False)
    beside = cache_folder_of([file]) / f"{file.stem}.json"
    beside.write_text(json.dumps(list(map(str, others))), encoding="utf-8")


def _of_one_kind(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of Excel; as texts when its cells are of several kinds.

    Beside numbers alone NA is a gap, as in CSV; beside texts it is a text, as the name of a class.
    """
    if column.dtype != object:
        return column
    there = column.dropna()
    numbers = sum(isinstance(v, (int, float)) and not isinstance(v, bool) for v in there)
    if numbers and numbers + there.isin(MISSING).sum() == len(there):
        return pd.to_numeric(column.mask(column.isin(MISSING)))
    return column.map(str, na_action="ignore")


def _as_lines(found: dict[str, list[Any]], file: Path, data: Data, part: Path) -> None:
    """Write lines in the encoding that was asked for, in which they will be read."""
    part.mkdir()
    for split, rows in found.items():
        name = file.stem if len(found) == 1 else quote(split, safe=" ")  # which may be ../a
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (part / f"{name}.jsonl").write_text(lines, encoding=data.encoding or "utf-8")


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(name.startswith((".", "__")) for name in path.relative_to(folder).parts)
