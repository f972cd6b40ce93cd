"""Batches on their way to a GPU and back, so that it never waits for a copy.

The next batch is copied while the one before it is computed, on a stream of its own, from memory
that the readers have pinned; what was computed goes back while the next batch is computed. That is
so on an NVIDIA or AMD GPU. On other devices (a CPU, mps, xpu) batches are moved there one by one,
and outputs stay there until their user moves them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Any

import torch

Batch = dict[str, torch.Tensor]


def on_device(
    batches: Iterable[Batch], device: torch.device, kept: Collection[str] = ()
) -> Iterator[Batch]:
    """Yield these batches on the device; on a GPU the next one is already on its way.

    Args:
        kept: names of what stays on the host.
    """

    def moves(name: str, values: Any) -> bool:
        return name not in kept and torch.is_tensor(values)  # `use_cache` of packed texts is none

    def moved(batch: Batch) -> Batch:
        return {
            name: values.to(device, non_blocking=True) if moves(name, values) else values
            for name, values in batch.items()
        }

    if device.type != "cuda":
        yield from map(moved, batches)
        return
    side, waiting = torch.cuda.Stream(device), None
    for batch in chain(batches, [None]):
        ready = waiting
        if ready is not None:
            torch.cuda.current_stream(device).wait_stream(side)
            for name, values in ready.items():  # their memory may not be used again before that
                if moves(name, values):
                    values.record_stream(torch.cuda.current_stream(device))
        if batch is not None:
            with torch.cuda.stream(side):
                waiting = moved(batch)
        if ready is not None:
            yield ready


def on_host(outputs: Iterable[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Yield these tensors on the host; on a GPU the next one is already being computed.

    Where `device` is no cuda device they are yielded as they are, on the device.
    """
    if device.type != "cuda":
        yield from outputs
        return
    waiting: tuple[torch.Tensor, torch.cuda.Event] | None = None
    for output in chain(outputs, [None]):
        ready = waiting
        if output is not None:
            copy, arrived = output.to("cpu", non_blocking=True), torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(device))
            waiting = copy, arrived
        if ready is not None:
            ready[1].synchronize()
            yield ready[0]
