"""JSON as people write it: lines, a list, or one object in any of pandas' ways to write a table.

The form is found here: pandas has to be told it, and `datasets` reads lines and lists alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value, concatenate_datasets

from ftkit.data.csv_tables import Uses
from ftkit.data.file_cache import load_files
from ftkit.data.text_encodings import encoding_of, lines_of
from ftkit.errors import DataError
from ftkit.recipe import Data

EXPECTED = "expected a list of objects with named columns, one for each row"
WHOLE_FILE = 1 << 30
"""So many bytes are read together when types change within a file."""


def read_json(
    files: Sequence[Path], data: Data, uses: Uses | None = None
) -> tuple[Dataset, list[str]]:
    """Return the rows of JSON files that are one split, and what was found out about them.

    A column that a file lacks is empty there. One that has types in them which cannot be one is not
    used, where nothing asks for it.

    Args:
        uses: what columns are read for, given those that there are.

    Raises:
        DataError: the files cannot be read.
    """
    return join_files(files, [_read(file, data.encoding) for file in files], uses)


def join_files(
    files: Sequence[Path], parts: Sequence[Dataset], uses: Uses | None = None
) -> tuple[Dataset, list[str]]:
    """Return the rows of files that are one split as one table, and notes; see `read_json`."""
    if len(parts) == 1:
        return parts[0], []
    kinds: dict[str, list[tuple[Path, Any]]] = {}
    for file, rows in zip(files, parts, strict=True):
        for name, kind in rows.features.items():
            kinds.setdefault(name, []).append((file, kind))
    types = {name: _common([kind for _, kind in found]) for name, found in kinds.items()}
    known = Features({name: kind or kinds[name][0][1] for name, kind in types.items()})
    needed = {} if uses is None else uses(known)
    notes = []
    for name in [name for name, kind in types.items() if kind is None]:
        (first, kind), *others = [found for found in kinds[name] if not _is_empty(found[1])]
        file, other = next(found for found in others if found[1] != kind)
        if name in needed:
            raise DataError(
                f"data '{file}': column '{name}' holds {_shown(other)}, in {first.name} "
                f"{_shown(kind)}; write it in one way"
            )
        notes.append(f"not used: column '{name}', of another type in {file.name}")
        del types[name]
    return concatenate_datasets([_in_types(rows, Features(types)) for rows in parts]), notes


def _read(file: Path, encoding: str | None) -> Dataset:
    encoding = checked_encoding(file, encoding)
    options = {} if encoding == "utf-8" else {"encoding": encoding}
    try:
        return load_files("json", [file], **options)
    except DataError as error:
        if file.suffix.lower() != ".json" or file.read_bytes()[:1] != b"[":
            cause = find_bad_json(file, encoding)
            if cause:
                raise DataError(f"data '{file}', {cause}") from error
        if file.stat().st_size <= 10 << 20:  # what `datasets` looks at together
            raise
        return load_files("json", [file], chunksize=WHOLE_FILE, **options)


def _common(kinds: list[Any]) -> Any:
    """Return the type of a column that has these types in several files; None if there is none."""
    there = [kind for kind in kinds if not _is_empty(kind)] or kinds[:1]
    if all(kind == there[0] for kind in there):
        return there[0]
    if not all(isinstance(kind, Value) for kind in there):
        return None
    names = {kind.dtype for kind in there}
    if all(name.startswith(("int", "uint", "float")) for name in names):
        return Value("float64" if any(name.startswith("float") for name in names) else "int64")
    return Value("string")


def _is_empty(kind: Any) -> bool:
    """Return whether a type holds no value at all: null, or lists of nothing."""
    kind = getattr(kind, "feature", kind)
    return isinstance(kind, Value) and kind.dtype == "null"


def _in_types(rows: Dataset, features: Features) -> Dataset:
    """Return the rows with these columns alone, as far as they have them, in these types."""
    there = Features({name: kind for name, kind in features.items() if name in rows.features})
    if not there:  # a table without a column has no rows
        return Dataset.from_dict({name: [None] * len(rows) for name in features}, features)
    rows = rows.select_columns(list(there))
    return rows if rows.features == there else rows.cast(there)


def _shown(kind: Any) -> str:
    return kind.dtype if isinstance(kind, Value) else type(kind).__name__


def rows_of_object(file: Path, encoding: str | None) -> dict[str, list[Any]] | None:
    """Return {split: rows} of a file that is one JSON object; None for a file of lines or a list.

    The object may have a list of rows under one name, or under the name of each split; a list for
    each column; or be what pandas writes with orient="columns", "index", "split" or "table".

    Raises:
        DataError: it is an object of another form.
    """
    encoding = encoding_of(file, encoding)
    start = next((line for line in lines_of(file, encoding) if line.strip()), "")
    start = start.lstrip("\ufeff \t")
    if re.match(r"\[\s*\[", start):
        raise DataError(f"data '{file}': it is a list of lists; {EXPECTED}")
    if not start.startswith("{"):
        return None
    if _is_json(start) and sum(1 for line in lines_of(file, encoding) if line.strip()) > 1:
        return None
    try:
        whole = json.loads("".join(lines_of(file, encoding)).lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None  # lines that are broken, as the reader of lines says
    if not any(isinstance(value, (list, dict)) for value in whole.values()):
        return None
    found = _rows_in(whole)
    if found is None:
        raise DataError(
            f"data '{file}': it is one object with {', '.join(map(repr, [*whole][:5]))}; {EXPECTED}"
        )
    return found


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _rows_in(whole: dict[str, Any]) -> dict[str, list[Any]] | None:
    values = list(whole.values())
    lists = {name: value for name, value in whole.items() if _are_rows(value)}
    if lists and len(lists) == len(whole) and len(lists) > 1:
        return lists  # of each split
    names, data = whole.get("columns"), whole.get("data")
    if isinstance(names, list) and isinstance(data, list):
        if not all(isinstance(row, list) and len(row) == len(names) for row in data):
            return None
        if any(isinstance(name, (list, dict)) for name in names):
            return None
        return {"train": [dict(zip(names, row, strict=True)) for row in data]}
    if len(lists) == 1:
        return {"train": next(iter(lists.values()))}
    inside = [value for value in values if isinstance(value, dict)]
    if len(inside) == 1 and not any(isinstance(value, list) for value in values):
        return _rows_in(inside[0])
    if all(isinstance(value, list) for value in values) and len(set(map(len, values))) == 1:
        return {"train": [dict(zip(whole, row, strict=True)) for row in zip(*values, strict=True)]}
    if all(isinstance(value, dict) and value for value in values):
        inner = list(values[0])
        by_column = all(key.isdigit() for key in inner) and not all(map(str.isdigit, whole))
        if not by_column:
            return {"train": values}
        return {
            "train": [{name: of[key] for name, of in whole.items() if key in of} for key in inner]
        }
    return None


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def checked_encoding(file: Path, encoding: str | None) -> str:
    """Return the encoding of a file, after every line was read in it.

    Raises:
        DataError: the bytes do not fit the encoding.
    """
    encoding = encoding_of(file, encoding)
    for _ in lines_of(file, encoding):
        pass
    return encoding


def find_bad_json(file: Path, encoding: str | None) -> str | None:
    """Return what is wrong with a file of JSON lines, and in which line; None when nothing is."""
    for number, line in enumerate(lines_of(file, encoding_of(file, encoding)), 1):
        try:
            row = json.loads(line) if line.strip() else {}
        except json.JSONDecodeError as error:
            cut = " (it seems to be cut off)" if error.pos >= len(line.rstrip()) - 1 else ""
            if "Unterminated" in error.msg:
                cut = " (it seems to be cut off)"
            return f"line {number} is not JSON: {error.msg} at column {error.colno}{cut}"
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a nesting as deep
            return f"line {number} cannot be read: {error}"
        if not isinstance(row, dict):
            return f"line {number} holds {type(row).__name__}, not an object with named columns"
    return None
