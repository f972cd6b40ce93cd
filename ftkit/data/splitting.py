"""Drawing: what is cut off for validation and test, and what limits leave of each split."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from datasets import Dataset

from ftkit.data.duplicates import number_copies
from ftkit.data.sampling import are_classes, cut_off, limit_rows
from ftkit.data.splits import ROLES, group_numbers, labels_of
from ftkit.errors import DataError
from ftkit.recipe import Data

CUT_ROLES = ("test", "validation")
"""The splits that are cut off from train where the source lacks them, in this order."""


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

    def find_copies(self) -> None:
        """Let copies be the groups: of train and validation in one numbering, of test in its own.

        A head that is solved is fitted to training and validation rows together.
        """
        cut = any(role not in self.rows for role in CUT_ROLES)
        for roles in (("train", "validation"), ("test",)):
            there = [role for role in roles if role in self.rows]
            if not there:
                continue
            found, why = number_copies(*(self.rows[role] for role in there))
            if found is not None:
                ends = np.cumsum([len(self.rows[role]) for role in there])
                self.groups |= dict(zip(there, np.split(found, ends[:-1]), strict=True))
            elif cut and "train" in there:
                self.notes.append(f"rows of train that are equal are not kept together: {why}")
        groups = self.groups.get("train")
        repeated = 0 if groups is None else len(groups) - len(np.unique(groups))
        if repeated and cut:
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
        if groups is not None and len(groups) and len(np.unique(groups)) < 2:
            self._refuse(role, split)
        labels = labels_of(rows)
        off = cut_off(labels, groups, size, seed)
        stays = np.setdiff1d(np.arange(len(rows)), off)
        self.rows |= {role: rows.select(off), "train": rows.select(stays)}
        if groups is not None:
            self.groups |= {role: groups[off], "train": groups[stays]}
        by = "by class" if are_classes(labels) else "at random"
        by += f" and in whole groups of {self.group}" if self.group else ""
        self.notes.append(
            f"no {role} split: {len(off)} rows cut from '{split}', {by}, data.split_seed {seed}"
        )

    def _refuse(self, role: str, split: str) -> None:
        """Refuse to cut rows for the role from one group."""
        if self.group:
            raise DataError(
                f"data.group: no {role} rows can be cut from '{split}', of which one "
                f"{self.group} is left; give rows of more, or a {role} split"
            )
        N = len(self.rows["train"])
        if N > 1:
            raise DataError(
                f"no {role} rows can be cut from '{split}': the {N:,} rows that are left of it are "
                f"copies of one, and copies stay together; give other rows or a {role} split, or "
                f"let copies be cut apart with --set data.copies=apart"
            )

    def limit(self, role: str, most: int | None, seed: int) -> None:
        """Leave at most so many rows of a split."""
        rows, groups = self.rows[role], self.groups.get(role)
        if most is None or most >= len(rows):
            return
        left = limit_rows(labels_of(rows), groups, most, seed)
        self.rows[role] = rows.select(left)
        if groups is not None:
            self.groups[role] = groups[left]


def draw_splits(
    rows: Mapping[str, Dataset],
    groups: Mapping[str, np.ndarray],
    data: Data,
    group: str | None,
    split: str,
) -> tuple[dict[str, Dataset], dict[str, np.ndarray | None], list[str]]:
    """Return by role the rows of train, validation and test, their groups, and notes.

    All of it follows from `data` and the rows: every process, and every `train.seed`, draws alike.

    Args:
        rows: of the source by role; train is there.
        groups: of each role that has them, a number for each row, where `group` is a column.
        split: name of the split that plays train.

    Raises:
        DataError: there are too few groups to cut.
    """
    drawn = Drawn(rows, groups, group)
    if group is None and data.copies == "together":
        drawn.find_copies()
    for role in CUT_ROLES:
        if role not in rows:
            left = len(drawn.rows["train"])
            size = min(left, data.train_rows or left)
            size = math.ceil(size * getattr(data, f"{role}_fraction"))
            drawn.cut(role, size, split, data.split_seed)
    for role in ROLES:
        drawn.limit(role, getattr(data, f"{role}_rows"), data.split_seed)
    found = {role: drawn.groups.get(role) for role in ROLES}
    if found["train"] is not None and found["validation"] is None:  # each row is its own
        found["validation"] = -1 - np.arange(len(drawn.rows["validation"]))
    return drawn.rows, found | {"test": group_numbers(found["test"])}, drawn.notes
