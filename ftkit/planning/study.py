"""The study of a sweep: which values are tried next, which trial is cut off, which one is best.

Optuna chooses. The study lies in a journal file or a database, so that it goes on where it was, and
several machines can share it.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ftkit.errors import RecipeError, RunError
from ftkit.errors.addresses import without_secrets
from ftkit.finetuning.folder import remove_checkpoints
from ftkit.planning.search_space import Choices, Range, Space
from ftkit.recipe import LOWER_IS_BETTER, Recipe
from ftkit.runs.validation import sorting_key
from ftkit.strategies import strategy_of

log = logging.getLogger(__name__)
WARMUP = 1
"""A trial may be cut off after so many validations."""


@dataclass(frozen=True)
class Trial:
    """One trial, as the study knows it."""

    number: int
    state: str
    """complete, pruned or fail."""
    values: dict[str, Any]
    """The values of the fields that are tried."""
    figure: float | None
    """Validation figure of the model that was kept."""
    folder: Path
    loss: float | None = None
    """Its validation loss, which decides between equal figures; None when it is not known."""


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended."""

    state: str
    """complete, pruned or fail."""
    figure: float | None
    """Validation figure of one that is complete."""
    why: str
    """How it ended, in words."""
    loss: float | None = None
    """Validation loss of one that is complete."""


PRUNED = TrialEnd("pruned", None, "cut off, it was below the median of those before it")


class Study:
    """Optuna's study of a recipe, on rank 0."""

    def __init__(self, recipe: Recipe, space: Space, out: Path, storage: str | None) -> None:
        """Open it, or make it.

        Raises:
            RunError: it is of another recipe or space, or cannot be opened.
        """
        self.recipe, self.space, self.out = recipe, space, out
        self.lower = recipe.best_by in LOWER_IS_BETTER
        self.running: dict[int, optuna.Trial] = {}
        self.reports: Counter[int] = Counter()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        out.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            storage=_storage(storage or str(out / "study.journal")),
            study_name=f"{recipe.name}-{recipe.strategy.kind}",
            direction="minimize" if self.lower else "maximize",
            pruner=optuna.pruners.MedianPruner(n_warmup_steps=WARMUP),
            load_if_exists=True,
        )
        seed = recipe.train.seed + len(self.study.trials)  # else a sweep that goes on tries again
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        about = {"recipe": recipe.to_json(), "space": repr(dict(sorted(space.items())))}
        for name, text in about.items():
            there = self.study.user_attrs.get(name, text)
            if there != text and not (name == "recipe" and _is_written_as(recipe, there)):
                raise RunError(
                    f"the study in {storage or out} has another {name}; give another --out or "
                    f"--storage, or the arguments that it was begun with"
                )
            self.study.set_user_attr(name, text)
        self._run_again_what_was_cut_off()

    def missing(self, trials: int) -> int:
        """Return how many trials have to begin until there are so many."""
        return max(0, trials - sum(map(_counts, self.study.trials)))

    def ask(self, trials: int) -> tuple[int, dict[str, Any]] | None:
        """Return number and values of the next trial, or None where the study has enough."""
        if not self.missing(trials):
            return None
        space = {path: _distribution(dimension) for path, dimension in self.space.items()}
        trial = self.study.ask(space)
        trial.set_user_attr("host", socket.gethostname())
        trial.set_user_attr("pid", os.getpid())
        self.running[trial.number] = trial
        said = (f"{path.rpartition('.')[2]} {value}" for path, value in trial.params.items())
        log.info("trial %d: %s", trial.number, ", ".join(said))
        return trial.number, dict(trial.params)

    def cut_off(self, number: int, value: float) -> bool:
        """Report a validation figure of a trial and return whether it should end here."""
        trial = self.running[number]
        trial.report(value, self.reports[number])
        self.reports[number] += 1
        return math.isnan(value) or trial.should_prune()

    def end(self, number: int, ended: TrialEnd) -> None:
        """Tell the study how a trial ended."""
        log.info("trial %d: %s", number, ended.why)
        trial = self.running.pop(number)
        if ended.state == "pruned":
            strategy = strategy_of(self.recipe.strategy)
            remove_checkpoints(folder_of(self.out, number), strategy)
        trial.set_user_attr("ended", ended.why)
        trial.set_user_attr("loss", ended.loss)
        self.study.tell(trial, ended.figure, state=TrialState[ended.state.upper()])

    def trials(self) -> list[Trial]:
        """Return the trials that ended, the best first.

        Raises:
            RunError: none of them is complete.
        """
        found = [
            Trial(
                number=trial.number,
                state=trial.state.name.lower(),
                values=trial.params,
                figure=trial.value if trial.state == TrialState.COMPLETE else None,
                folder=folder_of(self.out, trial.number),
                loss=trial.user_attrs.get("loss"),
            )
            for trial in self.study.trials
            if trial.state.is_finished() and _counts(trial)
        ]
        if not any(trial.state == "complete" for trial in found):
            last = self.study.trials[-1].user_attrs.get("ended", "") if self.study.trials else ""
            raise RunError(f"no trial of the sweep in {self.out} is complete; the last one {last}")
        return sorted(
            found, key=lambda trial: sorting_key(trial.figure, trial.loss, self.recipe.best_by)
        )

    def _run_again_what_was_cut_off(self) -> None:
        """Queue the values of trials whose process on this machine is gone."""
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            about = trial.user_attrs
            if about.get("host") != socket.gethostname():
                continue
            if about["pid"] == os.getpid() or not psutil.pid_exists(about["pid"]):
                self.study.tell(trial.number, state=TrialState.FAIL)
                self.study.enqueue_trial(trial.params)


def _is_written_as(recipe: Recipe, text: str) -> bool:
    """Return whether the text is this recipe, apart from fields that its version did not know."""
    try:
        return Recipe.from_json(text).as_written() == recipe.as_written()
    except RecipeError:
        return False


def _counts(trial: FrozenTrial) -> bool:
    """Return whether a trial counts. One that was cut off by a dead process does not."""
    if trial.state == TrialState.WAITING:
        return False
    return trial.state != TrialState.FAIL or "ended" in trial.user_attrs


def _distribution(dimension: Range | Choices) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if isinstance(dimension.low, int) and isinstance(dimension.high, int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _storage(where: str) -> Any:
    """Return the database at a URL, or the journal in a file."""
    if "://" in where:
        return _database(where)
    file = Path(where)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(file))  # of a link, as is usual, Windows has none
    return JournalStorage(JournalFileBackend(str(file), lock))


def _database(url: str) -> optuna.storages.BaseStorage:
    """Open a database, or make its tables; processes that make them at once try again.

    Raises:
        RunError: it cannot be opened.
    """
    waits = [0.5, 2.0]
    while True:
        try:
            return optuna.storages.get_storage(url)
        except (SQLAlchemyError, StorageInternalError, ImportError) as error:
            if not waits or isinstance(error, (ArgumentError, ImportError)):
                said = without_secrets(" ".join(str(error).split()), of=url)[:200]
                raise RunError(f"--storage: the database cannot be opened: {said}") from error
            time.sleep(waits.pop(0))


def folder_of(out: Path, number: int) -> Path:
    """Return the run folder of a trial."""
    return out / f"trial-{number:04d}"
