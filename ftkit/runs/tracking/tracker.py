"""What a tracker is asked: `Tracker`, and what it is told of a run: `About` and `Final`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

PROJECT = "ftkit"
"""The project, or experiment, of all runs, where the tracker's own variable names no other."""
Lines = Sequence[tuple[int, Mapping[str, float]]]
"""Steps, and the figures of each."""
Value = str | int | float | bool | None
End = Literal["finished", "failed", "stopped"]
"""How a run ended: complete, by an error, or before its end, by a signal or a sweep."""


@dataclass(frozen=True)
class About:
    """Which run it is that a tracker follows."""

    name: str
    folder: Path
    """Of the run."""
    home: Path
    """The folder in which runs lie side by side."""
    settings: Mapping[str, Value]
    """Of the recipe, by their paths: train.epochs."""
    group: str | None = None
    """The name of the sweep or comparison that the run belongs to."""
    parent: str | None = None
    """The tracker's own name for the run that stands for that sweep or comparison."""


@dataclass(frozen=True)
class Final:
    """What a run has in the end."""

    figures: Mapping[str, float]
    pictures: Sequence[Path] = ()
    step: int = 0
    """The last step of its curves."""


class Tracker(ABC):
    """A place that keeps runs. Whatever its methods raise, `Follower` catches and says."""

    name: ClassVar[str]
    """As it is given to --track; its package and its extra have the same name."""
    has_parents: ClassVar[bool] = False
    """Whether a run of its own stands for a sweep; elsewhere runs share the name of a group."""

    goes_on: bool = False
    """Set by `begin`: whether the run that is there keeps what it was given before. If it does not,
    it is made anew, and is given everything again."""

    @abstractmethod
    def begin(self, about: About, known: str | None) -> str:
        """Open a run and return the tracker's name for it.

        Args:
            known: that name, where an earlier session of the run was followed.
        """

    @abstractmethod
    def where(self) -> str:
        """Return in one line where the run lies and how it is looked at."""

    @abstractmethod
    def log(self, lines: Lines) -> None:
        """Keep the figures of some steps."""

    @abstractmethod
    def finish(self, final: Final) -> None:
        """Keep the final figures and pictures."""

    @abstractmethod
    def close(self, end: End) -> None:
        """Close the run. It may be opened again."""
