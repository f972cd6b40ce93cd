"""Rows of tables: parquet, CSV, JSON and text files, of one split or of several."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, concatenate_datasets

from ftkit.data.csv_tables import Uses, read_csv
from ftkit.data.file_cache import load_files
from ftkit.data.json_rows import checked_encoding, join_files, read_json
from ftkit.data.table_formats import ARCHIVES, is_packed, unpacked
from ftkit.errors import DataError
from ftkit.errors.names import first_few
from ftkit.recipe import Data

READERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
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
    "eval": "test",
    "evaluation": "test",
    "holdout": "test",
}
TEST_OR_VALIDATION = ("eval", "evaluation")
"""Words for the test split that mean validation when another word for the test split is there."""


@dataclass(frozen=True)
class Source:
    """All splits of a source, and the folder from which its relative file names start."""

    splits: dict[str, Dataset]
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    """What was decided about it, one sentence each."""
    group: str | None = None
    """The column whose equal values keep rows together, when the source itself names it."""
    hint: str = ""
    """What the user may have meant, for a source that has too few classes."""
    no_header: str = ""
    """What a message about a missing column adds when the first line looks like a row."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Where the relative file names of a split start, for splits that do not use `folder`."""
    roots: tuple[Path, ...] = ()
    """The files that rows name must lie below these folders."""
    found: frozenset[str] = frozenset()
    """Splits whose files were found by walking through folders; no table names them."""

    def folder_of(self, split: str) -> Path | None:
        """Return where the file names of a split start, or of a part such as train[:80%]."""
        places = {self.folders.get(p.partition("[")[0], self.folder) for p in split.split("+")}
        if len(places) > 1:
            raise DataError(f"the file names of {split} start from several folders; take one split")
        return places.pop()

    def roots_of(self, split: str, images: str | None) -> tuple[Path, ...]:
        """Return the folders below which the files of a split must lie; () for any.

        Args:
            images: `data.images`, by which the user himself names a folder.
        """
        if all(part.partition("[")[0] in self.found for part in split.split("+")):
            return ()
        start = (images or "").partition("*")[0]
        folder = start if images and "*" not in images else os.path.dirname(start)
        return (*self.roots, *([(self.folder_of(split) or Path()) / folder] if folder else []))


@dataclass(frozen=True)
class Table:
    """A file that can be read, and the file that it was unpacked from."""

    file: Path
    original: Path

    @property
    def reader(self) -> str | None:
        """What reads it; None when nothing does."""
        return READERS.get(self.file.suffix.lower())

    def word(self) -> str | None:
        """Return the word for a split in its name, else in that of the file that was unpacked."""
        return split_word(self.file.stem) or split_word(self.original.stem)


def is_table(file: Path) -> bool:
    """Return whether a file is one that ftkit reads rows from, or unpacks."""
    return file.suffix.lower() in READERS or is_packed(file)


def split_word(name: str) -> str | None:
    """Return the word for a split between the separators of a name: test in a_test-1.

    The first word decides; else all that are there must mean one split.
    """
    words = [word.rstrip("0123456789") for word in re.split(r"[^0-9a-z]+", name.lower())]
    known = [word for word in words if word in SPLITS]
    if words[0] in SPLITS:
        return words[0]
    return known[0] if len({SPLITS[word] for word in known}) == 1 else None


def split_meanings(words: Iterable[str | None]) -> dict[str, str]:
    """Return which split each word of `SPLITS` means beside these words, in small letters."""
    there = {word for word in words if word in SPLITS}
    tests = {word for word in there if SPLITS[word] == "test"}
    if tests - {*TEST_OR_VALIDATION} and "validation" not in {SPLITS[word] for word in there}:
        return SPLITS | dict.fromkeys(TEST_OR_VALIDATION, "validation")
    return SPLITS


def read_tables(files: Sequence[Path], data: Data, uses: Uses | None = None) -> Source:
    """Return the rows of files, each in the split that its name says. A single file is train.

    Args:
        uses: what columns are read for, given those of the training split.

    Raises:
        DataError: files cannot be read, or those of one split differ in kind or columns.
    """
    tables, notes = _tables_in(files, data)
    if not tables:
        raise DataError(f"data '{files[0]}': there is no table in it")
    if len(tables) == 1 and len(files) == 1:
        return read_splits({"train": tables}, data, uses, notes)
    splits, notes_of_names = group_by_split(tables)
    return read_splits(splits, data, uses, [*notes, *notes_of_names])


def read_named(files: Mapping[str, Sequence[Path]], data: Data, uses: Uses | None) -> Source:
    """Return the rows of files whose splits are known, whatever their names are."""
    found = {split: _tables_in(of_split, data) for split, of_split in files.items()}
    notes = [note for _, of_split in found.values() for note in of_split]
    return read_splits({split: tables for split, (tables, _) in found.items()}, data, uses, notes)


