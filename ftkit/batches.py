"""Which rows make which step: the same global batches for any number of processes.

accelerate's own sharding repeats rows at the end of an epoch so that every process has a full
batch; the repeated rows count twice, and a run on two processes is another run than on one. Here
the rows of the last batch are shared as they are, and a process that would have none gets a row
that does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ftkit.tasks import Rows

NO_LABEL = -100  # torch's cross-entropy passes over it; a number that does not count is NaN


class Batches(Sampler):
    """The keys of one rank's share of each forward pass, in an order from (seed, epoch).

    The key of a row is epoch * N + position; -1 - key where it only fills the batch.
    """

    def __init__(
        self,
        size: int,
        rows: int,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Share `size` rows, `rows` of them in a forward pass of all ranks together."""
        self.size, self.rows, self.seed, self.epoch = size, rows, seed, epoch
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return math.ceil(self.size / self.rows)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self.epoch()
        order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
        keys = order + epoch * self.size
        for start in range(0, self.size, self.rows):
            share = np.array_split(keys[start : start + self.rows], self.world_size)[self.rank]
            yield share.tolist() or [-1 - int(keys[start])]


class Keyed(Dataset):
    """Training rows by the keys of `Batches`."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> dict[str, Any]:
        if key >= 0:
            return self.rows[key]
        filler = self.rows[-1 - key]
        return {**filler, "labels": _nothing_like(filler["labels"])}


def is_label(labels: torch.Tensor) -> torch.Tensor:
    """Return, of the same shape, which labels count."""
    return ~labels.isnan() if labels.is_floating_point() else labels != NO_LABEL


def _nothing_like(labels: Any) -> Any:
    """Return labels of the same form that do not count."""
    if isinstance(labels, torch.Tensor):
        return torch.full_like(labels, math.nan if labels.is_floating_point() else NO_LABEL)
    return math.nan if isinstance(labels, float) else NO_LABEL
