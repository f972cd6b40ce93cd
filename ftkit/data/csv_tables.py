"""CSV as people write it: how a file is written is found out, and what is broken named by its row.

A file is read once before `datasets` takes it, to know its encoding, its separator, where its
header is, and what each column holds in all rows; so no later row can turn numbers into text.
Python's csv does that, because pandas fills rows that are too short without a word.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value, concatenate_datasets

from ftkit.data.column_kinds import BROKEN, Column, Use, has_commas, has_points, merged
from ftkit.data.file_cache import load_files
from ftkit.data.text_encodings import encoding_of, lines_of
from ftkit.data.usual_columns import KNOWN
from ftkit.errors import DataError
from ftkit.errors.names import first_few
from ftkit.recipe import Data

SEPARATORS = (",", ";", "\t", "|")
SEPARATOR = re.compile(r"\s*\ufeff?sep=([^\r\n])\s*", re.IGNORECASE)
"""The line by which Excel names the separator, before the header."""
SNIFFED_ROWS = 50
"""The separator is found from so many rows."""
Uses = Callable[[Features], Mapping[str, Use]]
"""A function from the columns of a table to what some of them are read for."""


@dataclass(frozen=True)
class CsvForm:
    """How a CSV file is written, and what its columns hold."""

    file: Path
    encoding: str
    separator: str
    quoted: bool
    preamble: tuple[str, ...]
    """The lines before the header."""
    columns: Mapping[str, Column]
    first_rows: tuple[tuple[str, ...], ...] = ()

    def notes(self, data: Data) -> Iterator[str]:
        """Yield what was found out about it."""
        name = self.file.name
        if data.separator is None and self.separator != _usual_separator(self.file):
            yield f"{name} is separated by {self.separator!r}"
        if data.encoding is None and self.encoding.startswith("utf-16"):
            yield f"{name} is written in {self.encoding.upper()}"
        if not self.quoted:
            yield f"{name}: quotes are part of the text"
        texts = [line.strip() for line in self.preamble if line.strip(" \r\n\ufeff,;|\t")]
        if texts:
            yield f"not used: what stands before the header of {name}, {texts[0][:80]!r}"


def read_csv(
    files: Mapping[str, Sequence[Path]], data: Data, uses: Uses | None = None
) -> tuple[dict[str, Dataset], list[str], str]:
    """Return the rows of each split, its columns of one type in all, and what was found out.

    The last is what to say where a column is missed; nothing where the header looks like one.

    Args:
        uses: what columns are read for, given those of the training split.

    Raises:
        DataError: a row does not fit the header, the bytes do not fit the encoding, or files of one
            split have other columns.
    """
    forms = {
        split: [read_csv_form(table, data.encoding, data.separator) for table in tables]
        for split, tables in files.items()
    }
    for of_split in forms.values():
        _require_same_columns(of_split)
    columns = merged(form.columns for of_split in forms.values() for form in of_split)
    decimal, notes = _decimal(columns, data)
    main = (forms.get("train") or next(iter(forms.values())))[0]
    simple = {name: Value(columns[name].dtype(None, decimal)) for name in main.columns}
    wanted = {} if uses is None else uses(Features(simple))
    found = {}
    for split, of_split in forms.items():
        parts = [_read(form, columns, wanted, decimal) for form in of_split]
        notes += [note for form in of_split for note in form.notes(data)]
        found[split] = concatenate_datasets(parts)
    return found, notes, _no_header(main)


def _read(
    form: CsvForm, columns: Mapping[str, Column], wanted: Mapping[str, Use], decimal: str
) -> Dataset:
    """Return the rows of a file, whose columns have the types of all files together."""
    seen = {name: columns[name] for name in form.columns}
    types = {name: Value(of.dtype(wanted.get(name), decimal)) for name, of in seen.items()}
    return load_files(
        "csv",
        [form.file],
        encoding=form.encoding,
        sep=form.separator,
        quoting=csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE,
        decimal=decimal,
        skiprows=len(form.preamble),
        header=0,
        names=list(seen),
        features=Features(types),
        keep_default_na=False,
        na_values={name: of.missing(wanted.get(name)) for name, of in seen.items()},
    )


def _decimal(columns: Mapping[str, Column], data: Data) -> tuple[str, list[str]]:
    """Return the sign before the fraction of a number, and a note when it is a comma."""
    if data.decimal is not None:
        return data.decimal, []
    commas = [name for name, column in columns.items() if has_commas(column)]
    if not commas or any(map(has_points, columns.values())):
        return ".", []
    return ",", [f"numbers have a decimal comma, as in column '{commas[0]}' (data.decimal)"]


def _no_header(form: CsvForm) -> str:
    """Return a warning when the header looks like a row, because its values come again below it.

    Or they are numbers, or as long as a sentence.
    """
    names = list(form.columns)
    if any(name.lower() in KNOWN for name in names):
        return ""
    below = zip(*form.first_rows, strict=True)
    odd = [
        name in {value.strip() for value in values}
        or BROKEN.fullmatch(name)
        or len(name.split()) > 4
        for name, values in zip(names, below, strict=True)
    ]
    if not any(odd):
        return ""
    shown = first_few([repr(name[:30]) for name in names], 3)
    return (
        f"data '{form.file}': the first line looks like a row ({shown}); give the file a header, "
        f"a line with a name for each column, such as text{form.separator}label"
    )


def _require_same_columns(forms: Sequence[CsvForm]) -> None:
    first, *others = forms
    for other in others:
        if other.columns.keys() != first.columns.keys():
            raise DataError(
                f"data '{other.file}': its columns are {', '.join(other.columns)}, those of "
                f"{first.file} {', '.join(first.columns)}; files of one split need the same columns"
            )


def read_csv_form(file: Path, encoding: str | None, separator: str | None) -> CsvForm:
    """Return how this file is written. All of it is read.

    Args:
        encoding: UTF-8 when None, or UTF-16 where the file begins by saying so.
        separator: found from the first rows when None.

    Raises:
        DataError: a row does not fit the header, or the bytes do not fit the encoding.
    """
    encoding = encoding_of(file, encoding)
    with _long_fields():
        preamble, named = _before_header(file, encoding)
        separator = separator or named or _likely_separator(file, encoding, len(preamble))
        try:
            return _read_all(file, encoding, separator, True, preamble)
        except csv.Error as error:
            if separator != "\t":
                raise DataError(
                    f'data \'{file}\', {error}; write a quote within quotes twice, as in "a ""b"""'
                ) from None
        return _read_all(file, encoding, separator, False, preamble)


