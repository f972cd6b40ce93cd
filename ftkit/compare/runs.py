"""Finished runs as a comparison sees them: a label, a seed, a folder, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ftkit.errors import RecipeError, RunError
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
    """Return the runs of each label, in the order in which labels first come.

    Raises:
        RunError: two runs of a label have the same seed.
    """
    found: dict[str, dict[int, Run]] = {}
    for run in runs:
        seed, seeds = run.result.seed, found.setdefault(run.label, {})
        if seed in seeds:
            raise RunError(
                f"{seeds[seed].folder} and {run.folder} are both {run.label} with seed {seed}, "
                f"and no two seeds of it; compare one of them"
            )
        seeds[seed] = run
    return {label: [*seeds.values()] for label, seeds in found.items()}


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Return the runs in these folders, labelled as short as tells them apart.

    Runs of one label differ in their seed alone; where they do not, folders are the labels, each
    with as many of those around it as tells them apart. A folder that is given twice is read once.

    Raises:
        RunError: a folder holds no finished run.
    """
    folders = list({folder.resolve(): folder for folder in folders}.values())
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
    every = zip(labels if unique else _short(folders), folders, results, strict=True)
    return [Run(*each) for each in every]


def _short(folders: Sequence[Path]) -> list[str]:
    """Return the last parts of different paths, as many as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts))):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


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
