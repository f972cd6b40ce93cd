"""Rows of tables: parquet, CSV, JSON and text files, of one split or of several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets import Dataset, Features, Value, concatenate_datasets

from ftkit.data.loading import load
from ftkit.data.tables import find_bad_json, merged, read_csv_form, read_json_form, read_text_form
from ftkit.errors import DataError
from ftkit.recipe import Data

READERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".txt": "text",
}
SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Source:
    """Every split of a source as it is there, and the folder its relative file names start from."""

    splits: dict[str, Dataset]
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    """What was decided about it, one sentence each."""
    group: str | None = None
    """Column of which rows with equal values belong together, where the source says so itself."""
    hint: str = ""
    """What may have been meant, where it has too few classes."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Where the relative file names of a split start, if not from `folder`."""

    def folder_of(self, split: str) -> Path | None:
        """Return where the file names of a split start, or of a part, as in train[:80%]."""
        places = {self.folders.get(p.partition("[")[0], self.folder) for p in split.split("+")}
        if len(places) > 1:
            raise DataError(f"the file names of {split} start from several folders; take one split")
        return places.pop()


def by_split(tables: list[Path]) -> dict[str, list[Path]]:
    """Group files by the split that begins their name, as in train-00000-of-00002.parquet.

    Raises:
        DataError: two words for one split are there, as val and validation.
    """
    found: dict[str, list[Path]] = {}
    named: dict[str, tuple[str, Path]] = {}
    for table in tables:
        word = re.split(r"[-_.]", table.stem.lower())[0]
        split = SPLITS.get(word, "train")
        if word in SPLITS:
            other, first = named.setdefault(split, (word, table))
            if other != word:
                raise DataError(
                    f"data '{table.parent}': {first.name} and {table.name} name the same split; "
                    f"keep one"
                )
        found.setdefault(split, []).append(table)
    return found


def read_tables(files: dict[str, list[Path]], data: Data) -> Source:
    """Return the rows of each split.

    The column `data.group` of CSV files keeps its values as they are written, such as 007, in every
    split as soon as one split holds text in it.

    Raises:
        DataError: files cannot be read, or those of one split differ in kind or columns.
    """
    found: dict[str, Dataset] = {}
    notes: list[str] = []
    numbers: list[str] = []
    for split, tables in files.items():
        kinds = {table.suffix for table in tables}
        if len(kinds) > 1 or not kinds <= READERS.keys():
            raise DataError(
                f"data '{tables[0]}': expected files of one kind out of {', '.join(READERS)}; "
                f"found {', '.join(sorted(kinds))}"
            )
        reader = READERS[kinds.pop()]
        if reader == "csv":
            found[split], said_of_it = _read_csv(tables, data)
            notes += said_of_it
            if data.group in found[split].features and not _is_text(found[split], data.group):
                numbers.append(split)
        elif reader == "json":
            found[split] = _read_json(tables, data)
        elif reader == "text":
            found[split], said_of_it = _read_lines(tables, data)
            notes += said_of_it
        else:
            found[split] = load(reader, tables)
    if any(_is_text(rows, data.group) for rows in found.values()):
        for split in numbers:
            found[split], _ = _read_csv(files[split], data, as_text=data.group)
    return Source(found, tables[0].parent.resolve(), tuple(notes))


def _is_text(rows: Dataset, column: str | None) -> bool:
    return str(getattr(rows.features.get(column), "dtype", None)) in ("string", "large_string")


def _read_csv(
    tables: list[Path], data: Data, as_text: str | None = None
) -> tuple[Dataset, list[str]]:
    """Return the rows of CSV files with equal columns, and what was found out about them.

    Args:
        as_text: a column whose values are taken as they are written.
    """
    written = [read_csv_form(table, data.encoding, data.separator) for table in tables]
    features = merged([(str(t), form.features) for t, form in zip(tables, written, strict=True)])
    if as_text is not None:
        features = Features({**features, as_text: Value("string")})
    parts, notes = [], []
    for table, form in zip(tables, written, strict=True):
        parts.append(load("csv", [table], **replace(form, features=features).options()))
        if data.separator is None and form.separator != {".tsv": "\t"}.get(table.suffix, ","):
            notes.append(f"{table.name} is separated by {form.separator!r}")
        if data.encoding is None and form.encoding.startswith("utf-16"):
            notes.append(f"{table.name} is written in {form.encoding.upper()}")
        if not form.quoted:
            notes.append(f"{table.name}: quotes are part of the text")
    return concatenate_datasets(parts) if len(parts) > 1 else parts[0], notes


def _read_json(tables: list[Path], data: Data) -> Dataset:
    forms = [read_json_form(table, data.encoding) for table in tables]
    if any(form != forms[0] for form in forms):
        raise DataError(f"data '{tables[0]}': files of one split must be written in one encoding")
    try:
        return load("json", tables, **forms[0])
    except DataError as error:
        for table in tables:
            lines = table.suffix == ".jsonl" or table.read_bytes()[:1] != b"["
            cause = find_bad_json(table, data.encoding) if lines else None
            if cause:
                raise DataError(f"data '{table}', {cause}") from error
        raise


def _read_lines(tables: list[Path], data: Data) -> tuple[Dataset, list[str]]:
    """Return a row for each line with something on it, as `text`, and what was left out."""
    encodings = [read_text_form(table, data.encoding) for table in tables]
    for table in tables:
        if not table.stat().st_size:
            raise DataError(f"data '{table}': there are no rows in it")
    parts = [load("text", [t], encoding=e) for t, e in zip(tables, encodings, strict=True)]
    lines = concatenate_datasets(parts)
    kept = [number for number, line in enumerate(lines["text"][:]) if line.strip()]
    if not kept:
        raise DataError(f"data '{tables[0]}': there are no rows in it")
    empty = len(lines) - len(kept)
    notes = [f"{tables[0].name}: {empty:,} empty lines are left out"] if empty else []
    return lines.select(kept) if empty else lines, notes
