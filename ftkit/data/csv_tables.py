"""CSV as people write it: how a file is written is found out, and what is broken named by its row.

A file is read once before `datasets` takes it, to know its encoding, its separator, where its
header is, and what each column holds in all rows; so no later row can turn numbers into text.
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
from ftkit.data.file_cache import load
from ftkit.data.text_encodings import encoding_of, lines_of
from ftkit.data.usual_columns import KNOWN
from ftkit.errors import DataError
from ftkit.recipe import Data

SEPARATORS = (",", ";", "\t", "|")
SEPARATOR = re.compile(r"\s*\ufeff?sep=([^\r\n])\s*", re.IGNORECASE)
"""Excel's line before the header that says the separator."""
SNIFFED = 50
"""Rows by which the separator is told."""
Uses = Callable[[Features], Mapping[str, Use]]
"""Of the columns of a table, what some are read for."""


@dataclass(frozen=True)
class Written:
    """How a CSV file is written, and what its columns hold."""

    file: Path
    encoding: str
    separator: str
    quoted: bool
    before: tuple[str, ...]
    """Lines before the header."""
    columns: Mapping[str, Column]
    first: tuple[tuple[str, ...], ...] = ()
    """The first few rows."""

    def notes(self, data: Data) -> Iterator[str]:
        """Yield what was found out about it."""
        name = self.file.name
        if data.separator is None and self.separator != {".tsv": "\t"}.get(self.suffix, ","):
            yield f"{name} is separated by {self.separator!r}"
        if data.encoding is None and self.encoding.startswith("utf-16"):
            yield f"{name} is written in {self.encoding.upper()}"
        if not self.quoted:
            yield f"{name}: quotes are part of the text"
        said = [line.strip() for line in self.before if line.strip(" \r\n\ufeff,;|\t")]
        if said:
            yield f"not used: what stands before the header of {name}, {said[0][:80]!r}"

    @property
    def suffix(self) -> str:
        """The last suffix of its name, in small letters."""
        return self.file.suffix.lower()


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
    written = {
        split: [read_form(table, data.encoding, data.separator) for table in tables]
        for split, tables in files.items()
    }
    for forms in written.values():
        _require_same_columns(forms)
    whole = merged(form.columns for forms in written.values() for form in forms)
    decimal, notes = _decimal(whole, data)
    main = written.get("train") or next(iter(written.values()))
    simple = {name: Value(whole[name].dtype(None, decimal)) for name in main[0].columns}
    wanted = {} if uses is None else uses(Features(simple))
    types = {name: column.dtype(wanted.get(name), decimal) for name, column in whole.items()}
    missing = {name: column.missing(wanted.get(name)) for name, column in whole.items()}
    found = {}
    for split, forms in written.items():
        parts = []
        for form in forms:
            parts.append(load("csv", [form.file], **_options(form, types, missing, decimal)))
            notes += form.notes(data)
        found[split] = concatenate_datasets(parts) if len(parts) > 1 else parts[0]
    return found, notes, _no_header(main[0])


def _options(
    form: Written, types: Mapping[str, str], missing: Mapping[str, list[str]], decimal: str
) -> dict[str, Any]:
    """Return how a file is written in the words of `datasets`."""
    names = list(form.columns)
    return {
        "encoding": form.encoding,
        "sep": form.separator,
        "quoting": csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE,
        "decimal": decimal,
        "skiprows": len(form.before),
        "header": 0,
        "names": names,
        "features": Features({name: Value(types[name]) for name in names}),
        "keep_default_na": False,
        "na_values": {name: missing[name] for name in names},
    }


def _decimal(columns: Mapping[str, Column], data: Data) -> tuple[str, list[str]]:
    """Return what stands before the fraction of a number, and a note where that is a comma."""
    if data.decimal is not None:
        return data.decimal, []
    commas = [name for name, column in columns.items() if has_commas(column)]
    if not commas or any(map(has_points, columns.values())):
        return ".", []
    return ",", [f"numbers have a decimal comma, as in column '{commas[0]}' (data.decimal)"]


