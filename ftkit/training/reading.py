"""Trainer that reads its rows in the order of `ftkit.training.batches`, ahead of the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psutil
import torch
from torch.utils.data import DataLoader

from ftkit.machine.interruption import leave_to_parent
from ftkit.tasks.compact_images import as_it_is, compact
from ftkit.tasks.device_batches import Batch, on_device
from ftkit.tasks.evaluation import collate_of, lengths_of
from ftkit.tasks.inputs import Inputs
from ftkit.training.batches import Batches, Keyed
from ftkit.training.resuming import ExactTrainer


class ReadingTrainer(ExactTrainer):
    """See the head of this file."""

    inputs: Inputs
    readers: DataLoader | None = None
    ahead: Iterator[Any] | None = None
    """The batches of this epoch that are left, on the device."""
    finish: Callable[[Batch], Batch] = staticmethod(as_it_is)
    """Makes model inputs of a batch on the device."""

    def get_train_dataloader(self) -> DataLoader:
        """Return this rank's share of the batches that any number of processes would see."""
        world_size = self.machine.world_size
        rows, self.finish = compact(self.inputs.train, self.machine.device)
        self.readers = DataLoader(
            Keyed(rows, self._memory_for_rows()),
            batch_sampler=Batches(
                len(self.inputs.train),
                self.args.per_device_train_batch_size * world_size,
                self.args.seed,
                lambda: int(self.state.epoch or 0),
                self.machine.rank,
                world_size,
                lengths_of(self.inputs.train),
                self.settings.rows_per_step,
            ),
            collate_fn=collate_of(self.inputs.train),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            worker_init_fn=leave_to_parent,
            # an iterator draws a seed for its readers when it is made, and once more in each epoch:
            # from the process's own state a resumed run would draw another dropout
            generator=torch.Generator().manual_seed(self.args.seed),
        )
        return self.readers

    def end_readers(self) -> None:
        """End the processes that read rows; else they live, with all they inherited, until gc.

        The batches that were ahead go too, and with them their memory on the device.
        """
        self.ahead = None
        if self.readers is not None and (rows := self.readers._iterator) is not None:
            rows._shutdown_workers()  # type: ignore[attr-defined]
            self.readers._iterator = None

    def _memory_for_rows(self) -> int:
        """Return how many bytes of examples may be kept: a quarter of what is free, in one process.

        Several readers would each keep all of them.
        """
        alone = self.args.dataloader_num_workers == 0
        return psutil.virtual_memory().available // 4 // self.machine.world_size if alone else 0

    def _run_epoch(self, **given: Any) -> None:  # type: ignore[override]
        self.ahead = None
        super()._run_epoch(**given)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list, Any]:
        """Return the micro-batches of a step on the device, and how many labels they have."""
        if self.ahead is None:
            batches = on_device(epoch_iterator, self.machine.device, kept=("index",))
            self.ahead = map(self.finish, batches)
        return super().get_batch_samples(self.ahead, num_batches, device)
