"""Work beside training: a checkpoint goes to the disk in a thread while the next steps are taken.

What is written is a copy in the host's memory, made between two steps: weights and moments change
in place with the next one. Writing, fsync and checksums leave Python's lock to the training. Where
memory is short nothing is copy_to_host, and the training waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil
import torch

from ftkit.errors import FtkitError

log = logging.getLogger(__name__)
ROOM = 2
"""A copy is made only where so many times its size is free in memory."""


class Background:
    """Writes one thing at a time, in the order given, in a thread that lives as long as that.

    What goes wrong there is raised by the next call here.
    """

    def __init__(self) -> None:
        self._work: Future[None] | None = None
        self._told = False
        self.seconds = 0.0
        """In which training stood still for it."""

    def write(self, content: Any, write: Callable[[Any], None]) -> None:
        """Have `write(content)` called with the content of this moment, after all earlier work."""
        self.wait()
        with self._standing_still():
            if has_room_for(content):
                thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
                self._work = thread.submit(write, copy_to_host(content))
                thread.shutdown(wait=False)  # it ends after this work
                return
            if not self._told:
                log.info("checkpoints: too little memory for a copy, training waits for the disk")
            self._told = True
            write(content)

    @property
    def failed(self) -> bool:
        """Whether something has gone wrong already."""
        work = self._work
        return work is not None and work.done() and work.exception() is not None

    def wait(self) -> None:
        """Return when everything is written."""
        work, self._work = self._work, None
        if work is not None:
            with self._standing_still():
                work.result()

    @contextmanager
    def _standing_still(self) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - begin

    def end(self) -> None:
        """Wait, where another error is on its way up already: what goes wrong here is logged."""
        try:
            self.wait()
        except FtkitError as error:
            log.warning("%s", error)


def has_room_for(content: Any) -> bool:
    """Return whether the host has memory for a copy of these tensors, and as much again."""
    return psutil.virtual_memory().available > ROOM * size_of(content)


def size_of(content: Any) -> int:
    """Return the bytes of all tensors in dicts, lists and tuples."""
    if isinstance(content, torch.Tensor):
        return content.numel() * content.element_size()
    if isinstance(content, dict):
        return sum(map(size_of, content.values()))
    return sum(map(size_of, content)) if isinstance(content, (list, tuple)) else 0


def copy_to_host(content: Any) -> Any:
    """Return these dicts, lists and tuples with every tensor copied into the host's memory.

    Strides stay as they are. Other values are taken over, as none of them changes in place.
    """
    if isinstance(content, torch.Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, dict):
        return {name: copy_to_host(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(map(copy_to_host, content))
    return content
