"""The same search on a Ray cluster: `sweep_on_ray(recipe, space, trials, out, storage, cluster)`.

Ray Tune schedules the trials, retries one whose machine is gone, and shows them in its dashboard.
What is tried next, and which trial is cut off, the study of `ftkit.planning.sweep` says as ever, so
that a sweep may go on with Ray or without. All machines must reach the folder of the study.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from ftkit.errors import FtkitError, RecipeError, RunError
from ftkit.machine.runtime import start
from ftkit.machine.terminal import speak
from ftkit.planning.ray_cluster import Cluster, share_cluster
from ftkit.planning.search_space import Space, require_allowed
from ftkit.planning.study import PRUNED, Study, Trial, TrialEnd, folder_of
from ftkit.planning.sweep import follow_best, run_trial, settings_of_sweep
from ftkit.recipe import Recipe
from ftkit.runs.tracking.asked import NONE, Tracking
from ftkit.runs.tracking.follow import following_group

log = logging.getLogger(__name__)
TRIES = 3
"""A trial whose process ends is begun so often: machines of a cluster may be taken away."""
CONNECT_SECONDS = 10.0
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends a sweep as without Ray
}
"""Variables of the environment that Ray reads: it reports nothing to its makers, and ftkit speaks.
"""
FATAL = "fatal"
"""The key under which a trial reports an error that no other values would change."""


def sweep_on_ray(
    recipe: Recipe,
    space: Space,
    trials: int,
    out: Path,
    storage: str | None,
    cluster: Cluster,
    track: Tracking = NONE,
) -> list[Trial]:
    """Return all trials of the study, the best first, after running those that are missing.

    Arguments are those of `ftkit.planning.sweep.sweep`. What Ray Tune writes lies in `out`/ray.

    Raises:
        RecipeError: the space holds what the recipe does not allow, or there is no such cluster.
        RunError: as `sweep`; or the data, the Hub or the disk stops every trial.
    """
    require_allowed(recipe, space)
    search = Search(recipe, space, trials, out, storage)
    settings = settings_of_sweep(recipe, space)
    with following_group(track, out, settings, start(recipe.train.seed)) as (of_trials, follower):
        if missing := search.study.missing(trials):
            with _connected(cluster.address):
                stopped = _tune(search, missing, cluster, of_trials)
            if stopped is not None:
                raise RunError(stopped)
        found = search.study.trials()
        follow_best(follower, found, recipe)
    return found


def _tune(search: Search, missing: int, cluster: Cluster, track: Tracking) -> str | None:
    """Run the missing trials, and return what stopped the search, if anything did."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus, at_once = share_cluster(cluster, machines, missing)
    said = f"{cpus} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    log.info("ray: %d trials at once, each with %s", at_once, said)
    out = search.out.resolve()
    train = tune.with_parameters(
        _train, recipe=search.recipe, out=out, directory=Path.cwd(), track=track
    )
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": cpus, "gpu": gpus}),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=MedianRule(search),
            num_samples=missing,
            max_concurrent_trials=at_once,
            reuse_actors=True,  # what a process has imported serves the next trial
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(out),
            failure_config=tune.FailureConfig(max_failures=TRIES - 1),
            verbose=0,
        ),
    )
    found = tuner.fit()
    last = [found[number].metrics or {} for number in range(len(found))]
    return next((result[FATAL] for result in last if FATAL in result), None)


