"""The journal of a training: log.jsonl, one line on the screen per epoch, and the clock."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import ProgressCallback, TrainerCallback

from ftkit.machine.whole_files import write_whole

log = logging.getLogger(__name__)
MOST_SAID = 20
"""Epochs of a perceptron that have a line on the screen; they may be many and short."""
WATCHERS: ContextVar[tuple[Callable[[Mapping[str, float]], None], ...]]
WATCHERS = ContextVar("WATCHERS", default=())


class Reader(Protocol):
    """Who reads each log as it is written; nothing that it does may stop the run."""

    def begin_file(self, file: Path, lines: Sequence[str]) -> None:
        """Take note of a log that begins, or goes on after these lines."""

    def line(self, file: Path, number: int, entry: Mapping[str, Any]) -> None:
        """Take note of a line that was written; the first has number 1."""


READER: ContextVar[Reader | None] = ContextVar("READER", default=None)


@contextmanager
def read_by(reader: Reader) -> Iterator[None]:
    """Have the logs that this process writes in the block read by `reader`."""
    token = READER.set(reader)
    try:
        yield
    finally:
        READER.reset(token)


@contextmanager
def watched(watcher: Callable[[Mapping[str, float]], None]) -> Iterator[None]:
    """Call `watcher` with the figures of each validation that happens in the block.

    They are named validation_*, as in log.jsonl. What the watcher raises ends the training. Every
    process of a run calls its own, at the same validations.
    """
    token = WATCHERS.set((*WATCHERS.get(), watcher))
    try:
        yield
    finally:
        WATCHERS.reset(token)


@dataclass(frozen=True)
class Position:
    """How far a log has come; a checkpoint remembers it."""

    lines: int = 0
    train_seconds: float = 0.0
    validation_seconds: float = 0.0


class Bar(ProgressCallback):
    """A bar of training steps on the terminal; the figures are the journal's."""

    def on_log(self, *arguments: Any, **rest: Any) -> None:
        """Say nothing: Trainer's bar would print every entry as a dict."""


class JournalFile:
    """log.jsonl, with a line for each entry. Only the process that `writes` touches the file."""

    def __init__(self, file: Path, writes: bool, kept: int) -> None:
        """Begin the file, or go on after so many of its lines."""
        self.file, self.writes, self.count = file, writes, kept
        if writes:
            lines = _first_lines(file, kept)
            write_whole(file, "".join(lines))
            if reader := READER.get():
                reader.begin_file(file, lines)

    def write(self, **entry: Any) -> None:
        """Add a line."""
        self.count += 1
        if self.writes:
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(entry) + "\n")
            if reader := READER.get():
                reader.line(self.file, self.count, entry)

    def validation(
        self, step: int, epoch: int, epochs: int, seconds: float, figures: Mapping[str, float]
    ) -> None:
        """Add the line of a validation, and say it."""
        named = {f"validation_{name}": value for name, value in figures.items()}
        self.write(step=step, epoch=epoch, seconds=round(seconds, 3), **named)
        if epoch == epochs or epoch % math.ceil(epochs / MOST_SAID) == 0:
            say_epoch(epoch, epochs, named, step, seconds)
        _show(named)


class Journal(TrainerCallback):
    """Writes a line to log.jsonl for every logging step, and measures training and validation.

    A line has step, epoch and seconds, and then either loss and learning_rate or the validation
    figures under validation_*. A resumed run goes on where its checkpoint was taken.
    """

    def __init__(self, file: Path, writes: bool, position: Position | None = None) -> None:
        """Begin the file, or go on at a position: what was written after it is left out."""
        position = position or Position()
        self.lines = JournalFile(file, writes, position.lines)
        self.train_seconds = position.train_seconds
        self.validation_seconds = position.validation_seconds
        self.mark = time.perf_counter()

    @property
    def position(self) -> Position:
        """Where it is now."""
        return Position(self.lines.count, self.train_seconds, self.validation_seconds)

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self.mark = now - self.mark, now
        return lap

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Start the clock."""
        self.mark = time.perf_counter()

    def count_as_training(self) -> None:
        """Count the time since the last mark as training."""
        self.train_seconds += self._lap()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Count a step."""
        self.count_as_training()

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Count as training what a checkpoint holds up."""
        self.count_as_training()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict | None = None, **rest: Any
    ) -> None:
        """Write the line."""
        logs, step, seconds = logs or {}, state.global_step, round(self.train_seconds, 3)
        entry = {"step": step, "epoch": round(state.epoch or 0, 4), "seconds": seconds}
        if "eval_loss" in logs:
            lap = self._lap()
            self.validation_seconds += lap
            figures = {
                k.replace("eval_", "validation_"): v for k, v in logs.items() if "eval_" in k
            }
            self.lines.write(**entry, **figures, validation_seconds=round(lap, 3))
            self._lap()  # what reads the log takes no training time
            say_epoch(state.epoch or 0, args.num_train_epochs, figures, step, seconds)
            _show(figures)
        elif "loss" in logs:
            begin = time.perf_counter()
            self.lines.write(**entry, loss=logs["loss"], learning_rate=logs["learning_rate"])
            self.mark += time.perf_counter() - begin  # what reads the log takes no training time


def _first_lines(file: Path, count: int) -> list[str]:
    """Return the first lines of a log, without what a kill has cut off."""
    if not count or not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)[:count]
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < count:
        log.warning("%s has %d of the %d lines it had", file, len(whole), count)
    return whole


def say_epoch(
    epoch: float, epochs: float, figures: Mapping[str, float], step: int, seconds: float
) -> None:
    """Put the line of an epoch on the screen: its validation loss and the task's first figure."""
    first = next(n for n in figures if n.startswith("validation_") and "loss" not in n)
    name, value, loss = (
        first.removeprefix("validation_"),
        figures[first],
        figures["validation_loss"],
    )
    when = f"epoch {_plain(epoch)} of {_plain(epochs)}" if step else "before training"
    told = "%s: validation loss %.4f, %s %.4f (step %d, %.1f s)"
    log.info(told, when, loss, name, value, step, seconds)


def _plain(epochs: float) -> str:
    """Return epochs as they are counted: 3,000, and 0.25 of one."""
    return f"{epochs:,.2f}".removesuffix("0").removesuffix("0").removesuffix(".")


def _show(figures: Mapping[str, float]) -> None:
    """Give the figures of a validation to the watchers."""
    for watcher in WATCHERS.get():
        watcher(figures)
