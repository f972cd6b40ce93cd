"""Which trackers are asked for: `Tracking`, a value that is refused where one cannot be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ftkit.errors import RecipeError, nearest
from ftkit.runs.tracking.mlflow import Mlflow
from ftkit.runs.tracking.tensorboard import TensorBoard
from ftkit.runs.tracking.tracker import Tracker
from ftkit.runs.tracking.trackio import Trackio
from ftkit.runs.tracking.wandb import Wandb

TRACKERS: dict[str, type[Tracker]] = {
    kind.name: kind for kind in (TensorBoard, Mlflow, Wandb, Trackio)
}


@dataclass(frozen=True)
class Tracking:
    """The trackers that follow a run. It is no part of the recipe: results do not depend on it.

    Raises:
        RecipeError: there is no such tracker, or its package is missing.
    """

    names: tuple[str, ...] = ()
    """tensorboard, mlflow, wandb, trackio."""
    group: str | None = None
    """The name of the sweep or comparison that the run belongs to."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """The run that stands for it, by tracker, where it has such runs."""
    home: Path | None = None
    """The folder in which runs lie side by side; that around the run folder when not given."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in self.names:
            if name not in TRACKERS:
                known = ", ".join(TRACKERS)
                raise RecipeError(
                    f"--track {name}: expected one of {known}{nearest(name, TRACKERS)}"
                )
            found = find_spec(name)
            if found is None or found.origin is None:  # a mere folder of that name has no origin
                raise RecipeError(
                    f"--track {name}: the package {name} is missing; pip install 'ftkit[{name}]'"
                )


NONE = Tracking()


def tracking_of(words: Sequence[str]) -> Tracking:
    """Return what the words after --track ask for, each a tracker or several with commas.

    Raises:
        RecipeError: one of them is none, or its package is missing.
    """
    names = [name.strip() for word in words for name in word.split(",")]
    return Tracking(tuple(dict.fromkeys(names)))
