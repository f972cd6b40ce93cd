"""`ftkit sweep`: hyper-parameter search over any fields of a recipe."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from ftkit import machines
from ftkit.errors import RecipeError
from ftkit.request import Flags, resolve
from ftkit.search_space import parse_space, require_allowed
from ftkit.terminal import rank, speak

MOST_SHOWN = 10


def sweep(
    recipe: str,
    *,
    trials: int = 20,
    strategy: str | None = None,
    out: Path | None = None,
    storage: str | None = None,
    data: str | None = None,
    backbone: str | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    flags: Annotated[Flags | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
) -> None:
    """Search for better settings; every trial is a run, and the best one's recipe is named.

    The same command goes on with a study that was stopped, and helps with one on another machine.

    Parameters
    ----------
    recipe
        Name of an installed recipe, path of a .py or .json file, or a Hub model of ftkit's.
    trials
        How many trials the study shall have in all.
    out
        Folder of the study and its runs; runs/sweep-RECIPE-STRATEGY when not given.
    storage
        Database URL, or file that several machines reach; study.journal in the folder else.
    set_
        What is tried: FIELD=1e-5..1e-3[log], FIELD=4..32, FIELD=cosine,linear; FIELD=VALUE is
        fixed. Can be repeated.
    """
    space, fixed = parse_space(set_)
    resolved = resolve(recipe, strategy, data, backbone, fixed, False, flags)
    require_allowed(resolved, space)
    folder = out or Path("runs") / f"sweep-{resolved.name}-{resolved.strategy.kind}"
    speak()
    try:
        from ftkit.sweep import sweep as run_sweep
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "optuna":
            raise
        raise RecipeError("ftkit sweep needs optuna: pip install 'ftkit[sweep]'") from None
    from ftkit.runtime import stop

    try:
        with machines.watched():
            found = run_sweep(resolved, space, trials, folder, storage)
    finally:
        stop()
    if rank() != 0:
        return
    shown = Table(box=None, pad_edge=False)
    for column in ("trial", *(path.rpartition(".")[2] for path in space), resolved.best_by, ""):
        shown.add_column(column)
    for trial in found[:MOST_SHOWN]:
        values = [_short(trial.values.get(path)) for path in space]
        figure = "" if trial.figure is None else f"{trial.figure:.4f}"
        state = "" if trial.state == "complete" else trial.state
        shown.add_row(str(trial.number), *values, figure, state)
    Console().print(shown)
    best = found[0]
    print(f"best     {best.folder}, by validation rows  (its figures on test rows: run.json)")
    print(f"recipe   {best.folder / 'recipe.json'}")
    again = ["ftkit", "train", "--recipe", str(best.folder / "recipe.json"), "--out", "runs/best"]
    print(f"again    {shlex.join(again)}")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
