"""Hyper-parameter search by Optuna: `sweep(recipe, space, trials, out)`.

Every trial is an ordinary run in a folder of its own. What is optimised is the recipe's validation
figure; test rows are measured as in any run, and play no part in the search.
`ftkit.planning.sweep_ray` runs the trials of the same study on a Ray cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna

from ftkit.errors import RecipeError, TrainingError, VerificationError
from ftkit.finetuning.finetune import finetune
from ftkit.machine.runtime import on_main
from ftkit.planning.search_space import Space, require_allowed
from ftkit.planning.study import PRUNED, Study, Trial, TrialEnd, folder_of
from ftkit.recipe import Recipe
from ftkit.runs.journal import watched
from ftkit.runs.result import RunResult
from ftkit.runs.validation import kept_validation


def sweep(
    recipe: Recipe, space: Space, trials: int, out: Path, storage: str | None = None
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

    Raises:
        RecipeError: the space holds what the recipe does not allow.
        RunError: the study there is of another recipe or space, or no trial reached its end.
    """
    require_allowed(recipe, space)
    held: list[Study] = []  # on rank 0 alone
    on_main(lambda: held.append(Study(recipe, space, out, storage)))

    def carry_out(number: int, values: dict[str, Any]) -> None:
        folder = folder_of(out, number)
        ended = run_trial(recipe, values, folder, lambda value: held[0].cut_off(number, value))
        on_main(lambda: held[0].end(number, ended))

    while (asked := on_main(lambda: held[0].ask(trials))) is not None:
        carry_out(*asked)
    return on_main(lambda: held[0].trials())


def run_trial(
    recipe: Recipe,
    values: Mapping[str, Any],
    folder: Path,
    cut_off: Callable[[float], bool],
    resume: bool = False,
) -> TrialEnd:
    """Train with these values, and return how that ended.

    Args:
        cut_off: is told each validation figure, on rank 0, and says whether the trial ends there.
        resume: go on with what an earlier try of the same trial has left in the folder.

    Raises:
        DataError, ModelError, HubError, RunError: what no other values would change.
    """

    def report(figures: Mapping[str, float]) -> None:
        value = figures[f"validation_{recipe.best_by}"]
        if on_main(lambda: cut_off(value)):
            raise optuna.TrialPruned

    try:
        with watched(report):
            finetune(recipe.override(values), folder, resume)
    except optuna.TrialPruned:
        return PRUNED
    except (RecipeError, TrainingError, VerificationError) as error:
        return TrialEnd("fail", None, f"failed: {error}")
    kept = on_main(lambda: kept_validation(folder, RunResult.read(folder), recipe.best_by))
    assert kept is not None  # this version writes it
    said = f"validation {recipe.best_by} {kept.figure:.4f}"
    return TrialEnd("complete", kept.figure, said, kept.loss)
