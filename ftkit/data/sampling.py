"""Cuts: which rows are drawn, in whole groups and with the classes in proportion. Pure."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array

NEVER = np.iinfo(np.int64).max


def are_classes(labels: np.ndarray) -> bool:
    """Return whether labels (N,) are class numbers: no measures, lists or texts."""
    return labels.dtype.kind == "i"


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return an order of all rows in which every beginning holds the classes in their proportions.

    Without classes it is random. Within a class the order is random. The j-th of n rows of a class
    stands at (j + 1/2) / n, so the first k rows hold a class's k * n / N rows to within one.

    Args:
        labels: (N,) class numbers; anything else is no class.

    Returns:
        (N,) row numbers.
    """
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(labels))
    if not are_classes(labels):
        return shuffled
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return shuffled[np.argsort(place[shuffled], kind="stable")]


def cut_off(labels: np.ndarray, groups: np.ndarray | None, size: int, seed: int) -> np.ndarray:
    """Return about `size` rows in rising order: whole groups, with the classes in proportion.

    The number of rows misses `size` by less than the rows of the largest group. At least one group
    is cut off where `size` is not 0, and at least one stays. Where every row is a group of its own,
    the rows are the first `size` of `stratified_order`: all of them where there are no more.

    The classes are to have as many rows as among the first `size` of `stratified_order`, and the
    groups come in the order in which their first rows stand there, so a group of many rows is as
    likely to be drawn as a single row. First each group is taken that fits all of its classes, then
    each that fits the whole and brings the counts of the classes nearer, and at last, as long as
    one improves them, the group that improves them most. This stays by hand: scikit-learn's
    StratifiedGroupKFold serves the same purpose, but cuts off a k-th part alone, and other rows
    than `stratified_order` where there are no groups.

    Args:
        labels: (N,) class numbers; anything else is no class.
        groups: (N,) int, equal for the rows of a group; None where each row is its own.
    """
    order = stratified_order(labels, seed)
    found = None if groups is None else _Groups(labels, groups, order, size)
    if found is None or found.single:
        return np.sort(order[:size])
    found.take_what_fits()
    found.take_what_improves()
    return found.rows()


def limit_rows(labels: np.ndarray, groups: np.ndarray | None, most: int, seed: int) -> np.ndarray:
    """Return `most` rows in rising order: whole groups while they fit, classes in proportion.

    The rows that are then still missing come from groups of which others are left out.

    Args:
        labels, groups: as `cut_off` has them.
    """
    order = stratified_order(labels, seed)
    found = None if groups is None else _Groups(labels, groups, order, most)
    if found is None or found.single:
        return np.sort(order[:most])
    found.take_what_fits()
    taken = found.rows()
    room, rest = found.room.copy(), list[int]()
    others = order[~np.isin(order, taken)]
    for row in others:
        if len(taken) + len(rest) == most:
            break
        if room[found.classes[row]] > 0:
            room[found.classes[row]] -= 1
            rest.append(row)
    return np.sort(np.concatenate([taken, np.array(rest, int)]))


class _Groups:
    """Groups in their order, which of them are taken, and how many rows each class still lacks."""

    def __init__(
        self, labels: np.ndarray, groups: np.ndarray, order: np.ndarray, size: int
    ) -> None:
        N = len(labels)
        _, first, which = np.unique(groups, return_index=True, return_inverse=True)
        self.single = len(first) == N
        place = np.empty(N, int)
        place[order] = np.arange(N)
        rank = np.empty(len(first), int)
        rank[np.argsort(place[first])] = np.arange(len(first))
        self.of_row = rank[which]
        self.classes = np.zeros(N, int)
        if are_classes(labels):
            self.classes = np.unique(labels, return_inverse=True)[1]
        shape = (len(first), int(self.classes.max(initial=0)) + 1)
        counts = coo_array((np.ones(N, int), (self.of_row, self.classes)), shape).tocsr()
        self.starts, self.inside, self.counts = counts.indptr, counts.indices, counts.data
        self.sizes = np.bincount(self.of_row, minlength=len(first))
        self.room = np.bincount(self.classes[order[:size]], minlength=shape[1])
        self.taken = np.zeros(len(first), bool)

    def rows(self) -> np.ndarray:
        """Return the rows of the groups that are taken, in rising order."""
        return np.flatnonzero(self.taken[self.of_row])

    def take_what_fits(self) -> None:
        """Take in their order the groups that fit every class, then those that fit the whole."""
        starts, inside, counts = (a.tolist() for a in (self.starts, self.inside, self.counts))
        room, left = self.room.tolist(), int(self.room.sum())

        def take(group: int, classes: list[int], rows: list[int]) -> int:
            self.taken[group] = True
            for each, count in zip(classes, rows, strict=True):
                room[each] -= count
            return left - sum(rows)

        for strict in (True, False):
            for group, taken in enumerate(self.taken.tolist()):
                if not left:
                    break
                at = slice(starts[group], starts[group + 1])
                classes, rows = inside[at], counts[at]
                pairs = list(zip(classes, rows, strict=True))
                if taken or sum(rows) > left:
                    continue
                if strict:
                    fits = all(count <= room[each] for each, count in pairs)
                else:
                    gap = sum(abs(room[each] - count) - abs(room[each]) for each, count in pairs)
                    fits = gap < 0
                if fits:
                    left = take(group, classes, rows)
        self.room = np.array(room)

    def take_what_improves(self) -> None:
        """Take or give back the group that brings the counts nearest, as long as one does.

        Their distance is the sum over classes of the rows too few or too many, and twice the rows
        too few or too many in all: so a group that fits the whole always brings them nearer.
        """
        while self.room.any():
            sign = np.where(self.taken, -1, 1)  # of the room that a change of this group takes
            change = self._change(sign)
            if self.taken.sum() == len(sign) - 1:  # one has to stay
                change[~self.taken] = NEVER
            if self.taken.sum() == 1:
                change[self.taken] = NEVER
            best = int(change.argmin())
            if change[best] == NEVER or (change[best] >= 0 and self.taken.any()):
                break
            self.taken[best] = not self.taken[best]
            at = slice(self.starts[best], self.starts[best + 1])
            self.room[self.inside[at]] -= sign[best] * self.counts[at]

    def _change(self, sign: np.ndarray) -> np.ndarray:
        """Return (G,) how the distance changes where each group is taken (1) or given back (-1)."""
        room, left = self.room[self.inside], self.room.sum()
        counts = np.repeat(sign, np.diff(self.starts)) * self.counts
        gaps = np.add.reduceat(np.abs(room - counts) - np.abs(room), self.starts[:-1])
        return gaps + 2 * (np.abs(left - sign * self.sizes) - abs(left))
