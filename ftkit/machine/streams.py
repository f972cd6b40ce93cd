"""stdin, stdout and stderr as the shell hands them over: closed, full, or of few characters.

A command's work never ends because nobody listens. What was to be shown and cannot be is told by
the exit status: 141 where the reader of a pipe has gone, as of any tool that SIGPIPE ends, else 2
with one line.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import rich.console

READER_GONE = 141
"""The exit status 128 + SIGPIPE."""
DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EIO,
}  # fmt: skip
"""Errors by which a disk, or a name on it, refuses a file."""


class Console(rich.console.Console):
    """Rich's console; a broken pipe ends the command, and remarks on stderr may fail."""

    def on_broken_pipe(self) -> None:
        """Raise the error on; rich would leave with status 1."""
        raise

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; what cannot be written to stderr is lost, and nothing else."""
        try:
            super().print(*objects, **options)
        except OSError:
            if not self.stderr:
                raise


def guarded(command: Callable[[], int], refused: Callable[[str], int]) -> int:
    """Return the status of a command, whatever its streams are.

    Args:
        command: returns its exit status.
        refused: says in one line why something could not be written, and returns the status.
    """
    _prepare()
    error: Exception | None = None
    try:
        status = command()
    except Exception as raised:
        error = raised
    lost = _drain(sys.stdout)
    if lost is None and isinstance(error, OSError) and error.filename is None:
        lost = _refuses(sys.stdout)
    _drain(sys.stderr)
    if isinstance(lost or error, BrokenPipeError):
        return READER_GONE
    if lost is not None:
        return refused(f"stdout cannot be written: {lost.strerror}; nothing else is lost")
    if error is None:
        return status
    refusal = _refusal(error)
    if refusal is None:
        raise error
    place = f"{refusal.filename}: " if refusal.filename else ""
    return refused(f"{place}{os.strerror(refusal.errno or 0)}; mend that, or give another place")


def is_closed(stream: Any) -> bool:
    """Return whether a stream of the shell's was closed, so that what is written to it is lost."""
    return getattr(stream, "name", "") == os.devnull


def json_text(text: str) -> str:
    """Return JSON with escapes where stdout cannot write its characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), indent=2)
    return text.rstrip("\n")


def _prepare() -> None:
    """Open streams that are closed, so that no other file takes their place, and let them escape.

    A character that a stream has no code for is written as an escape, such as \\u2192.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _refusal(error: BaseException | None) -> OSError | None:
    """Return the error of a disk that stands behind this one."""
    while error is not None:
        if isinstance(error, OSError) and (error.errno in DISK or _makes_a_folder(error)):
            return error
        error = error.__cause__
    return None


def _makes_a_folder(error: OSError) -> bool:
    """Return whether a folder could not be made, as in /proc, which takes none and says ENOENT."""
    frames = traceback.extract_tb(error.__traceback__)
    return error.errno == errno.ENOENT and bool(frames) and frames[-1].name == "mkdir"


def _refuses(stream: Any) -> OSError | None:
    """Return the error of writing to a stream, found out by an empty line.

    What is longer than the stream's buffer is lost with the error that `print` raises: nothing
    waits in the stream any more, and the error names no file.
    """
    try:
        stream.write("\n")
    except OSError as error:
        return error
    return _drain(stream)


def _drain(stream: Any) -> OSError | None:
    """Write what waits in a stream. If that fails, forget it, so that Python ends quietly."""
    try:
        stream.flush()
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()
        return error
    return None
