"""The first rows of others, to try something out on them."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from ftkit.tasks import Rows
from ftkit.tasks.language import Tokens
from ftkit.tasks.translation import Pairs
from ftkit.tasks.vectors import Vectors
from ftkit.tasks.words import Words


@singledispatch
def few(rows: Rows, count: int) -> Rows:
    """Return the first `count` rows as rows of their own."""
    return Few(rows, min(count, len(rows)))


@few.register
def _(rows: Vectors, count: int) -> Rows:
    """All of them: an epoch over vectors in memory is short."""
    return rows


@few.register
def _(rows: Words, count: int) -> Rows:
    """With the places of their words."""
    return rows.first(count)


@few.register
def _(rows: Pairs, count: int) -> Rows:
    return rows.first(count)


@few.register
def _(rows: Tokens, count: int) -> Rows:
    return rows.first(count)


class Few:
    """The first rows of others; the key of an example is epoch * N + position, as it is there."""

    def __init__(self, rows: Rows, count: int) -> None:
        self.rows, self.count = rows, count
        if hasattr(rows, "collate"):
            self.collate = rows.collate
        if hasattr(rows, "lengths"):
            self.lengths = rows.lengths[:count]

    @property
    def labels(self) -> np.ndarray:
        """(N,) class numbers."""
        return self.rows.labels[: self.count]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int) -> dict[str, Any]:
        epoch, position = divmod(key, self.count)
        return self.rows[epoch * len(self.rows) + position]
