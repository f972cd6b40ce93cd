"""Finished runs as a comparison sees them: a label, a seed, a folder, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ftkit.errors import RecipeError
from ftkit.folder import difference
from ftkit.recipe import Recipe
from ftkit.result import Measured, RunResult


@dataclass(frozen=True)
class Run:
    """A finished run."""

    label: str
    """What tables call its strategy; runs of one label differ in their seed alone."""
    folder: Path
    result: RunResult

    @property
    def figure(self) -> str:
        """Name of the figure that stands for the run, such as accuracy."""
        return next(iter(self.result.metrics))

    @property
    def score(self) -> Measured:
        """That figure."""
        return self.result.metrics[self.figure]

    @property
    def by_hand(self) -> bool:
        """Whether it is the perceptron's, and trains all of it."""
        file = self.folder / "recipe.json"
        return self.label == "mlp" or (
            file.is_file() and json.loads(file.read_text("utf-8"))["backbone"].get("kind") == "mlp"
        )

    @property
    def seconds(self) -> float:
        """Of training, features included."""
        return self.result.seconds.features + self.result.seconds.train


def by_label(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each label, in the order in which labels first come."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.label, []).append(run)
    return found


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Return the runs in these folders, labelled as short as tells them apart.

    Runs of one label differ in their seed alone; where they do not, folders are the labels.

    Raises:
        RunError: a folder holds no finished run.
    """
    results = [RunResult.read(folder) for folder in folders]
    recipes = {result.recipe for result in results}
    kinds = [str(result.strategy["kind"]) for result in results]
    named = [f"{result.recipe} {kind}" for result, kind in zip(results, kinds, strict=True)]
    labels = kinds if len(recipes) == 1 else named
    keys = [(label, result.seed) for label, result in zip(labels, results, strict=True)]
    first = dict(zip(reversed(labels), reversed(folders), strict=True))
    unique = len(set(keys)) == len(keys) and not any(
        _other_settings(first[label], folder)
        for label, folder in zip(labels, folders, strict=True)
        if folder != first[label]
    )
    return [
        Run(label if unique else folder.name, folder, result)
        for label, folder, result in zip(labels, folders, results, strict=True)
    ]


def _other_settings(one: Path, other: Path) -> bool:
    """Return whether two runs differ in more than their seed."""
    first, second = recipe_in(one), recipe_in(other)
    if first is None or second is None:
        return False
    return bool(difference(first.override({"train.seed": second.train.seed}), second))


def recipe_in(folder: Path) -> Recipe | None:
    """Return the recipe of a run; None where it is not there or cannot be read."""
    file = folder / "recipe.json"
    if not file.is_file():
        return None
    try:
        return Recipe.from_json(file.read_text(encoding="utf-8"))
    except RecipeError:
        return None
