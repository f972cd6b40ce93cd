"""Memory that the system denies: how libraries say it, and what ftkit says instead."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ftkit.errors import TrainingError

WORDS = (
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "out of memory",
    "not enough memory",
    "failed to map segment",
    "can't start new thread",
)
"""What torch, the system's loader and C++ libraries say, in small letters."""


@contextmanager
def denied_in_one_line() -> Iterator[None]:
    """Turn an error that says that the system gives no memory into one line.

    Raises:
        TrainingError: it gave none.
    """
    try:
        yield
    except Exception as error:
        if not is_denied(error):
            raise
        raise TrainingError(advice_on_memory(error)) from error


def is_denied(error: BaseException) -> bool:
    """Return whether an error says that the system gave no memory."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = str(error).lower() if isinstance(error, (RuntimeError, OSError, ImportError)) else ""
    return any(words in text for words in WORDS)


def advice_on_memory(error: BaseException) -> str:
    """Return a message for such an error, with what to do."""
    said = " ".join(str(error).split())[:160] or type(error).__name__
    return (
        f"the memory that this process may use does not suffice ({said}); use --set "
        f"train.micro_batch_size=..., smaller inputs or a smaller backbone, or raise the limit "
        f"(ulimit -v, that of the container)"
    )