def _no_header(form: Written) -> str:
    """Return what is wrong with a header that looks like a row: its values come again below it.

    Or they are numbers, or as long as a sentence.
    """
    names = list(form.columns)
    if any(name.lower() in KNOWN for name in names):
        return ""
    below = list(zip(*form.first, strict=True))
    odd = [
        name in {value.strip() for value in values}
        or BROKEN.fullmatch(name)
        or len(name.split()) > 4
        for name, values in zip(names, below, strict=True)
    ]
    if not any(odd):
        return ""
    shown = ", ".join(repr(name[:30]) for name in names[:3]) + (", ..." if names[3:] else "")
    return (
        f"data '{form.file}': the first line looks like a row ({shown}); give the file a header, "
        f"a line with a name for each column, such as text{form.separator}label"
    )


def _require_same_columns(forms: Sequence[Written]) -> None:
    first, *others = forms
    for other in others:
        if other.columns.keys() != first.columns.keys():
            raise DataError(
                f"data '{other.file}': its columns are {', '.join(other.columns)}, those of "
                f"{first.file} {', '.join(first.columns)}; files of one split have the same"
            )


def read_form(file: Path, encoding: str | None, separator: str | None) -> Written:
    """Return how this file is written; reads all of it.

    Args:
        encoding: UTF-8 when None, or UTF-16 where the file begins by saying so.
        separator: found from the first rows when None.

    Raises:
        DataError: a row does not fit the header, or the bytes do not fit the encoding.
    """
    encoding = encoding_of(file, encoding)
    with _long_fields():
        before, said = _before_header(file, encoding)
        separator = separator or said or _sniff(file, encoding, len(before))
        try:
            return _look(file, encoding, separator, True, before)
        except csv.Error as error:
            if separator != "\t":
                raise DataError(
                    f'data \'{file}\', {error}; write a quote within quotes twice, as in "a ""b"""'
                ) from None
        return _look(file, encoding, separator, False, before)


def _before_header(file: Path, encoding: str) -> tuple[tuple[str, ...], str | None]:
    """Return the lines before the header, and the separator where one of them is Excel's sep=;.

    Those are empty lines, and lines that begin with # and have fewer fields than the next.
    """
    before: list[str] = []
    said: str | None = None
    lines = lines_of(file, encoding)
    remarks: list[str] = []
    for line in lines:
        bare = line.strip().lstrip("\ufeff")
        mark = SEPARATOR.fullmatch(line)
        if mark:
            said = mark[1]
            before += [*remarks, line]
            remarks = []
        elif not bare.strip("".join(SEPARATORS)).strip():
            (remarks if remarks else before).append(line)
        elif bare.startswith("#"):
            remarks.append(line)
        else:
            if remarks and _fields_in(remarks[-1]) < _fields_in(line):
                before += remarks
            break
    return tuple(before), said


def _fields_in(line: str) -> int:
    return max(map(line.count, SEPARATORS))


def _sniff(file: Path, encoding: str, skipped: int) -> str:
    """Return the separator by which most of the first rows have as many fields as the header."""

    def fit(separator: str) -> tuple[float, int]:
        rows = csv.reader(islice(lines_of(file, encoding), skipped, None), delimiter=separator)
        widths = [len(row) for row in islice(rows, SNIFFED) if row]
        if not widths or widths[0] < 2:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    best = max(SEPARATORS, key=fit)  # of equals the first
    return best if fit(best)[1] else "\t" if file.suffix.lower() == ".tsv" else ","


def _look(
    file: Path, encoding: str, separator: str, quoted: bool, before: tuple[str, ...]
) -> Written:
    """Return how a file is written, with what its columns hold in all rows."""
    quotes: dict[str, Any] = {"strict": True} if quoted else {"quoting": csv.QUOTE_NONE}
    skipped = len(before)
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
                    f"data '{file}', line {line + skipped} (row {number}): {_fields(len(row))} "
                    f"where the header has {len(names)} ({', '.join(names)[:80]}), separated by "
                    f"{separator!r}; mend the row, or give another --set data.separator"
                )
            for column, value in zip(columns, row, strict=True):
                if column.kinds:
                    column.see(value)
            number += 1
            if number <= SNIFFED:
                first.append(tuple(row))
    except csv.Error as error:
        raise csv.Error(f"line {begin + skipped}: {error}") from None
    if not number:
        raise DataError(f"data '{file}': there are no rows in it")
    seen = dict(zip(names, columns, strict=True))
    return Written(file, encoding, separator, quoted, before, seen, tuple(first))


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


def _fields(count: int) -> str:
    return f"{count} field{'' if count == 1 else 's'}"


@contextmanager
def _long_fields() -> Iterator[None]:
    """Allow fields of any length inside the block; Python's csv refuses 131,072 characters."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
