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

from ftkit.errors import TrainingError
from ftkit.tasks.inputs import NO_LABEL, Rows, examples_of

POOL = 32
"""Batches whose rows are sorted by length together: enough to save padding, and still random."""


class Batches(Sampler):
    """The keys of one rank's share of each forward pass, in an order from (seed, epoch).

    The key of a row is epoch * N + position; -1 - key where it only fills the batch. Rows of about
    the same length come together where lengths are given.
    """

    def __init__(
        self,
        size: int,
        rows: int,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
        lengths: np.ndarray | None = None,
        together: int | None = None,
    ) -> None:
        """Share `size` rows, `rows` of them in a forward pass of all ranks together.

        Args:
            lengths: (size,) of each row, such as tokens.
            together: rows of an optimiser step, a multiple of `rows`: the order rests on them
                alone, so that it is the same however many go through memory at once.
        """
        self.lengths, self.together = lengths, together or rows
        self.size, self.rows, self.seed, self.epoch = size, rows, seed, epoch
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return math.ceil(self.size / self.rows)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self.epoch()
        draw = np.random.default_rng((self.seed, epoch))
        order = draw.permutation(self.size)
        if self.lengths is not None:
            order = self._by_length(order, self.lengths, draw)
        keys = order + epoch * self.size
        for start in range(0, self.size, self.rows):
            share = np.array_split(keys[start : start + self.rows], self.world_size)[self.rank]
            yield share.tolist() or [-1 - int(keys[start])]

    def _by_length(
        self, order: np.ndarray, lengths: np.ndarray, draw: np.random.Generator
    ) -> np.ndarray:
        """Return the order with batches of similar rows; the last batch, not full, stays last."""
        whole, rest = np.split(order, [self.size - self.size % self.together])
        pools = [
            whole[start : start + POOL * self.together]
            for start in range(0, len(whole), POOL * self.together)
        ]
        ordered = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
        batches = np.concatenate([*ordered, whole[:0]]).reshape(-1, self.together)
        return np.concatenate([batches[draw.permutation(len(batches))].ravel(), rest])


class Keyed(Dataset):
    """Training rows by the keys of `Batches`.

    Examples that are the same in every epoch are kept, where all of them fit into the memory given.
    """

    def __init__(self, rows: Rows, memory: int = 0) -> None:
        """Read these rows; keep at most so many bytes."""
        size = getattr(rows, "example_bytes", None) if memory else None
        self.rows, self.keep = rows, size is not None and size * len(rows) <= memory
        self.kept: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[int]) -> list[dict[str, Any]]:
        """Return several examples."""
        wanted = [key if key >= 0 else -1 - key for key in keys]
        if self.keep:
            wanted = [key % len(self) for key in wanted]
            new = [position for position in wanted if position not in self.kept]
            self.kept.update(zip(new, self._read(new), strict=True))
            found = [self.kept[position] for position in wanted]
        else:
            found = self._read(wanted)
        return [
            example if key >= 0 else {**example, "labels": _nothing_like(example["labels"])}
            for key, example in zip(keys, found, strict=True)
        ]

    def _read(self, keys: list[int]) -> list[dict[str, Any]]:
        """Return the examples of these keys, or say which of them cannot be read."""
        try:
            return examples_of(self.rows, keys)
        except (OSError, ValueError) as error:
            raise self._unreadable(keys, error) from error

    def _unreadable(self, keys: list[int], error: Exception) -> TrainingError:
        for key in keys:
            try:
                examples_of(self.rows, [key])
            except (OSError, ValueError) as found:
                epoch, position = divmod(key, len(self))
                reason = " ".join(str(found).split()) or type(found).__name__
                return TrainingError(
                    f"training row {position}{_where(self.rows, position)} cannot be read any more "
                    f"in epoch {epoch + 1}: {reason}. Put it back, then go on by --resume"
                )
        return TrainingError(f"training rows cannot be read: {error}; go on by --resume")


def _where(rows: Any, position: int) -> str:
    """Return the file of a row, where it has one and can be told."""
    table = getattr(rows, "rows", None)
    try:
        path = table[position]["image"]["path"]  # type: ignore[index]
    except (KeyError, TypeError, IndexError, OSError, ValueError):
        return ""
    return f" ({path})" if path else ""


def _nothing_like(labels: Any) -> Any:
    """Return labels of the same form that do not count."""
    if isinstance(labels, torch.Tensor):
        return torch.full_like(labels, math.nan if labels.is_floating_point() else NO_LABEL)
    return math.nan if isinstance(labels, float) else NO_LABEL
