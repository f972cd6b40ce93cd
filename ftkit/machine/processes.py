"""What the processes of a run tell each other when one of them cannot go on.

torchrun ends all processes as soon as one has ended. Here the message that is said is that of the
process where something happened, once; the others, whose connections break, say nothing of their
own.
"""

from __future__ import annotations

import gc
import hashlib
import os
import sys
import time
from datetime import timedelta
from typing import Any

from ftkit.machine.terminal import rank

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
"""What gloo and NCCL say when the other end is gone."""


def is_first_to_say(message: str) -> bool:
    """Return whether no other process has said this; a process that is not first waits.

    The others find out that something was said.
    """
    kept = shared_store()
    if kept is None:
        return rank() == 0
    try:
        first = kept.add(store_key("message", message), 1) == 1
        kept.set(store_key("said"), "1")
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
    kept = shared_store()
    try:
        if kept is not None:
            kept.wait([store_key("said")], timedelta(seconds=OTHERS_SECONDS))
            return True
    except RuntimeError:
        pass
    return False


def let_go() -> None:
    """End the threads of this process's connections, before Python takes itself down.

    A model that is trained in several processes holds them, and is in a cycle of references. Where
    it lives until the interpreter ends, these threads may ask for an interpreter that is gone, and
    the process aborts after all its work (github.com/pytorch/pytorch/issues/190489).
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        gc.collect()


def shared_store() -> Any:
    """Return the store in which torchrun's processes meet; None without torchrun."""
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


def store_key(kind: str, text: str = "") -> str:
    """Return the name of something that is kept in the store."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return f"ftkit/{attempt}/{kind}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"
