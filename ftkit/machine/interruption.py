"""Signals: a run that is told to end finishes its step, writes a checkpoint and says how to go on.

SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 (what Slurm sends before the time is up) are one and the same.
The first is noted while a block is `held`, as the steps of training are, and ends the run at once
anywhere else, where nothing would be lost. A second one ends it in any case.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import psutil

from ftkit.errors.addresses import without_secrets

STATUS = 143
"""Exit status of a run that was interrupted."""
NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")
ECHO_SECONDS = 1.0
"""A signal so soon after the first is the same one: `timeout` and others send it to a process and
then to its group."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; no `except Exception` on the way takes it for an error."""


class _Watch:
    """The signals that this process has received."""

    def __init__(self) -> None:
        self.owner, self.signal, self.since, self.holding = 0, "", 0.0, False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal. End if nothing is to be finished, or at the second signal."""
        if os.getpid() != self.owner:  # a child that was forked with this handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self.signal:
            if time.monotonic() - self.since > ECHO_SECONDS:
                os._exit(STATUS)
            return
        self.signal, self.since = signal.Signals(number).name, time.monotonic()
        if not self.holding:
            raise Interrupted(f"stopped by {self.signal}")


_watch = _Watch()


@contextmanager
def watched() -> Iterator[None]:
    """Take the signals inside the block; outside the main thread, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _watch.owner, _watch.signal, _watch.holding = os.getpid(), "", False
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, _watch.receive) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _watch.signal = ""


@contextmanager
def held(holding: bool = True) -> Iterator[None]:
    """Let a signal wait inside the block until somebody asks; with False, end the block at once.

    Raises:
        Interrupted: without holding, where a signal has come or comes.
    """
    before, _watch.holding = _watch.holding, holding
    try:
        if not holding:
            check()
        yield
    finally:
        _watch.holding = before


def requested() -> str:
    """Return the name of the signal that has come, or an empty string."""
    return _watch.signal


def check() -> None:
    """End here if a signal has come.

    Raises:
        Interrupted: it has.
    """
    if _watch.signal:
        raise Interrupted(f"stopped by {_watch.signal}")


def leave_to_parent(*_: Any) -> None:
    """In a process that reads rows: leave signals to the process that trains.

    What is sent to a whole group, as Ctrl-C is, does not come here; the parent can end it as ever.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    for name in NAMES[1:]:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def command_to_go_on(words: Sequence[str]) -> str:
    """Return the command line that goes on with what `ftkit` was asked for by these words.

    A training is told to by `--resume`; every other command goes on where it was. What an address
    hides is to be put in again.
    """
    told = words[:1] != ["train"] or {"--resume", "--resume-anyway"} & set(words)
    again = [without_secrets(word) for word in words] + ([] if told else ["--resume"])
    script = sys.argv[0]
    if not script.endswith(("finetune.py", "compare.py", "sweep.py")):
        return shlex.join(["ftkit", *again])
    launcher = _launcher(script) or [os.path.basename(sys.executable), script]
    return shlex.join([*launcher, *again[1:]])  # the script itself says which command


def _launcher(script: str) -> list[str]:
    """Return the words of `accelerate launch` or torchrun up to the script, where one started it.

    Of several that started each other, the first.
    """
    name, found = os.path.basename(script), []
    for parent in psutil.Process().parents():
        try:
            line = parent.cmdline()
        except psutil.Error:
            continue
        programs = [os.path.basename(word) for word in line]
        for program in ("accelerate", "torchrun"):
            if program in programs[:3] and name in programs:
                start = programs.index(program)
                found = [program, *line[start + 1 : programs.index(name) + 1]]
    return found
