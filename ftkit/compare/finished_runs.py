"""Finished runs as a comparison sees them: a label, a seed, a folder, and what was measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ftkit.errors import RunError
from ftkit.finetuning.folder import difference
from ftkit.recipe import Data, Mlp, Recipe
from ftkit.runs.finished import MODEL, OLDER, knows_all_files, read_finished, read_recipe
from ftkit.runs.result import Measured, RunResult

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run."""

    label: str
    """What tables call its strategy; runs of one label differ in their seed alone."""
    folder: Path
    result: RunResult
    data: Data | None = None
    """Where this command takes the rows from. None for a folder that the user gave, which may be
    somebody else's."""

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
        """Whether it trains the whole perceptron written by hand."""
        recipe = recipe_in(self.folder)
        return self.label == "mlp" or (recipe is not None and isinstance(recipe.backbone, Mlp))

    @property
    def seconds(self) -> float:
        """Seconds of training, features included."""
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
    """Return the runs in these folders, with the shortest labels that tell them apart.

    Runs of one label differ in their seed alone; where they do not, folders are the labels, each
    with as many of those around it as tells them apart. A folder that is given twice is read once.
    Of several runs those that are not finished, or damaged, are left out, and it is said.

    Raises:
        RunError: no folder holds a finished run.
    """
    folders, results = _read_finished_runs(
        list({folder.resolve(): folder for folder in folders}.values())
    )
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
    every = zip(labels if unique else _shortest_names(folders), folders, results, strict=True)
    return [Run(*each) for each in every]


def _read_finished_runs(folders: Sequence[Path]) -> tuple[list[Path], list[RunResult]]:
    """Return the folders of finished runs, and their results."""
    found: dict[Path, RunResult] = {}
    reasons = []
    for folder in folders:
        try:
            found[folder] = read_finished(folder)
        except RunError as error:
            reasons.append(error)
    if not found:
        raise reasons[0]
    for reason in reasons:
        log.warning("left out: %s", reason)
    older = [str(f) for f, r in found.items() if (f / MODEL).exists() and not knows_all_files(r)]
    if older:
        log.info("%s: %s", ", ".join(older), OLDER)
    return list(found), list(found.values())


def _shortest_names(folders: Sequence[Path]) -> list[str]:
    """Return the last parts of different paths, as many as tell the paths apart."""
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
    try:
        return read_recipe(folder)
    except RunError:
        return None
