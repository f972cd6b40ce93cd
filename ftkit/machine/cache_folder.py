"""The folder for what ftkit can make again."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ftkit.machine.permissions import is_mine


def cache_folder() -> Path:
    """Return the folder for what ftkit can make again: $FTKIT_CACHE, or ~/.cache/ftkit.

    In a folder of somebody else's each user has one of his own.
    """
    folder = Path(os.environ.get("FTKIT_CACHE") or Path.home() / ".cache" / "ftkit")
    if not folder.exists():
        with suppress(OSError):  # whoever writes there says why
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    elif not is_mine(folder):
        return folder / f"user-{os.geteuid()}"
    return folder
