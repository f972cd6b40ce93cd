"""Hyper-parameter search by Optuna: `sweep(recipe, space, trials, out)`.

Every trial is an ordinary run in a folder of its own. What is optimised is the recipe's validation
figure; test rows are measured as in any run, and play no part in the search.
`ftkit.planning.sweep_ray` runs the trials of the same study on a Ray cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from ftkit.errors import RecipeError, TrainingError, VerificationError
from ftkit.finetuning.finetune import finetune
from ftkit.machine.runtime import on_main, start
from ftkit.planning.search_space import Space, require_allowed
from ftkit.planning.study import PRUNED, Study, Trial, TrialEnd, folder_of
from ftkit.recipe import Recipe
from ftkit.runs.journal import watched
from ftkit.runs.result import RunResult
from ftkit.runs.tracking.asked import NONE, Tracking
from ftkit.runs.tracking.follow import Follower, following_group, settings_of
from ftkit.runs.validation import kept_validation


def sweep(
    recipe: Recipe,
    space: Space,
    trials: int,
    out: Path,
    storage: str | None = None,
    track: Tracking = NONE,
) -> list[Trial]:
    """Return all trials of the study, the best first, after running those that are missing.

    The best is the one with the best figure on validation rows, of equal ones that with the lower
    validation loss. Test rows play no part. The study is complete with so many trials that ended,
    on whatever machine. One that was cut off by the end of its process is run again. Under
    `accelerate launch` all processes work on one trial after the other; every one must call this.

    Args:
        space: which fields are tried.
        out: of the study; trial N lies in trial-N there.
        storage: URL of a database, or path of a journal file; `study.journal` in `out` when not
            given.
        track: what follows the trials; each is a child of the sweep there.

    Raises:
        RecipeError: the space holds what the recipe does not allow.
        RunError: the study there is of another recipe or space, or no trial reached its end.
    """
    require_allowed(recipe, space)
    held: list[Study] = []  # on rank 0 alone
    on_main(lambda: held.append(Study(recipe, space, out, storage)))

    settings = settings_of_sweep(recipe, space)
    with following_group(track, out, settings, start(recipe.train.seed)) as (of_trials, follower):

        def carry_out(number: int, values: dict[str, Any]) -> None:
            def cut_off(value: float) -> bool:
                return held[0].cut_off(number, value)

            ended = run_trial(recipe, values, folder_of(out, number), cut_off, track=of_trials)
            on_main(lambda: held[0].end(number, ended))

        while (asked := on_main(lambda: held[0].ask(trials))) is not None:
            carry_out(*asked)
        found = on_main(lambda: held[0].trials())
        follow_best(follower, found, recipe)
    return found


def settings_of_sweep(recipe: Recipe, space: Space) -> dict[str, Any]:
    """Return the settings that all trials share, and what is tried."""
    tried = {f"tried.{path}": repr(dimension) for path, dimension in space.items()}
    shared = {path: value for path, value in settings_of(recipe).items() if path not in space}
    return shared | tried


def follow_best(follower: Follower, found: Sequence[Trial], recipe: Recipe) -> None:
    """Tell the run that stands for a sweep which trial is the best of so many."""
    best = {f"validation_{recipe.best_by}": found[0].figure, "best_trial": found[0].number}
    follower.line(follower.folder / "trials", len(found), best)


def run_trial(
    recipe: Recipe,
    values: Mapping[str, Any],
    folder: Path,
    cut_off: Callable[[float], bool],
    resume: bool = False,
    track: Tracking = NONE,
) -> TrialEnd:
    """Train with these values, and return how that ended.

    Args:
        cut_off: is told each validation figure, on rank 0, and says whether the trial ends there.
        resume: go on with what an earlier try of the same trial has left in the folder.
        track: what follows the run of the trial.

    Raises:
        DataError, ModelError, HubError, RunError: what no other values would change.
    """

    def report(figures: Mapping[str, float]) -> None:
        value = figures[f"validation_{recipe.best_by}"]
        if on_main(lambda: cut_off(value)):
            raise optuna.TrialPruned

    try:
        with watched(report):
            finetune(recipe.override(values), folder, resume, track=track)
    except optuna.TrialPruned:
        return PRUNED
    except (RecipeError, TrainingError, VerificationError) as error:
        return TrialEnd("fail", None, f"failed: {error}")
    kept = on_main(lambda: kept_validation(folder, RunResult.read(folder), recipe.best_by))
    assert kept is not None  # this version writes it
    said = f"validation {recipe.best_by} {kept.figure:.4f}"
    return TrialEnd("complete", kept.figure, said, kept.loss)
