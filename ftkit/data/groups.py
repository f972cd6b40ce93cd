"""Groups: rows that belong together, by a column of theirs, and splits that must not share one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import chain
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features

from ftkit.data.duplicates import numbered
from ftkit.errors import DataError, nearest
from ftkit.recipe import Data


def without_group(features: Features, column: str | None, task: Any) -> Features:
    """Return the columns that may be inputs or labels: all except the column of groups.

    Raises:
        DataError: there is no such column, or the task was told to read it.
    """
    if column is None:
        return features
    if column not in features:
        raise DataError(
            f"data.group: the data has no column '{column}'; columns are {', '.join(features)}"
            f"{nearest(column, features)}"
        )
    asked = {name: getattr(task, name, None) for name in type(task).model_fields}
    for field, value in asked.items():
        if column == value or (isinstance(value, tuple) and column in value):
            raise DataError(
                f"column '{column}' cannot be both data.group and task.{field}; rows of one group "
                f"stay together, and nothing else is learned from it"
            )
    return Features({name: kind for name, kind in features.items() if name != column})


def grouped_rows(
    data: Data,
    source: dict[str, Dataset],
    roles: dict[str, str],
    known: dict[str, np.ndarray],
    group: str | None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the group of each row of `known` by role, and notes; rows without one are left out.

    Raises:
        DataError: two splits share a group, or a row has none.
    """
    if group is None:
        return {}, []
    splits = {name: source[name].select(known[role]) for role, name in roles.items()}
    found, notes = _read_groups(splits, group, data.on_bad_row == "skip")
    _require_apart(found, splits, group)
    groups = {}
    for role, name in roles.items():
        if name in found:
            there = found[name] >= 0
            known[role], groups[role] = known[role][there], found[name][there]
    count = len(np.unique(groups["train"]))
    notes.append(f"rows of one {group} stay together: {count:,} in '{roles['train']}'")
    return groups, notes


def _read_groups(
    rows: Mapping[str, Dataset], column: str, skip: bool
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return a number (N,) per row for each split that has the column, and notes.

    Equal values have equal numbers in all splits; -1 stands for no value. Classes are compared by
    their names, which may have other numbers in another split. Where any split holds text, the
    values of all are compared as text, so the number 7 equals "7".

    Args:
        rows: of each split, by its name in the source.
        skip: whether rows without a value are left out instead of refused.

    Raises:
        DataError: a row has no value, or one that is no single value.
    """
    found: dict[str, list[Hashable]] = {}
    notes = []
    for split, table in rows.items():
        if column not in table.features:
            notes.append(
                f"split '{split}' has no column '{column}': nobody can tell whether it shares a "
                f"group with train, and each of its rows counts by itself"
            )
            continue
        values = _values(table, column)
        lists = next((n for n, value in enumerate(values) if not isinstance(value, Hashable)), None)
        if lists is not None:
            raise DataError(
                f"column '{column}', split '{split}', row {lists}: expected one value, "
                f"got {type(values[lists]).__name__}"
            )
        missing = [row for row, value in enumerate(values) if value is None]
        if missing:
            problem = (
                f"split '{split}': {len(missing)} rows have no '{column}', which is data.group"
            )
            if not skip:
                raise DataError(
                    f"{problem}, the first is row {missing[0]}; fill them in, or leave them out "
                    f"with --set data.on_bad_row=skip"
                )
            notes.append(f"left out: {problem}")
        found[split] = values
    if any(isinstance(value, str) for values in found.values() for value in values):
        found = {split: [_as_text(value) for value in values] for split, values in found.items()}
    numbers = numbered(chain([None], *found.values())) - 1
    ends = np.cumsum([1, *map(len, found.values())])
    return {
        split: numbers[start:end]
        for split, start, end in zip(found, ends[:-1], ends[1:], strict=True)
    }, notes


def _require_apart(
    groups: Mapping[str, np.ndarray], rows: Mapping[str, Dataset], column: str
) -> None:
    """Refuse splits of the source that share a group.

    Args:
        groups: of each split, from `_read_groups`, by its name in the source.

    Raises:
        DataError: two of them do.
    """
    names = list(groups)
    for place, second in enumerate(names):
        for first in names[:place]:
            shared = np.intersect1d(groups[first], groups[second])
            shared = shared[shared >= 0]
            if len(shared):
                row = int(np.flatnonzero(groups[second] == shared[0])[0])
                more = f" and {len(shared) - 1:,} more" if len(shared) > 1 else ""
                value = _values(rows[second], column)[row]
                raise DataError(
                    f"split '{second}' shares {column} {value!r}{more} with "
                    f"split '{first}'; move the rows of each to one of them, or take the splits as "
                    f"they are by leaving data.group out"
                )


def _values(table: Dataset, column: str) -> list[Any]:
    """Return the value of each row, for a class its name; None for a missing value."""
    feature, values = table.features[column], table[column][:]
    if isinstance(feature, ClassLabel):
        return [None if value is None or value < 0 else feature.int2str(value) for value in values]
    return [None if value == "" or value != value else value for value in values]  # "" and NaN


def _as_text(value: Any) -> str | None:
    """Return a value as a table of text has it: 7.0, which gaps make of 7, becomes 7 again."""
    if value is None:
        return None
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
