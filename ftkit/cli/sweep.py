"""`ftkit sweep`: hyper-parameter search over any fields of a recipe."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from ftkit.cli.folders import at_home
from ftkit.cli.options import Count, OtherBackbone, OtherData, Part, Track
from ftkit.cli.request import AUTO, Flags, parse_changes, resolve, with_a_rate
from ftkit.cli.words import Changes
from ftkit.errors import RecipeError
from ftkit.errors.names import visible
from ftkit.machine import heartbeat
from ftkit.machine.numbers import plain, with_ends
from ftkit.machine.streams import Console
from ftkit.machine.terminal import rank, speak
from ftkit.planning.search_space import parse_space, require_allowed
from ftkit.recipe import Recipe
from ftkit.recipe.strangers import words_to_repeat
from ftkit.runs.tracking.asked import tracking_of

if TYPE_CHECKING:
    from ftkit.planning.sweep import Trial

MOST_SHOWN = 10


def sweep(
    recipe: str | None = None,
    *,
    trials: Count = 20,
    strategy: str | None = None,
    out: Path | None = None,
    storage: str | None = None,
    ray: str | None = None,
    at_once: Count | None = None,
    ray_cpus: Count | None = None,
    ray_gpus: Part | None = None,
    data: OtherData = None,
    backbone: OtherBackbone = None,
    set_: Changes = (),
    track: Track = (),
    flags: Annotated[Flags | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
) -> None:
    """Search for better settings; every trial is a run, and the best one's recipe is named.

    The same command goes on with a study that was stopped, and helps with one on another machine.

    Parameters
    ----------
    recipe
        Name of an installed recipe, path of a .py or .json file, or a Hub model of ftkit's.
        When not given, one that suits the rows of --data.
    trials
        How many trials the study shall have in all.
    strategy
        Which parameters move: full, head, lpft, lora, bitfit or contrastive.
    out
        Folder of the study and its runs; runs/sweep-RECIPE-STRATEGY when not given.
    storage
        Database URL, or file that several machines reach; study.journal in the folder else.
    ray
        Run the trials by Ray Tune: local, auto, HOST:PORT or ray://HOST:PORT.
    at_once
        Trials at a time on Ray; as many as it has GPUs, or else CPUs, when not given.
    ray_cpus
        CPUs of each trial on Ray; an equal share when not given.
    ray_gpus
        GPUs of each trial on Ray, at most 1; one where there are GPUs when not given.
    set_
        What is tried: FIELD=1e-5..1e-3[log], FIELD=4..32, FIELD=cosine,linear; FIELD=VALUE is
        fixed. Can be repeated.
    """
    if ray is None and (at_once, ray_cpus, ray_gpus) != (None, None, None):
        raise RecipeError("--at-once, --ray-cpus and --ray-gpus say how Ray runs trials; add --ray")
    if strategy == AUTO:
        raise RecipeError("--strategy auto: a sweep tries the settings of one strategy; name it")
    tracking = tracking_of(track)
    space, fixed = parse_space(set_)
    speak(quieten=False)
    resolved = resolve(recipe, strategy, data, backbone, fixed, False, flags)
    resolved = with_a_rate(as_searched(resolved, space), [*parse_changes(fixed), *space])
    require_allowed(resolved, space)
    folder = at_home(out) or Path("runs") / f"sweep-{resolved.name}-{resolved.strategy.kind}"
    speak()
    run_sweep = _on_ray(ray, at_once, ray_cpus, ray_gpus) if ray else _on_this_machine()
    from ftkit.machine.runtime import stop

    try:
        with heartbeat.watching_machines():
            found = run_sweep(resolved, space, trials, folder, storage, track=tracking)
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
    Console(markup=False, emoji=False).print(shown)
    best = found[0]
    for line in chosen_lines(found, resolved.best_by):
        print(visible(line))
    print(f"recipe   {best.folder / 'recipe.json'}")
    again = ["ftkit", "train", "--recipe", str(best.folder / "recipe.json"), "--out", "runs/best"]
    print(f"again    {shlex.join([*again, *words_to_repeat(resolved)])}")


def as_searched(recipe: Recipe, space: Collection[str]) -> Recipe:
    """Return the recipe without what would change the values that a sweep tries.

    Args:
        space: paths of the fields that it searches.
    """
    changes: dict[str, Any] = {}
    if any(path.endswith(".learning_rate") for path in space):
        changes["train.learning_rate_batch"] = None
    if {"train.epochs", "train.max_steps"} & {*space}:
        changes["train.least_steps"] = 0
    return recipe.override(changes)


def chosen_lines(found: Sequence[Trial], figure: str) -> list[str]:
    """Return what to say of the trial that is chosen: why, and what it reaches on test rows.

    Args:
        found: all trials, the best on validation rows first.
        figure: that was compared on validation rows.
    """
    from ftkit.runs.finished import read_finished

    best, complete = found[0], sum(trial.state == "complete" for trial in found)
    result = read_finished(best.folder)
    name = figure if figure in result.metrics else next(iter(result.metrics))
    measured = result.metrics[name]
    lines = [
        f"chosen   trial {best.number} in {best.folder}, by validation rows: {figure} "
        f"{best.figure:.4f}, the best of {complete}",
        f"test     {name} {with_ends(measured.value, measured.low, measured.high, 4)} on "
        f"{result.n:,} rows, which played no part in the choice",
    ]
    if complete > 1:
        lines.append(
            "         Report the test figure of this trial alone; a validation figure that was "
            f"chosen as the best of {complete} is optimistic."
        )
    return lines


def _on_this_machine() -> Callable[..., list[Trial]]:
    try:
        from ftkit.planning.sweep import sweep as run_sweep
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "optuna":
            raise
        raise RecipeError("ftkit sweep needs optuna: pip install 'ftkit[sweep]'") from None
    return run_sweep


def _on_ray(
    address: str, at_once: int | None, cpus: int | None, gpus: float | None
) -> Callable[..., list[Trial]]:
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise RecipeError("--ray starts processes of its own; leave out accelerate launch")
    _on_this_machine()
    try:
        import_module("ray.tune")
    except ImportError:
        raise RecipeError("ftkit sweep --ray needs Ray Tune: pip install 'ftkit[ray]'") from None
    from ftkit.planning.sweep_ray import Cluster, sweep_on_ray

    return partial(sweep_on_ray, cluster=Cluster(address, at_once, cpus, gpus))


def _short(value: object) -> str:
    return plain(value) if isinstance(value, float) else visible(str(value))
