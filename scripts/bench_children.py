"""Processes of their own for the lines of a benchmark, none of which outlives the benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn


class Children:
    """The processes that run now, each the head of a group that holds its readers and compilers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen] = set()
        self.ended = False

    def run(
        self, command: list[str], environment: dict[str, str], seconds: float
    ) -> tuple[int, str, str]:
        """Return the exit status of a command, what it printed, and its errors.

        Raises:
            TimeoutExpired: it took longer; it and its group are gone.
        """
        with self.lock:
            if self.ended:
                return -signal.SIGKILL, "", "the benchmark was stopped"
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                start_new_session=True,
            )  # fmt: skip
            self.running.add(process)
        try:
            out, errors = process.communicate(timeout=seconds)
        except BaseException:
            kill(process)
            process.communicate()
            raise
        finally:
            with self.lock:
                self.running.discard(process)
        return process.returncode, out, errors

    def end(self) -> None:
        """Kill all of them, and begin no other."""
        with self.lock:
            self.ended = True
            for process in self.running:
                kill(process)


def kill(process: subprocess.Popen) -> None:
    """Kill a process and its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def children() -> Iterator[Children]:
    """Have all of them gone after the block, which Ctrl-C and SIGTERM end as an error does."""

    def stop(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    found, before = Children(), signal.signal(signal.SIGTERM, stop)
    try:
        yield found
    finally:
        found.end()
        signal.signal(signal.SIGTERM, before)
