"""Running a model over rows: each row once, in order, for any number of processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader

from ftkit.machine.runtime import Machine
from ftkit.machine.threads import usable_cores
from ftkit.recipe import Train
from ftkit.tasks.compact_images import compact
from ftkit.tasks.device_batches import on_device, on_host
from ftkit.tasks.inputs import Inputs, Rows, examples_of, stacked

NO_INPUTS = ("labels", "index")
"""The keys of an example that are no inputs of the model."""
MOST_VERIFIED = 256
"""Test rows of a run that are compared with what its saved model gives."""
MOST_THREADS = 4
"""A CPU computes at most so many batches at a time, since each needs memory of its own."""


def predict_logits(model: nn.Module, rows: Rows, settings: Train, machine: Machine) -> np.ndarray:
    """Return the logits (N, C) float32 of all rows, in order, on every rank.

    Every rank must call this. Leaves the model in eval mode.
    """
    model.eval()
    return for_each_row(lambda inputs: model(**inputs)["logits"], rows, settings, machine)


def for_each_row(
    compute: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    rows: Rows,
    settings: Train,
    machine: Machine,
    with_labels: bool = False,
) -> np.ndarray:
    """Return (N, ...) float32: what `compute` gives for each row's inputs, in order, on every rank.

    Rows of similar length are computed together. Each rank takes every world_size-th of them, so no
    row is counted twice. Every rank must call this.

    Args:
        compute: from the model's inputs by name, each (B, ...), to outputs (B, ...), on the device.
        with_labels: labels are among these inputs.
    """
    order = by_length(rows, np.arange(len(rows)))
    batches = shared_batches(rows, settings, machine)
    outputs = [
        values.float().cpu().numpy()
        for values in in_batches(compute, rows, batches, settings, machine, with_labels)
    ]
    stacked = np.concatenate(gather_object(outputs))  # rank 0's rows, then rank 1's, ...
    ranks = range(machine.world_size)
    ordered = np.empty_like(stacked)
    ordered[np.concatenate([order[rank :: machine.world_size] for rank in ranks])] = stacked
    return ordered


def shared_batches(
    rows: Rows, settings: Train, machine: Machine, size: int | None = None
) -> list[list[int]]:
    """Return this rank's rows in batches, rows of similar length together, the longest first."""
    mine = by_length(rows, np.arange(len(rows)))[machine.rank :: machine.world_size].tolist()
    size = size or evaluation_batch(settings, machine)
    return [mine[start : start + size] for start in range(0, len(mine), size)]


