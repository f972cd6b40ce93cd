"""What is found in rows: an error or a warning of one line, with the rows that it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ftkit.data.splits import ROLES, Splits, file_of, in_brackets

MOST_EXAMPLES = 5
NUMBERS = re.compile(r"[0-9][0-9.,]*")
Rows = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd with the rows."""

    severity: Literal["error", "warning"]
    message: str
    """A sentence in one line."""
    examples: tuple[Rows, ...] = ()
    """The first examples: row numbers in the source by split. Rows that belong together are one
    example."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The file of each example that is a file, as in {"train 3": name}."""

    def values(self) -> dict[str, Any]:
        """Return all of it as JSON has it, with `files` when there are any."""
        found = asdict(self)
        return found if self.files else {k: v for k, v in found.items() if k != "files"}

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}{_shown(self.examples, self.files)}"


def unreadable_rows(
    splits: Splits, bad: Mapping[str, Mapping[int, str]], skip: bool
) -> list[Finding]:
    """Return a finding for each reason for which rows cannot be read.

    Args:
        bad: of each split {position: reason}, from `ftkit.data.row_fingerprints.fingerprint_rows`.
        skip: whether such rows are left out instead of refused.
    """
    reasons: dict[str, list[tuple[str, int]]] = {}
    kinds: dict[str, str] = {}  # sizes and places differ from row to row, and are no reasons
    for role in ROLES:
        index = np.asarray(getattr(splits, role)["index"][:])
        for position, reason in bad[role].items():
            first = kinds.setdefault(NUMBERS.sub("", reason), reason)
            reasons.setdefault(first, []).append((role, int(index[position])))
    end = "left out" if skip else "mend them, or leave them out: --set data.on_bad_row=skip"
    return [
        Finding(
            "warning" if skip else "error",
            f"{rows_of(len(places))} cannot be used, {reason}; {end}",
            tuple({role: (row,)} for role, row in places[:MOST_EXAMPLES]),
        )
        for reason, places in reasons.items()
    ]


def rows_of(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def rows_are(count: int) -> str:
    return f"{rows_of(count)} {'is' if count == 1 else 'are'}"


def with_files(findings: Iterable[Finding], splits: Splits) -> tuple[Finding, ...]:
    """Return the findings with the names of the files of their examples."""
    numbers = {role: np.asarray(getattr(splits, role)["index"][:]) for role in ROLES}

    def files_of(finding: Finding) -> dict[str, str]:
        found: dict[str, str] = {}
        for role, number in ((r, n) for each in finding.examples for r in each for n in each[r]):
            for position in np.flatnonzero(numbers[role] == number)[:1]:
                file = file_of(getattr(splits, role), int(position), splits.folder)
                found |= {f"{role} {number}": file} if file else {}
        return found

    if "image" not in splits.train.column_names:
        return tuple(findings)
    return tuple(replace(finding, files=files_of(finding)) for finding in findings)


def _shown(examples: tuple[Rows, ...], files: Mapping[str, str]) -> str:
    """Return row numbers for a screen, as in ': train 3 (cat/5.png) = test 17'."""
    groups = [
        " = ".join(
            name + in_brackets(files.get(name, ""))
            for name in (f"{role} {row}" for role, rows in example.items() for row in rows)
        )
        for example in examples
    ]
    return f": {', '.join(groups)}" if groups else ""
