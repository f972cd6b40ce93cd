"""`following` gives the trackers of a run what it writes down, and lets none of them stop it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftkit.errors import FtkitError
from ftkit.errors.addresses import without_secrets
from ftkit.machine.runtime import Machine, random_state_of, set_random_state
from ftkit.recipe import Recipe
from ftkit.recipe.settings import by_path, read_json
from ftkit.runs.finished import JOURNAL
from ftkit.runs.journal import read_by
from ftkit.runs.result import RunResult
from ftkit.runs.tracking.asked import NONE, TRACKERS, Tracking
from ftkit.runs.tracking.memory import Known, Memory
from ftkit.runs.tracking.tracker import About, End, Final, Tracker, Value

log = logging.getLogger(__name__)
SECONDS = 2.0
"""Lines are collected for so long before trackers are given them: a server may be slow."""
UNTOLD = ("expect", "alternatives", "description")
"""Fields of a recipe that are no settings of the run."""


@contextmanager
def following(
    track: Tracking, folder: Path, recipe: Recipe, machine: Machine
) -> Iterator[Follower]:
    """Have the trackers follow the run in `folder` while the block trains; on rank 0 alone.

    A run that goes on is the same run for a tracker, too.
    """
    follower = Follower(track if machine.is_main else NONE, folder, machine)
    follower.begin(settings_of(recipe))
    end: End = "stopped"
    try:
        with read_by(follower):
            yield follower
        end = "finished"
    except FtkitError:
        end = "failed"
        raise
    finally:
        follower.close(end)


@dataclass(frozen=True)
class _Line:
    """A line of a log: of which, its number there, and what it tells of which step."""

    log: str
    number: int
    step: int
    figures: Mapping[str, float]


class Follower:
    """Gives trackers the lines of the journal as they are written, and the result in the end."""

    def __init__(
        self, track: Tracking, folder: Path, machine: Machine, parents_alone: bool = False
    ) -> None:
        self.track, self.folder, self.machine = track, folder, machine
        kinds = [TRACKERS[name] for name in track.names]
        self.trackers = [kind() for kind in kinds if kind.has_parents or not parents_alone]
        self.memory = Memory(folder) if self.trackers else None
        self.begun: set[Path] = set()
        self.waiting: list[_Line] = []
        self.last: dict[str, int] = {}
        self.given = time.monotonic()
        self.step = 0

    def begin(self, settings: Mapping[str, Value]) -> None:
        """Open the runs of the trackers, and say where they lie."""

        def begin(tracker: Tracker) -> None:
            known = self._known(tracker)
            about = About(
                name=self.folder.absolute().name,
                folder=self.folder,
                home=self.track.home or self.folder.absolute().parent,
                settings=settings,
                group=self.track.group,
                parent=self.track.parents.get(tracker.name),
            )
            known.id = tracker.begin(about, known.id)
            if not tracker.goes_on:
                known.lines, known.finished = {}, False
            self._write()
            log.info("%s: %s", tracker.name, without_secrets(tracker.where()))

        self._each(begin)

    def begin_file(self, file: Path, lines: Sequence[str]) -> None:
        """Take note of a log that begins, or goes on after these lines."""
        if file == self.folder / JOURNAL:  # stages before it that were complete already
            for earlier in sorted(self.folder.rglob(JOURNAL)):
                if earlier != file and earlier not in self.begun:
                    text = earlier.read_text(encoding="utf-8", errors="replace")
                    self.begin_file(earlier, text.splitlines())
        self.begun.add(file)
        for number, line in enumerate(lines, 1):
            try:
                entry = read_json(line)
            except ValueError:  # a damaged line, which who reads the log will say
                continue
            if isinstance(entry, dict):
                self.line(file, number, entry)

    def line(self, file: Path, number: int, entry: Mapping[str, Any]) -> None:
        """Collect a line of a log for the trackers; they are given it soon."""
        if not self.trackers or not file.is_relative_to(self.folder):
            return
        path = file.relative_to(self.folder)
        stage = "" if path.parent == Path() else f"{path.parent.as_posix()}/"
        step = int(entry.get("step", number))
        figures = {
            name: value
            for name, value in figures_of(entry, stage).items()
            if self.last.get(name) != step  # two lines of a step both tell its epoch and seconds
        }
        self.last |= dict.fromkeys(figures, step)
        if figures:
            self.waiting.append(_Line(path.as_posix(), number, step, figures))
        if not stage:
            self.step = step
        if time.monotonic() - self.given > SECONDS:
            self.give()

    def give(self) -> None:
        """Give the lines that were collected to the trackers that do not have them."""

        def give(tracker: Tracker) -> None:
            known = self._known(tracker)
            new = [line for line in self.waiting if line.number > known.lines.get(line.log, 0)]
            if new:
                tracker.log([(line.step, line.figures) for line in new])
                known.lines |= {line.log: line.number for line in new}
                self._write()

        self._each(give)
        self.waiting, self.given = [], time.monotonic()

    def finish(self, result: RunResult) -> None:
        """Give the final figures and pictures to the trackers."""
        pictures = sorted((self.folder / "plots").glob("*.png"))
        self.finish_with(Final(final_figures(result), pictures, self.step))

    def finish_with(self, final: Final) -> None:
        """Give what a run has in the end to the trackers that do not have it."""
        self.give()

        def finish(tracker: Tracker) -> None:
            known = self._known(tracker)
            if not known.finished:
                tracker.finish(final)
                known.finished = True
                self._write()

        self._each(finish)

    def close(self, end: End) -> None:
        """Close the runs of the trackers."""
        self.give()
        self._each(lambda tracker: tracker.close(end))
        self.trackers = []

    def ids(self) -> dict[str, str]:
        """Return the names that the trackers have for the run, by tracker."""
        return {tracker.name: str(self._known(tracker).id) for tracker in self.trackers}

    def _known(self, tracker: Tracker) -> Known:
        assert self.memory is not None
        return self.memory.of(tracker.name)

    def _write(self) -> None:
        assert self.memory is not None
        self.memory.write()

    def _each(self, act: Callable[[Tracker], None]) -> None:
        """Do this with each tracker. One that fails is said once, and then left alone.

        What trackers draw at random is not taken from the run's own random numbers.
        """
        for tracker in [*self.trackers]:
            before = random_state_of(self.machine)
            try:
                act(tracker)
            except Exception as error:  # the one place: whatever a tracker raises ends no training
                self.trackers.remove(tracker)
                why = without_secrets(" ".join(f"{type(error).__name__}: {error}".split()))[:200]
                told = "tracking by %s failed (%s); training goes on without it"
                log.warning(told, tracker.name, why)
            finally:
                set_random_state(before, self.machine)


@contextmanager
def following_group(
    track: Tracking, folder: Path, settings: Mapping[str, Value], machine: Machine
) -> Iterator[tuple[Tracking, Follower]]:
    """Give what the runs of a sweep or comparison in `folder` are tracked by, its children.

    Where a tracker has such runs, one run stands for all of it, and goes on when it does.
    """
    home = (track.home or folder.absolute().parent).absolute()
    follower = Follower(track if machine.is_main else NONE, folder, machine, parents_alone=True)
    if follower.trackers:
        folder.mkdir(parents=True, exist_ok=True)
    follower.begin(settings)
    name = folder.absolute().name
    end: End = "stopped"
    try:
        yield replace(track, group=name, parents=follower.ids(), home=home), follower
        end = "finished"
    except FtkitError:
        end = "failed"
        raise
    finally:
        follower.close(end)


def settings_of(recipe: Recipe) -> dict[str, Value]:
    """Return the settings of a recipe by their paths, without what addresses may hide."""
    values = by_path(recipe.model_dump(mode="json", exclude=set(UNTOLD)))
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Value:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return without_secrets(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def figures_of(entry: Mapping[str, Any], stage: str = "") -> dict[str, float]:
    """Return the figures of a line of log.jsonl but its step; those of a list get numbers from 1.

    Args:
        stage: stands before their names.
    """
    found: dict[str, float] = {}
    for name, value in entry.items():
        values = value if isinstance(value, list) else [value]
        for number, each in enumerate(values, 1):
            known = isinstance(each, (int, float)) and not isinstance(each, bool)
            if known and name != "step":
                found[stage + (f"{name}_{number}" if isinstance(value, list) else name)] = each
    return found


def final_figures(result: RunResult) -> dict[str, float]:
    """Return each metric with the ends of its interval, seconds and parameters of a run."""
    found: dict[str, float] = {}
    for name, measured in result.metrics.items():
        found |= {
            name: measured.value, f"{name}_low": measured.low, f"{name}_high": measured.high
        }  # fmt: skip
    found |= {f"seconds_{name}": value for name, value in result.seconds.model_dump().items()}
    found["parameters_total"] = result.parameters_total
    found["parameters_trained"] = result.parameters_trained
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}
