"""Which split of a source is for training, which for choosing, which for the test at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import ClassLabel, Dataset

from ftkit.data.splits import ROLES
from ftkit.data.table_files import SPLITS, split_meanings
from ftkit.data.usual_columns import SPLIT_NAMES, usually_named
from ftkit.errors import DataError, nearest
from ftkit.errors.names import first_few
from ftkit.recipe import Data


def splits_by_column(
    splits: Mapping[str, Dataset], data: Data
) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """Return the splits that `data.split_column` names, without that column, and notes.

    Where it is not given, the splits as they are, and a note where a column looks like it.

    Raises:
        DataError: there is no such column, several splits are there already, or a row has no value.
    """
    column = data.split_column
    if column is None:
        return dict(splits), _note_unused_column(splits)
    rows, *others = splits.values()
    if others or column not in rows.features:
        there = f"splits {', '.join(splits)}" if others else f"columns {', '.join(rows.features)}"
        raise DataError(
            f"data.split_column = {column}: expected one table with such a column, found {there}"
            f"{'' if others else nearest(column, rows.features)}"
        )
    words = _words(rows, column)
    empty = [row for row, word in enumerate(words) if not word]
    if empty and data.on_bad_row == "error":
        raise DataError(
            f"column '{column}', row {empty[0]}: expected the name of a split; fill it in, or "
            f"leave such rows out with --set data.on_bad_row=skip"
        )
    means = split_meanings(map(str.lower, {*words}))
    places: dict[str, list[int]] = {}
    for row, word in enumerate(words):
        if word:
            places.setdefault(means.get(word.lower(), word), []).append(row)
    rows = rows.remove_columns(column)
    notes = [f"splits are those of column '{column}'"]
    if empty:
        notes.append(f"left out: {len(empty):,} rows without a value in '{column}'")
    return {word: rows.select(numbers) for word, numbers in places.items()}, tuple(notes)


def _note_unused_column(splits: Mapping[str, Dataset]) -> tuple[str, ...]:
    if [*splits] != ["train"]:
        return ()
    rows = splits["train"]
    for column in usually_named(SPLIT_NAMES, rows.features):
        kind = rows.features[column]
        if isinstance(kind, ClassLabel) or getattr(kind, "dtype", "") in ("string", "large_string"):
            words = {word.lower() for word in _words(rows, column) if word}
            if len(words) > 1 and words <= SPLITS.keys():
                said = ", ".join(sorted(words))
                return (
                    f"column '{column}' says {said}; to take these splits give --set "
                    f"data.split_column={column}",
                )
    return ()


def _words(rows: Dataset, column: str) -> list[str]:
    kind, values = rows.features[column], rows[column][:]
    if isinstance(kind, ClassLabel):
        values = [None if v is None or v < 0 else kind.int2str(v) for v in values]
    return ["" if value is None else str(value).strip() for value in values]


def assign_roles(data: Data, source: dict[str, Dataset]) -> dict[str, str]:
    """Return which split of the source plays train, validation and test."""
    roles = {}
    for role in ROLES:
        asked = getattr(data, role)
        if asked == role != "train":  # the usual name, which need not be there
            continue
        if asked not in source:
            raise DataError(
                f"data '{data.path}' has no split '{asked}'; splits are {', '.join(source)}. "
                f"Use --set data.{role}=SPLIT"
            )
        roles[role] = asked
    means = split_meanings(map(str.lower, source))
    for role in ("validation", "test"):  # what was not asked for by name, out of what is left
        left = [name for name in source if name not in roles.values()]
        others = [name for name in left if means.get(name.lower()) == role]
        if role not in roles and (role in left or others):
            roles[role] = role if role in left else others[0]
    if len(set(roles.values())) < len(roles):
        raise DataError(f"data: train, validation and test must be different splits, got {roles}")
    return roles


def note_unused_splits(source: Mapping[str, Any], roles: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note where a split has no role."""
    left = [name for name in source if name not in roles.values() and "[" not in name]
    parts = {name.partition("[")[0] for role in roles.values() for name in role.split("+")}
    left = [name for name in left if name not in parts]
    return (f"not used: split{'s' if left[1:] else ''} {first_few(left)}",) if left else ()