def _tables_in(files: Sequence[Path], data: Data) -> tuple[list[Table], list[str]]:
    """Return the tables that these files are or hold, and what is not used of them."""
    tables, notes = [], []
    for file in files:
        inside, not_used = unpacked(file, data)
        tables += [Table(one, file) for one in inside]
        notes += not_used
    return tables, notes


def group_by_split(tables: Sequence[Table]) -> tuple[dict[str, list[Table]], list[str]]:
    """Group files by the split that their name says, as in train-00000-of-00002.parquet.

    Those that name none are for training where no other is; else they are not used, and said.

    Raises:
        DataError: two words for one split are there, as val and validation.
    """
    words = [table.word() for table in tables]
    means = split_meanings(words)
    found: dict[str, list[Table]] = {}
    named: dict[str, tuple[str, Table]] = {}
    for table, word in zip(tables, words, strict=True):
        if word is None:
            continue
        split = means[word]
        other, first = named.setdefault(split, (word, table))
        if other != word:
            raise DataError(
                f"data '{table.original.parent}': {first.file.name} and {table.file.name} name the "
                f"same split; keep one"
            )
        found.setdefault(split, []).append(table)
    others = [table for table, word in zip(tables, words, strict=True) if word is None]
    if not others:
        return found, []
    there = first_few([table.file.name for table in others])
    if "train" in found:
        whose = "its name" if len(others) == 1 else "each name"
        return found, [f"not used: {there}; {whose} says no split, beside files that name one"]
    notes = [f"{there}: used for training, because no name says train"] if found else []
    return {"train": others, **found}, notes


def read_splits(
    splits: Mapping[str, Sequence[Table]], data: Data, uses: Uses | None, notes: Iterable[str] = ()
) -> Source:
    """Return the rows of the tables of each split.

    Raises:
        DataError: files cannot be read, or those of one split differ in kind or columns.
    """
    readers = {split: _reader(tables) for split, tables in splits.items()}
    files = {split: [table.file for table in tables] for split, tables in splits.items()}
    said = list(notes)
    try:
        csv = {split: files[split] for split in splits if readers[split] == "csv"}
        found, of_csv, no_header = read_csv(csv, data, uses) if csv else ({}, [], "")
        said += of_csv
        for split in [split for split in splits if split not in csv]:
            found[split], more = OTHER_READERS[readers[split]](files[split], data, uses)
            said += more
    except DataError as error:
        raise DataError(_with_original_names(str(error), splits)) from error
    first = next(iter(splits.values()))[0]
    inside = first.original.suffix.lower() in ARCHIVES
    folder = (first.file if inside else first.original).parent.resolve()
    return Source({name: found[name] for name in splits}, folder, tuple(said), no_header=no_header)


def _reader(tables: Sequence[Table]) -> str:
    """Return what reads these files of one split."""
    readers = {table.reader for table in tables}
    if len(readers) > 1 or None in readers:
        kinds = {table.file.suffix for table in tables}
        raise DataError(
            f"data '{tables[0].original}': expected files of one kind out of {', '.join(READERS)}; "
            f"found {', '.join(sorted(kinds))}"
        )
    return str(readers.pop())


def _with_original_names(message: str, splits: Mapping[str, Sequence[Table]]) -> str:
    """Return a message with the names that the user gave instead of those of unpacked files."""
    for table in [table for tables in splits.values() for table in tables]:
        if table.file != table.original:
            message = message.replace(str(table.file), str(table.original))
    return message


def _read_parquet(
    files: Sequence[Path], data: Data, uses: Uses | None
) -> tuple[Dataset, list[str]]:
    """Return the rows of files, of one type or of several, and notes."""
    try:
        return load_files("parquet", files), []
    except DataError:
        if len(files) == 1:
            raise
    return join_files(files, [load_files("parquet", [file]) for file in files], uses)


def _read_lines(files: Sequence[Path], data: Data, uses: Uses | None) -> tuple[Dataset, list[str]]:
    """Return a row, as `text`, for each line that is not empty, and notes."""
    encodings = [checked_encoding(file, data.encoding) for file in files]
    for file in files:
        if not file.stat().st_size:
            raise DataError(f"data '{file}': there are no rows in it")
    parts = [load_files("text", [f], encoding=e) for f, e in zip(files, encodings, strict=True)]
    lines = concatenate_datasets(parts)
    kept = [number for number, line in enumerate(lines["text"][:]) if line.strip()]
    if not kept:
        raise DataError(f"data '{files[0]}': there are no rows in it")
    empty = len(lines) - len(kept)
    notes = [f"{files[0].name}: {empty:,} empty lines are left out"] if empty else []
    return lines.select(kept) if empty else lines, notes


OTHER_READERS: dict[str, Callable[..., tuple[Dataset, list[str]]]] = {
    "json": read_json,
    "parquet": _read_parquet,
    "text": _read_lines,
}
"""What reads the files of one split; those of CSV are read together for all splits."""
