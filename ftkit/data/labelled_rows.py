"""Which rows of each split have a label, and which group each is in; the others are left out."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from ftkit.data.findings import rows_of
from ftkit.data.groups import read_groups, require_apart
from ftkit.data.labels import is_labelled
from ftkit.errors import DataError
from ftkit.recipe import Data


def labelled_rows(
    data: Data, source: dict[str, Dataset], roles: dict[str, str], labels: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return which rows have a label, by role, and notes; drops a test split without any."""
    known, notes = {}, []
    for role, name in list(roles.items()):
        known[role] = np.flatnonzero(is_labelled(labels[role]))
        unlabelled = len(source[name]) - len(known[role])
        if role == "test" and not len(known[role]):
            notes.append("the test split has no labels and is not used; ftkit predict answers it")
            del known["test"], roles["test"]
        elif unlabelled:
            first = int(np.flatnonzero(~is_labelled(labels[role]))[0])
            have = "has" if unlabelled == 1 else "have"
            problem = f"split '{name}': {rows_of(unlabelled)} {have} no label, the first is {first}"
            if data.on_bad_row == "error" and role != "test":
                raise DataError(f"{problem}; leave them out with --set data.on_bad_row=skip")
            notes.append(f"left out: {problem}")
    return known, notes


def grouped_rows(
    data: Data,
    source: dict[str, Dataset],
    roles: dict[str, str],
    known: dict[str, np.ndarray],
    group: str | None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the group of each row of `known`, by role, and notes; leaves out rows without one.

    Raises:
        DataError: two splits share a group, or a row has none.
    """
    if group is None:
        return {}, []
    splits = {name: source[name].select(known[role]) for role, name in roles.items()}
    found, notes = read_groups(splits, group, data.on_bad_row == "skip")
    require_apart(found, splits, group)
    groups = {}
    for role, name in roles.items():
        if name in found:
            there = found[name] >= 0
            known[role], groups[role] = known[role][there], found[name][there]
    count = len(np.unique(groups["train"]))
    notes.append(f"rows of one {group} stay together: {count:,} in '{roles['train']}'")
    return groups, notes
