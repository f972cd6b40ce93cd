"""What the processes of a run tell each other when one of them cannot go on.

torchrun ends all processes as soon as one has ended. Here the message that is said is that of the
process where something happened, once; the others, whose connections break, say nothing of their
own. And where a machine vanishes without closing its connections, those that are left notice.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from ftkit.terminal import rank

log = logging.getLogger(__name__)
SILENCE_SECONDS = 60.0
"""A machine that gives no sign for so long is gone."""
START_SECONDS = 300.0
"""What its first sign may take: it imports torch from its own disk."""
BEAT_SECONDS = 2.0
OTHERS_SECONDS = 5.0
"""How long a process whose connection broke waits for another one to say why."""
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Broken pipe",
    "Socket closed",
    "Timed out waiting",
    "remote process exited",
    "gloo",
    "NCCL",
)
"""What gloo and NCCL say where the other end is gone."""


def is_first_to_say(message: str) -> bool:
    """Return whether no other process has said this; a process that is not, waits a moment.

    The others find out that something was said.
    """
    store = _store()
    if store is None:
        return rank() == 0
    try:
        first = store.add(_key("message", message), 1) == 1
        store.set(_key("said"), "1")
    except RuntimeError:  # whoever kept it is gone
        return True
    if not first:
        time.sleep(1.0)  # torchrun ends all once one has ended, and the first is still speaking
    return first


def is_lost(error: BaseException) -> bool:
    """Return whether this error only says that another process is gone."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in LOST)


def has_said_why() -> bool:
    """Return whether another process says in these seconds why the run ends."""
    store = _store()
    try:
        if store is not None:
            store.wait([_key("said")], timedelta(seconds=OTHERS_SECONDS))
            return True
    except RuntimeError:
        pass
    return False


@contextmanager
def watched(end: Callable[[str], None]) -> Iterator[None]:
    """Watch the other machines of this run, if it has several, inside the block.

    Args:
        end: is called with a message, from a thread, where one has given no sign for a minute; it
            does not return, as the main thread may wait for that machine for ever.
    """
    here, machines = int(os.environ.get("GROUP_RANK", 0)), _machines()
    store = _store() if machines > 1 and os.environ.get("LOCAL_RANK") == "0" else None
    if store is None:
        yield
        return
    over = threading.Event()
    heard = {
        other: time.monotonic() + START_SECONDS - SILENCE_SECONDS
        for other in range(machines)
        if other != here
    }
    threading.Thread(target=_give_signs, args=(store, here, heard, over), daemon=True).start()
    threading.Thread(target=_listen, args=(heard, over, end), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _give_signs(store: Any, here: int, heard: dict[int, float], over: threading.Event) -> None:
    """Give a sign every few seconds and note when those of the others change.

    Hangs where the machine that keeps the signs is gone; then none is heard.
    """
    last: dict[int, bytes] = {}
    count = 0
    while not over.wait(BEAT_SECONDS):
        count += 1
        try:
            store.set(_key("sign", str(here)), str(count))
            for other in heard:
                key = _key("sign", str(other))
                sign = store.get(key) if store.check([key]) else b""
                if sign and sign != last.get(other):
                    last[other], heard[other] = sign, time.monotonic()
        except RuntimeError as error:
            log.debug("no sign could be given: %s", error)


def _listen(heard: dict[int, float], over: threading.Event, end: Callable[[str], None]) -> None:
    """End this process where a machine has been silent for too long."""
    while not over.wait(1.0):
        silent = [other for other, at in heard.items() if time.monotonic() - at > SILENCE_SECONDS]
        if silent:
            end(
                f"nothing was heard of machine {silent[0]} of this run for {SILENCE_SECONDS:.0f} "
                f"s: it is off, or the network to it is down"
            )


def _machines() -> int:
    """Return how many machines torchrun started this run on."""
    return int(os.environ.get("GROUP_WORLD_SIZE", 1))


def _store() -> Any:
    """Return the place where torchrun's processes meet, or None without torchrun."""
    given = os.environ
    if int(given.get("WORLD_SIZE", 1)) == 1 or "TORCHELASTIC_RUN_ID" not in given:
        return None
    from torch.distributed import TCPStore

    try:
        return TCPStore(
            given["MASTER_ADDR"],
            int(given["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=OTHERS_SECONDS),
        )
    except RuntimeError:  # nobody is there any more
        return None


def _key(kind: str, text: str = "") -> str:
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return f"ftkit/{attempt}/{kind}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"
