"""A machine of the run that vanishes with its connections open is missed by the others.

Each machine watches in a process of its own, which no waiting call of the run can stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ftkit.machine import fresh_process
from ftkit.machine.processes import shared_store, store_key
from ftkit.machine.terminal import GO_ON

SILENCE_SECONDS = 60.0
"""A machine that gives no sign for so long is gone."""
START_SECONDS = 300.0
"""The first sign of a machine may take so long, because it imports torch from its own disk. A
machine that vanishes before its first sign is missed only then."""
BEAT_SECONDS = 2.0


@contextmanager
def watching_machines(silence: float = SILENCE_SECONDS) -> Iterator[None]:
    """Watch the other machines of this run, if it has several, inside the block.

    Where one has given no sign for so long, this process is killed, and it is said why.
    """
    several = int(os.environ.get("GROUP_WORLD_SIZE", 1)) > 1
    if not several or os.environ.get("LOCAL_RANK") != "0":
        yield
        return
    command = fresh_process.command("ftkit.machine.heartbeat", str(silence))
    watch = subprocess.Popen(command, start_new_session=True)  # Ctrl-C is not for it
    try:
        yield
    finally:
        watch.kill()
        watch.wait()


class Signs:
    """The signs of life that machines give each other in the store where processes meet."""

    def __init__(self, kept: Any, here: int, machines: int) -> None:
        """Watch the others from machine `here`."""
        self.kept, self.here, self.count = kept, here, 0
        first = time.monotonic() + START_SECONDS
        self.heard = {other: first for other in range(machines) if other != here}
        self.last: dict[int, bytes] = {}

    def exchange(self) -> None:
        """Give a sign, and note when those of the others change.

        Hangs where the machine that keeps the signs is gone; then none is heard.
        """
        self.count += 1
        self.kept.set(store_key("sign", str(self.here)), str(self.count))
        for other in self.heard:
            name = store_key("sign", str(other))
            sign = self.kept.get(name) if self.kept.check([name]) else b""
            if sign and sign != self.last.get(other):
                self.last[other], self.heard[other] = sign, time.monotonic()

    def silent(self, seconds: float) -> list[int]:
        """Return the machines that gave no sign for so long."""
        return [other for other, at in self.heard.items() if time.monotonic() - at > seconds]


def main() -> None:
    """Watch until the process that trains has ended, or a machine is gone."""
    silence, parent = float(sys.argv[1]), os.getppid()
    kept = shared_store()
    if kept is None:
        return
    machines, here = int(os.environ["GROUP_WORLD_SIZE"]), int(os.environ["GROUP_RANK"])
    signs = Signs(kept, here, machines)
    threading.Thread(target=_exchange_for_ever, args=(signs,), daemon=True).start()
    while os.getppid() == parent:
        time.sleep(1.0)
        gone = signs.silent(silence)
        if gone:
            print(
                f"error: nothing was heard of machine {gone[0]} of this run for {silence:.0f} s: "
                f"it is off, or the network to it is down; {GO_ON}",
                file=sys.stderr,
                flush=True,
            )
            os.kill(parent, signal.SIGKILL)
            return


def _exchange_for_ever(signs: Signs) -> None:
    while True:
        try:
            signs.exchange()
        except RuntimeError:  # the store is gone, and so no sign is heard
            return
        time.sleep(BEAT_SECONDS)


if __name__ == "__main__":
    main()
