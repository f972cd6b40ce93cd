"""Drawing: what is cut off for validation and test, and what limits leave of each split."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from datasets import Dataset

from ftkit.data.copies import copies
from ftkit.data.cutting import cut_off, limited
from ftkit.data.splits import ROLES, labels_of, own_groups
from ftkit.errors import DataError
from ftkit.recipe import Data

CUT = ("test", "validation")
"""In this order."""


class Drawn:
    """The rows of each split while they are drawn, with the group of each row."""

    def __init__(
        self, rows: Mapping[str, Dataset], groups: Mapping[str, np.ndarray], group: str | None
    ) -> None:
        """Begin with what the source has.

        Args:
            rows: by role; train is there.
            groups: by role, a number for each row, of the roles that have the column `group`.
        """
        self.rows, self.groups, self.group = dict(rows), dict(groups), group
        self.notes: list[str] = []

    def find_copies(self, data: Data) -> None:
        """Let copies be the groups of the rows that are drawn from, and of the test rows."""
        limits = {role: getattr(data, f"{role}_rows") for role in ROLES}
        for role, rows in self.rows.items():
            most = limits[role]
            cut = role == "train" and any(other not in self.rows for other in CUT)
            if not cut and role != "test" and (most is None or most >= len(rows)):
                continue
            found, why = copies(rows)
            if found is not None:
                self.groups[role] = found
            elif cut:
                self.notes.append(f"rows of {role} that are equal are not kept together: {why}")
        repeated = _repeated(self.groups.get("train"))
        if repeated and any(other not in self.rows for other in CUT):
            self.notes.append(
                f"{repeated:,} training rows repeat another one, texts perhaps in other case or "
                f"punctuation; they are cut off together or not at all"
            )

    def cut(self, role: str, size: int, split: str, seed: int) -> None:
        """Cut off about `size` rows of train for the role.

        Args:
            split: name of the split that plays train.

        Raises:
            DataError: train has one group alone.
        """
        rows, groups = self.rows["train"], self.groups.get("train")
        if self.group and groups is not None and len(np.unique(groups)) < 2:
            raise DataError(
                f"data.group: no {role} rows can be cut from '{split}', of which one "
                f"{self.group} is left; give rows of more, or a {role} split"
            )
        off = cut_off(labels_of(rows), groups, size, seed)
        stays = np.setdiff1d(np.arange(len(rows)), off)
        self.rows |= {role: rows.select(off), "train": rows.select(stays)}
        if groups is not None:
            self.groups |= {role: groups[off], "train": groups[stays]}
        by = f"by class and in whole groups of {self.group}" if self.group else "by class"
        self.notes.append(
            f"no {role} split: {len(off)} rows cut from '{split}', {by}, data.split_seed {seed}"
        )

    def limit(self, role: str, most: int | None, seed: int) -> None:
        """Leave at most so many rows of a split."""
        rows, groups = self.rows[role], self.groups.get(role)
        if most is None or most >= len(rows):
            return
        left = limited(labels_of(rows), groups, most, seed)
        self.rows[role] = rows.select(left)
        if groups is not None:
            self.groups[role] = groups[left]


def draw(
    rows: Mapping[str, Dataset],
    groups: Mapping[str, np.ndarray],
    data: Data,
    group: str | None,
    split: str,
    N: int,
) -> tuple[dict[str, Dataset], np.ndarray | None, list[str]]:
    """Return the rows of train, validation and test, the groups of the test rows, and notes.

    All of it follows from `data` and the rows: every process, and every `train.seed`, draws alike.

    Args:
        rows: of the source by role; train is there.
        groups: of each role that has them, a number for each row, where `group` is a column.
        split: name of the split that plays train.
        N: its rows before any was left out.

    Raises:
        DataError: there are too few groups to cut.
    """
    drawn = Drawn(rows, groups, group)
    if group is None and data.copies == "together":
        drawn.find_copies(data)
    for role in CUT:
        if role not in rows:
            size = min(len(drawn.rows["train"]), data.train_rows or N)
            size = math.ceil(size * getattr(data, f"{role}_fraction"))
            drawn.cut(role, size, split, data.split_seed)
    for role in ROLES:
        drawn.limit(role, getattr(data, f"{role}_rows"), data.split_seed)
    return drawn.rows, own_groups(drawn.groups.get("test")), drawn.notes


def _repeated(groups: np.ndarray | None) -> int:
    """Return how many rows repeat an earlier one."""
    return 0 if groups is None else len(groups) - len(np.unique(groups))