def _before_header(file: Path, encoding: str) -> tuple[tuple[str, ...], str | None]:
    """Return the lines before the header, and the separator where one of them is Excel's sep=;.

    Those are empty lines, and lines that begin with # and have fewer fields than the next.
    """
    preamble: list[str] = []
    remarks: list[str] = []
    separator: str | None = None
    for line in lines_of(file, encoding):
        bare = line.strip().lstrip("\ufeff")
        mark = SEPARATOR.fullmatch(line)
        if mark:
            separator = mark[1]
            preamble += [*remarks, line]
            remarks = []
        elif not bare.strip("".join(SEPARATORS)).strip():
            (remarks if remarks else preamble).append(line)
        elif bare.startswith("#"):
            remarks.append(line)
        else:
            if remarks and _fields_in(remarks[-1]) < _fields_in(line):
                preamble += remarks
            break
    return tuple(preamble), separator


def _fields_in(line: str) -> int:
    return max(map(line.count, SEPARATORS))


def _likely_separator(file: Path, encoding: str, skipped: int) -> str:
    """Return the separator by which most of the first rows have as many fields as the header."""

    def fit(separator: str) -> tuple[float, int]:
        rows = csv.reader(islice(lines_of(file, encoding), skipped, None), delimiter=separator)
        widths = [len(row) for row in islice(rows, SNIFFED_ROWS) if row]
        if not widths or widths[0] < 2:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    best = max(SEPARATORS, key=fit)  # of equals the first
    return best if fit(best)[1] else _usual_separator(file)


def _usual_separator(file: Path) -> str:
    return "\t" if file.suffix.lower() == ".tsv" else ","


def _read_all(
    file: Path, encoding: str, separator: str, quoted: bool, preamble: tuple[str, ...]
) -> CsvForm:
    """Return how a file is written, and what its columns hold in all rows."""
    quotes: dict[str, Any] = {"strict": True} if quoted else {"quoting": csv.QUOTE_NONE}
    skipped = len(preamble)
    lines = islice(lines_of(file, encoding), skipped, None)
    reader = csv.reader(lines, delimiter=separator, **quotes)
    number, begin = 0, 1
    try:
        names = _header(file, next(reader, None))
        columns, first = [Column() for _ in names], []
        begin = reader.line_num + 1
        for row in reader:
            line, begin = begin, reader.line_num + 1
            if not row or (len(row) == 1 < len(names) and not row[0].strip(" \t")):
                continue
            if len(row) != len(names):
                raise DataError(
                    f"data '{file}', line {line + skipped} (row {number}): {len(row)} "
                    f"field{'' if len(row) == 1 else 's'} where the header has {len(names)} "
                    f"({', '.join(names)[:80]}), separated by {separator!r}; mend the row, or give "
                    f"another --set data.separator"
                )
            for column, value in zip(columns, row, strict=True):
                if column.kinds:
                    column.see(value)
            number += 1
            if number <= SNIFFED_ROWS:
                first.append(tuple(row))
    except csv.Error as error:
        raise csv.Error(f"line {begin + skipped}: {error}") from None
    if not number:
        raise DataError(f"data '{file}': there are no rows in it")
    seen = dict(zip(names, columns, strict=True))
    return CsvForm(file, encoding, separator, quoted, preamble, seen, tuple(first))


def _header(file: Path, header: list[str] | None) -> list[str]:
    """Return the names of the columns, without spaces around them."""
    if not header:
        raise DataError(f"data '{file}': there are no rows in it")
    names = [
        name.strip(" \t\ufeff\xa0") or f"Unnamed: {place}" for place, name in enumerate(header)
    ]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        row = BROKEN.fullmatch(twice) is not None
        what = "; the first line looks like a row: give the file a header" if row else ""
        raise DataError(f"data '{file}': two columns are called '{twice}'{what or '; rename one'}")
    return names


@contextmanager
def _long_fields() -> Iterator[None]:
    """Allow fields of any length inside the block; Python's csv refuses 131,072 characters."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