def in_batches(
    compute: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    rows: Any,
    batches: Sequence[Sequence[int]],
    settings: Train,
    machine: Machine,
    with_labels: bool = False,
) -> Iterator[torch.Tensor]:
    """Yield what `compute` gives for each of these batches of keys.

    From a cuda device it comes to the host; on any other, as mps or xpu, it stays on the device.

    A batch that does not fit into the memory of the device is halved until it does.

    Args:
        compute: is called in several threads on a CPU.
        with_labels: labels are among its inputs.
    """
    left_out = ("index",) if with_labels else NO_INPUTS

    def run(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = {name: values for name, values in batch.items() if name not in left_out}
        with torch.inference_mode():
            return in_halves(compute, inputs)

    if machine.device.type == "cpu" and workers(settings, machine) == 0:
        yield from _in_threads(
            lambda batch: run(collate_of(rows)(examples_of(rows, list(batch)))), batches
        )
        return
    sent, finish = compact(rows, machine.device)
    loader: DataLoader = DataLoader(
        sent,  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=collate_of(rows),
        num_workers=workers(settings, machine),
        pin_memory=machine.device.type == "cuda",
        generator=torch.Generator(),  # its readers' seed is none of the training's random numbers
    )
    moved = on_device(_read_ahead(loader), machine.device, left_out)
    yield from on_host(map(run, map(finish, moved)), machine.device)


def _read_ahead(loader: DataLoader) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the batches of a loader, of which the next is read while one is computed."""
    with ThreadPoolExecutor(1) as reader:
        source = iter(loader)
        ahead = reader.submit(next, source, None)
        while (batch := ahead.result()) is not None:
            ahead = reader.submit(next, source, None)
            yield batch


def _in_threads(
    work: Callable[[Sequence[int]], torch.Tensor], batches: Sequence[Sequence[int]]
) -> Iterator[torch.Tensor]:
    """Yield work(batch) for each, in order: a batch for each core, not all cores for one batch.

    On two cores EfficientNet-Lite0 took 1.4 ms a row so, and 1.8 with both at one batch.
    """
    cores = torch.get_num_threads()
    threads = min(MOST_THREADS, cores)
    share = partial(torch.set_num_threads, max(1, cores // threads))
    try:
        with ThreadPoolExecutor(threads, initializer=share) as pool:
            ahead: deque[Future[torch.Tensor]] = deque()
            for batch in batches:
                ahead.append(pool.submit(work, batch))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
    finally:
        torch.set_num_threads(cores)


def in_halves(
    compute: Callable[[dict[str, torch.Tensor]], torch.Tensor], inputs: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Return compute(inputs), in halves where the whole does not fit into memory.

    Raises:
        torch.OutOfMemoryError: one row alone does not fit.
    """
    size = len(next(iter(inputs.values())))
    try:
        return compute(inputs)
    except torch.OutOfMemoryError:
        if size == 1:
            raise
    halves = [slice(0, size // 2), slice(size // 2, size)]
    return torch.cat(
        [in_halves(compute, {name: v[half] for name, v in inputs.items()}) for half in halves]
    )


def first_examples(inputs: Inputs, count: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return the model inputs of the first validation rows, to try something out on them."""
    batch = collate_of(inputs.validation)(
        [inputs.validation[row] for row in range(min(count, len(inputs.validation)))]
    )
    return {name: batch[name].to(device) for name in batch if name not in NO_INPUTS}


def lengths_of(rows: Any) -> np.ndarray | None:
    """Return (N,) the lengths of rows that have some, such as tokens; None where all are alike."""
    return getattr(rows, "lengths", None)


def by_length(rows: Any, order: np.ndarray) -> np.ndarray:
    """Return these positions with the longest rows first, so that little is filled up."""
    lengths = lengths_of(rows)
    return order if lengths is None else order[np.argsort(-lengths[order], kind="stable")]


def collate_of(rows: Any) -> Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]:
    """Return how examples of these rows become a batch: their own way, or by stacking."""
    return getattr(rows, "collate", collate)


def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return a batch: each model input (B, ...), such as pixel_values, labels and index (B,)."""
    columns = {name: [example[name] for example in examples] for name in examples[0]}
    return {name: stacked(values) for name, values in columns.items()}


def evaluation_batch(settings: Train, machine: Machine) -> int:
    """Return how many rows go through the model at once.

    EfficientNet-Lite0 at 96 px took 0.95 ms a row in batches of 32 on one CPU, 1.3 in batches of 64
    and 1.9 in batches of 256.
    """
    return settings.evaluation_batch_size or (32 if machine.device.type == "cpu" else 128)


def workers(settings: Train, machine: Machine) -> int:
    """Return how many processes read images: none on the CPU, where they would take its cores."""
    if settings.workers is not None:
        return settings.workers
    cores = usable_cores() // machine.world_size
    return 0 if machine.device.type == "cpu" else min(8, cores)


def verified_rows(size: int) -> np.ndarray:
    """Return the positions, in order, of the test rows that are compared, out of `size`."""
    return spread_rows(size, MOST_VERIFIED)


def spread_rows(size: int, most: int) -> np.ndarray:
    """Return at most so many positions out of `size`, evenly spread, in order."""
    return np.linspace(0, size - 1, min(most, size)).round().astype(int)