class Search(Searcher):
    """Optuna's study as Ray Tune asks it, in Tune's process, which is elsewhere with `ray://`."""

    def __init__(
        self, recipe: Recipe, space: Space, trials: int, out: Path, storage: str | None
    ) -> None:
        """Open the study, or make it."""
        super().__init__()
        self.recipe, self.space, self.trials, self.out, self.storage = (
            recipe, space, trials, out, storage,
        )  # fmt: skip
        self.study = Study(recipe, space, out, storage)
        self.numbers: dict[str, int] = {}
        """The number of each trial under way, by Tune's name for it."""
        self.cut: set[int] = set()
        self.stopped = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the study anew in another process.

        What it is opened with goes by Ray's memory: Tune writes this to a file, and the addresses
        of data and database may hold secrets.
        """
        given = (self.recipe, self.space, self.trials, self.out.resolve(), self.storage)
        return _reopened, (ray.put(given),)

    def suggest(self, trial_id: str) -> Any:
        """Return the number of the next trial and its values by field, or that there is none."""
        asked = None if self.stopped else self.study.ask(self.trials)
        if asked is None:
            return self.FINISHED
        self.numbers[trial_id], values = asked
        return {"trial": self.numbers[trial_id], **values}

    def cut_off(self, trial_id: str, value: float) -> bool:
        """Report a validation figure and return whether its trial should end here."""
        number = self.numbers[trial_id]
        if self.study.cut_off(number, value):
            self.cut.add(number)
        return number in self.cut

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a trial ended; one that was stopped from outside is run again."""
        number, result = self.numbers.pop(trial_id), result or {}
        if error:
            file = self.out / "ray" / _folder(number) / "error.txt"
            self.study.end(
                number, TrialEnd("fail", None, f"failed, tried {TRIES} times: see {file}")
            )
        elif number in self.cut:
            self.study.end(number, PRUNED)
        elif FATAL in result:
            self.stopped = True
        elif "state" in result:
            self.study.end(number, TrialEnd(*(result[field.name] for field in fields(TrialEnd))))

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is on the disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study is on the disk."""


def _reopened(given: ray.ObjectRef) -> Search:
    speak(quieten=False)
    return Search(*ray.get(given))


class MedianRule(FIFOScheduler):
    """A scheduler that cuts a trial off when the study says so."""

    def __init__(self, search: Search) -> None:
        """Ask this one."""
        super().__init__()
        self.search = search

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Return whether a trial goes on after a validation."""
        value = result.get(f"validation_{self.search.recipe.best_by}")
        if value is None or not self.search.cut_off(trial.trial_id, value):
            return self.CONTINUE
        return self.STOP


def _train(
    config: Mapping[str, Any], recipe: Recipe, out: Path, directory: Path, track: Tracking
) -> dict[str, Any]:
    """Run one trial, in a process of the cluster, and return how it ended."""
    speak()
    logging.getLogger("ftkit").setLevel(logging.WARNING)  # many speak at once

    def validated(value: float) -> bool:
        tune.report({f"validation_{recipe.best_by}": value})  # does not return where it is cut off
        return False

    values = {path: value for path, value in config.items() if path != "trial"}
    try:
        for folder in (directory, out):
            if not folder.is_dir():
                raise RunError(
                    f"{socket.gethostname()} has no folder {folder}; start the sweep in, and give "
                    f"--out, a folder that all machines of the cluster reach"
                )
        os.chdir(directory)  # paths in a recipe may be relative to it
        folder = folder_of(out, config["trial"])
        ended = run_trial(recipe, values, folder, validated, resume=True, track=track)
    except FtkitError as error:
        return {FATAL: str(error)}
    return asdict(ended)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine that ends with the block.

    Where this process is connected already, it stays so.

    Raises:
        RecipeError: there is none.
    """
    os.environ.update(QUIET | os.environ)
    if ray.is_initialized():
        yield
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        there = {"env_vars": QUIET} if "://" in address else None
        ray.init(address, logging_level=logging.ERROR, runtime_env=there)
    except (OSError, ImportError, RuntimeError, ValueError, RayError) as error:
        said = " ".join(str(error).split())[:200]
        raise RecipeError(
            f"--ray {address}: cannot connect ({said}); give local, auto, HOST:PORT or "
            f"ray://HOST:PORT"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _name(trial: Any) -> str:
    return _folder(trial.config["trial"])


def _folder(number: int) -> str:
    return folder_of(Path(), number).name
