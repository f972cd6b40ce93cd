"""Tables as text: how a CSV file is written is found out, and what is broken named by its row.

A CSV file is read once before `datasets` takes it, to know its encoding, its separator and what
each column holds in all rows; so no later row can turn numbers into text.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Features, Value

from ftkit.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
SNIFFED = 50
"""Rows by which the separator is told."""
MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "None", "?"]
"""What stands for no value in a column of numbers. In text only an empty field does."""
WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
BROKEN = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?(inf|Infinity)")
TRUTH = re.compile(r"True|TRUE|true|False|FALSE|false")
KINDS = (("int64", WHOLE), ("float64", BROKEN), ("bool", TRUTH))


@dataclass(frozen=True)
class Written:
    """How a CSV file is written, and what its columns hold."""

    encoding: str
    separator: str
    quoted: bool
    features: Features

    def options(self) -> dict[str, Any]:
        """Return what `datasets` calls it."""
        numbers = [n for n, kind in self.features.items() if kind.dtype != "string"]
        return {
            "encoding": self.encoding,
            "sep": self.separator,
            "quoting": csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            "features": self.features,
            "keep_default_na": False,
            "na_values": {name: MISSING if name in numbers else [""] for name in self.features},
        }


def read_csv_form(file: Path, encoding: str | None, separator: str | None) -> Written:
    """Return how this file is written; reads all of it.

    Args:
        encoding: UTF-8 when None, or UTF-16 where the file begins by saying so.
        separator: found from the first rows when None.

    Raises:
        DataError: a row does not fit the header, or the bytes do not fit the encoding.
    """
    encoding = _encoding_of(file, encoding)
    with _long_fields():
        separator = separator or _sniff(file, encoding)
        try:
            return Written(encoding, separator, True, _columns(file, encoding, separator, True))
        except csv.Error as error:
            if separator != "\t":
                raise DataError(
                    f'data \'{file}\', {error}; write a quote within quotes twice, as in "a ""b"""'
                ) from None
        return Written(encoding, separator, False, _columns(file, encoding, separator, False))


def merged(found: list[tuple[str, Features]]) -> Features:
    """Return the columns of files that are one split, each of the widest type it has in any.

    Raises:
        DataError: their columns differ.
    """
    (name, first), *others = found
    wide = {column: kind.dtype for column, kind in first.items()}
    for other, features in others:
        if features.keys() != first.keys():
            raise DataError(
                f"data '{other}': its columns are {', '.join(features)}, those of {name} "
                f"{', '.join(first)}; files of one split have the same"
            )
        for column, kind in features.items():
            both = {wide[column], kind.dtype}
            numbers = both <= {"int64", "float64"}
            wide[column] = min(both) if numbers or len(both) == 1 else "string"
    return Features({column: Value(kind) for column, kind in wide.items()})


def read_json_form(file: Path, encoding: str | None) -> dict[str, str]:
    """Return how a JSON file is written, in the words of `datasets`, which itself takes any bytes.

    Raises:
        DataError: the bytes do not fit the encoding.
    """
    encoding = read_text_form(file, encoding)
    return {} if encoding == "utf-8" else {"encoding": encoding}


def read_text_form(file: Path, encoding: str | None) -> str:
    """Return the encoding of a file, every line of which was read in it.

    Raises:
        DataError: the bytes do not fit the encoding.
    """
    encoding = _encoding_of(file, encoding)
    for _ in _lines(file, encoding):
        pass
    return encoding


def find_bad_json(file: Path, encoding: str | None) -> str | None:
    """Return what is wrong with a file of JSON lines, by its line, or None where each is JSON."""
    for number, line in enumerate(_lines(file, _encoding_of(file, encoding)), 1):
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


def _encoding_of(file: Path, asked: str | None) -> str:
    """Return the encoding that was asked for, or that the file begins by saying, or UTF-8."""
    with file.open("rb") as opened:
        start = opened.read(3)
    return asked or BOMS.get(start) or BOMS.get(start[:2]) or "utf-8"


def _lines(file: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a file.

    Raises:
        DataError: there is no such encoding, or a line is not written in it.
    """
    number = 0
    try:
        with file.open(encoding=encoding, newline="") as opened:
            for number, line in enumerate(opened, 1):  # noqa: B007 - is named where it breaks
                yield line
    except LookupError:
        raise DataError(f"data.encoding = '{encoding}': Python knows no such encoding") from None
    except UnicodeError as error:
        where = f"line {_line_of(file, encoding, number + 1)}"
        what = getattr(error, "object", b"")[getattr(error, "start", 0) :][:1].hex().upper()
        name = encoding.removesuffix("-sig").upper()
        raise DataError(
            f"data '{file}', {where}: byte 0x{what} is not {name}; "
            f"say how it is written, as in --set data.encoding=latin-1"
        ) from None


def _line_of(file: Path, encoding: str, otherwise: int) -> int:
    """Return the line whose bytes do not fit; files are decoded in blocks, not by line."""
    if not encoding.lower().startswith("utf-8"):
        return otherwise
    with file.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return otherwise


def _sniff(file: Path, encoding: str) -> str:
    """Return the separator by which most of the first rows have as many fields as the header."""

    def fit(separator: str) -> tuple[float, int]:
        rows = csv.reader(_lines(file, encoding), delimiter=separator)
        widths = [len(row) for row in islice(rows, SNIFFED) if row]
        if not widths or widths[0] < 2:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    best = max(SEPARATORS, key=fit)  # of equals the first
    return best if fit(best)[1] else "\t" if file.suffix == ".tsv" else ","


def _columns(file: Path, encoding: str, separator: str, quoted: bool) -> Features:
    """Return the type of each column; the narrowest that all its values have."""
    quotes: dict[str, Any] = {"strict": True} if quoted else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(_lines(file, encoding), delimiter=separator, **quotes)
    number, header = 0, next(reader, None)
    if not header:
        raise DataError(f"data '{file}': there are no rows in it")
    names = [name or f"Unnamed: {place}" for place, name in enumerate(header)]  # as pandas does
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"data '{file}': two columns are called '{twice}'; rename one")
    open_kinds = [list(KINDS) for _ in names]
    seen, lacks = [False] * len(names), [False] * len(names)
    begin = reader.line_num + 1
    try:
        for row in reader:
            line, begin = begin, reader.line_num + 1
            if not row:
                continue
            number += 1
            if len(row) != len(names):
                raise DataError(
                    f"data '{file}', line {line} (row {number - 1}): {_fields(len(row))} where the "
                    f"header has {len(names)} ({', '.join(names)[:80]}), separated by "
                    f"{separator!r}; mend the row, or give another --set data.separator"
                )
            for place, value in enumerate(row):
                kinds = open_kinds[place]
                if not kinds:
                    continue
                if value in MISSING:
                    lacks[place] = True
                    continue
                seen[place] = True
                kinds[:] = [kind for kind in kinds if kind[1].fullmatch(value.strip())]
    except csv.Error as error:
        raise csv.Error(f"line {begin}: {error}") from None
    if not number:
        raise DataError(f"data '{file}': there are no rows in it")
    features = {}
    for name, kinds, some, gaps in zip(names, open_kinds, seen, lacks, strict=True):
        kind = kinds[0][0] if kinds and some else "string"
        if gaps:
            kind = {"int64": "float64", "bool": "string"}.get(kind, kind)
        features[name] = Value(kind)
    return Features(features)


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
