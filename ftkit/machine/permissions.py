"""Whose files are these? Caches are read by the user alone who wrote them, results by all who may.

What another user left in a cache could change every figure, with sums that are right.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from ftkit.errors import RunError

log = logging.getLogger(__name__)


def is_mine(path: Path) -> bool:
    """Return whether a file, folder or link belongs to this user; True where systems do not say."""
    return not hasattr(os, "geteuid") or path.lstat().st_uid == os.geteuid()


def private_folder(folder: Path) -> Path:
    """Return a folder of a cache, made where it is missing, that this user alone may look into.

    So is the folder around it, which is of the cache too. Files of another user in it are removed.

    Raises:
        RunError: they cannot be.
        OSError: it cannot be made.
    """
    if os.path.lexists(folder) and not _is_all_mine(folder):
        log.warning("cache: %s holds files of another user, which are removed", folder)
        with suppress(OSError):
            folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
        if os.path.lexists(folder) and not _is_all_mine(folder):
            raise RunError(
                f"cache {folder} holds files of another user, which are not read; remove them, or "
                f"set FTKIT_CACHE to a folder of your own"
            )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place in (folder, folder.parent):
        if is_mine(place) and place.stat().st_mode & 0o077:
            place.chmod(0o700)
    return folder


def give_usual_rights(folder: Path) -> None:
    """Give the weights below a folder the rights that the user's umask gives to new files.

    safetensors gives them to their owner alone.
    """
    probe = folder / f".{os.getpid()}.rights"
    probe.touch()
    rights = probe.stat().st_mode & 0o777
    probe.unlink()
    for file in folder.rglob("*.safetensors"):
        with suppress(OSError):  # some file systems know no rights
            file.chmod(rights)


def _is_all_mine(folder: Path) -> bool:
    if not is_mine(folder):
        return False
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):  # taken away in the meantime
                if not is_mine(Path(root, name)):
                    return False
    return True
