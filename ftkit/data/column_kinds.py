"""What the columns of a CSV file are: numbers or text, by all values of all splits.

A file does not say it. 007 may be a number or the name of a class, and a column of numbers in one
split may hold a word in another. So each value is looked at once, and what the task calls a label,
a text or an image stays text unless nothing is lost by taking it for a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MISSING = frozenset(
    (
        *("", " ", "NA", "N/A", "n/a", "na", "n.a.", "N.A.", "<NA>", "#N/A", "NaN", "nan", "-nan"),
        *("NaT", "null", "NULL", "Null", "None", "none", "?", "-", "--", "."),
    )
)
"""Texts that stand for a missing value in a column of numbers. In a column of text only an empty
field does."""
PLAIN = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(\.[0-9]{1,15})?")
"""A number that Python writes as the file does. The group is filled when the number is not whole.
"""
WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
BROKEN = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?(inf|Infinity)")
COMMA = re.compile(r"[-+]?([0-9]+,?[0-9]*|,[0-9]+)([eE][-+]?[0-9]+)?")
GROUPED = re.compile(r"[-+]?[1-9][0-9]{0,2},[0-9]{3}")
"""A number whose comma may as well stand between thousands."""
TRUTH = re.compile(r"True|TRUE|true|False|FALSE|false")
KINDS = {"int64": WHOLE, "float64": BROKEN, "comma": COMMA, "bool": TRUTH}
"""The types that all values of a column may have. "comma" is a number with a decimal comma."""

Use = Literal["text", "class"]
"""What a column is read for when it is not for numbers: "text", which stays as it is written, or
"class", whose names stay as they are written."""


@dataclass
class Column:
    """What was seen of the values of a column."""

    kinds: set[str] = field(default_factory=lambda: set(KINDS))
    """The types of `KINDS` that every value seen so far has; empty when the column holds words."""
    plain: bool = True
    """Whether every value is written as Python writes the number."""
    some: bool = False
    """Whether a row has a value."""
    gaps: bool = False
    """Whether a row has no value."""
    fractions: bool = False
    """Whether a value has a comma that cannot stand between thousands."""

    def see(self, value: str) -> None:
        """Take a value into account, as long as there are `kinds`."""
        if value in MISSING:
            self.gaps = True
            return
        self.some = True
        plain = PLAIN.fullmatch(value)
        if plain is None:
            self.plain = False
            bare = value.strip(" \t")  # as the reader does, of numbers alone
            self.fractions |= "," in bare and GROUPED.fullmatch(bare) is None
            self.kinds = {
                kind
                for kind in self.kinds
                if KINDS[kind].fullmatch(value if kind == "bool" else bare)
            }
        elif plain.lastindex is None:
            self.kinds.discard("bool")
        else:
            self.kinds &= {"float64"}

    def dtype(self, use: Use | None, decimal: str) -> str:
        """Return the type in which the column is read: int64, float64, bool or string."""
        kind = self._kind("comma" if decimal == "," else "float64")
        if use == "text":
            return "string"
        if use == "class":  # what is written is the name, but for 1.0, which gaps make of 1
            return "float64" if kind == "float64" and self.plain and decimal == "." else "string"
        return {"int64": "float64", "bool": "string"}.get(kind, kind) if self.gaps else kind

    def _kind(self, broken: str) -> str:
        """Return its narrowest type; `broken` says how numbers that are not whole are written."""
        if not self.some or not self.kinds:
            return "string"
        if "int64" in self.kinds:
            return "int64"
        return "float64" if broken in self.kinds else "bool" if "bool" in self.kinds else "string"

    def missing(self, use: Use | None) -> list[str]:
        """Return the texts that stand for a missing value in it."""
        numbers = self.some and bool(self.kinds) and use != "text"
        return sorted(MISSING) if numbers else [""]


def merged(seen: Iterable[Mapping[str, Column]]) -> dict[str, Column]:
    """Return each column with what was seen of it in all files."""
    found: dict[str, Column] = {}
    for columns in seen:
        for name, column in columns.items():
            both = found.get(name)
            found[name] = column if both is None else _both(both, column)
    return found


def has_commas(column: Column) -> bool:
    """Return whether a column holds numbers with a comma that can only be a decimal one."""
    return column.some and column.kinds == {"comma"} and column.fractions


def has_points(column: Column) -> bool:
    """Return whether a column holds numbers with a decimal point."""
    return column.some and "float64" in column.kinds and "int64" not in column.kinds


def _both(one: Column, other: Column) -> Column:
    return Column(
        kinds=one.kinds & other.kinds,
        plain=one.plain and other.plain,
        some=one.some or other.some,
        gaps=one.gaps or other.gaps,
        fractions=one.fractions or other.fractions,
    )


def number_of(value: Any) -> float:
    """Return the number that a value is, NaN for a gap: a small file may hold nothing else.

    Raises:
        TypeError, ValueError: it is none.
    """
    if value is None or (isinstance(value, str) and value in MISSING):
        return math.nan
    truth = isinstance(value, str) and TRUTH.fullmatch(value.strip())
    return float(value.strip().lower() == "true") if truth else float(value)
