"""What a command says as it works: ftkit's own lines from rank 0, of libraries only errors."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ftkit.errors.addresses import without_secrets
from ftkit.errors.names import visible

GO_ON = (
    "go on with the same command, a training with --resume, on every machine where there are "
    "several"
)

NOISY = ("matplotlib", "PIL", "fontTools", "torch", "accelerate", "peft", "timm", "py.warnings")
"""Libraries that log warnings. Python writes these to stderr when nobody else takes them."""


def rank() -> int:
    """Return this process's number as its launcher gives it, known before torch is imported."""
    return int(os.environ.get("RANK", 0))


def speak(quieten: bool = True) -> None:
    """Log ftkit's own lines from rank 0 to stderr, and keep the libraries to errors.

    Args:
        quieten: false for a command that needs no library, and so imports none to silence it.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    ours = logging.getLogger("ftkit")
    if not ours.handlers:
        handler = _Stderr()
        handler.setFormatter(_Line("%(message)s"))
        ours.addHandler(handler)
    if not quieten:  # a command begins
        for handler in _own_handlers():
            handler.waiting = []
    ours.setLevel(logging.INFO if rank() == 0 else logging.ERROR)
    _hush_warnings()
    if not quieten:
        return
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def say_what_waits() -> None:
    """Write what was logged for the case that nothing is refused."""
    for handler in _own_handlers():
        handler.write_waiting()


def _own_handlers() -> list[_Stderr]:
    return [each for each in logging.getLogger("ftkit").handlers if isinstance(each, _Stderr)]


class _Line(logging.Formatter):
    """Writes a message as one line, whatever names are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the message, without a traceback that may follow it."""
        return visible(super().formatMessage(record))


def _hush_warnings() -> None:
    """Hide what libraries warn of: such warnings are for people who program with them.

    Unless somebody asks for it by python -W or $PYTHONWARNINGS.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


GOING_ON = ("ftkit.finetuning", "ftkit.planning", "ftkit.compare")
"""What speaks when the rows were read and nothing is refused."""


class _Stderr(logging.Handler):
    """Writes to what stderr is at that moment: each command in one process has its own.

    What is logged with extra={"waits": True} is written when the run goes on: before a refusal a
    user would have to read it for nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "waits", False):
            self.waiting.append(record)
            return
        if record.name.startswith(GOING_ON):
            self.write_waiting()
        self._write(record)

    def write_waiting(self) -> None:
        """Write what has waited."""
        waiting, self.waiting = self.waiting, []
        for record in waiting:
            self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        try:
            print(without_secrets(self.format(record)), file=sys.stderr, flush=True)
        except Exception:  # as every handler of logging does: a line lost ends no training
            self.handleError(record)


@contextmanager
def quiet() -> Iterator[None]:
    """Log only warnings among ftkit's own lines inside the block."""
    ours = logging.getLogger("ftkit")
    before = ours.level
    ours.setLevel(logging.WARNING)
    try:
        yield
    finally:
        ours.setLevel(before)


def duration(seconds: float) -> str:
    """Return a time in a suitable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
