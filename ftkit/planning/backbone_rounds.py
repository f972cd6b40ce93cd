"""The rounds of a search among backbones: judge all that are left, and leave the worse half."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from ftkit.compare.intervals import interval
from ftkit.compare.paired_tests import run_paired_tests
from ftkit.compare.row_statistics import READERS, RunStatistics, StrategyStatistics
from ftkit.data.splits import Splits, group_numbers
from ftkit.errors import DataError, FtkitError, RecipeError
from ftkit.machine import interruption, runtime
from ftkit.machine.numbers import fixed
from ftkit.planning.backbone_candidates import Candidate
from ftkit.planning.backbone_probe import Probe
from ftkit.planning.backbone_result import BackboneSearch, Probed
from ftkit.recipe import Recipe
from ftkit.runs.result import Measured
from ftkit.strategies.penalty import folds_of
from ftkit.tasks import task_of
from ftkit.tasks.base import Task

log = logging.getLogger(__name__)
MOST_ROWS = 5_000
"""More rows are not needed to compare by: an accuracy of 0.8 is known to 0.006 then."""
FINALISTS = 4
"""So few candidates are not halved any more, and see as many rows as the time allows."""


class Rounds:
    """The probes of a search, and how they did so far."""

    def __init__(
        self,
        recipe: Recipe,
        splits: Splits,
        machine: runtime.Machine,
        candidates: Sequence[Candidate],
        refused: Sequence[str],
    ) -> None:
        self.splits, self.machine, self.seed = splits, machine, recipe.train.seed
        self.task: Task = task_of(splits.task)
        self.alive = [Probe(candidate, candidate.of(recipe)) for candidate in candidates]
        self.probes: list[Probe] = []  # in the order in which they were left, the last ones best
        self.refused = [*refused]
        self.rows = 0
        self.precisions: dict[str, str] = {}
        self.statistics: dict[str, StrategyStatistics] = {}  # by name, as judged last
        self.values: dict[str, float] = {}
        self.judged_by: dict[str, int] = {}
        self.first: dict[str, float] = {}

    @property
    def figure(self) -> str:
        """The name of the figure that is compared."""
        return self.task.settings.figures[0]

    def judge(self, rows: int, late: Callable[[], bool] = lambda: False) -> None:
        """Probe those that are left on so many rows, and put the best first.

        Args:
            late: whether no further one is to be begun, the same on every rank.
        """
        classes = len(self.splits.label_names)
        some = self.splits.train.select(range(rows))
        labels = self.task.label_array(some, classes)
        targets = self.task.targets(some, classes)
        known = self.splits.train_groups
        groups = group_numbers(None if known is None else known[:rows])
        which = folds_of(self.task.settings, labels, self.seed, groups)
        if not which.max():
            raise DataError(
                f"{rows} training rows are too few to compare backbones by; name one by --backbone"
            )
        left: list[Probe] = []
        for number, probe in enumerate(self.alive, 1):
            interruption.check()
            if left and late():
                self._leave_untried(self.alive[number - 1 :])
                break
            try:
                probe.read(self.splits, rows, self.machine, self.precisions)
                outputs = runtime.on_main(partial(probe.outputs, self.task, targets, which))
            except FtkitError as error:
                self.refused.append(str(error))
                continue
            self._note(probe, labels, outputs, which, groups)
            left.append(probe)
            log.info(
                f"backbones: {number} of {len(self.alive)} on {rows:,} rows: {probe.candidate}: "
                f"{self.figure} {fixed(self.values[str(probe.candidate)])}, "
                f"{1000 * probe.seconds_per_row:.2g} ms a row"
            )
        if not left:
            raise RecipeError(f"no backbone can be probed: {self.refused[-1]}")
        self.rows = rows
        order = [(-self.values[str(p.candidate)], p.seconds_per_row) for p in left]
        self.alive = [left[n] for n in sorted(range(len(left)), key=order.__getitem__)]

    def _leave_untried(self, rest: Sequence[Probe]) -> None:
        """Keep what earlier rounds found of these, or say that they were not tried at all."""
        if self.rows:
            self.probes += rest[::-1]
            return
        self.refused.append(
            f"no time was left to try {len(rest)} of {len(self.alive)} candidates, from "
            f"{rest[0].candidate} on; give a longer --budget, or fewer by --backbones"
        )

    def _note(
        self,
        probe: Probe,
        labels: np.ndarray,
        outputs: np.ndarray,
        which: np.ndarray,
        groups: np.ndarray | None,
    ) -> None:
        """Keep the figure of held-out rows, and what it made of each."""
        held, name = np.flatnonzero(which >= 0), str(probe.candidate)
        task = self.task.with_best_threshold(labels[held], outputs)
        value = task.score(labels[held], outputs)[self.figure]
        self.values[name] = value if math.isfinite(value) else -math.inf
        self.judged_by[name] = len(which)
        self.first.setdefault(name, self.values[name])
        shown = replace(self.splits, test=self.splits.train.select(held))
        table = pa.table(task.columns(shown, outputs))
        tells = task.settings.tells
        parts, figure = READERS[tells](table, task.settings.model_dump(mode="json"))
        own = None if groups is None else groups[held]
        rows = RunStatistics(held, np.asarray(parts, float), own)
        self.statistics[name] = StrategyStatistics({0: rows}, figure)

    @property
    def available(self) -> int:
        """Training rows that a candidate sees at most."""
        return min(MOST_ROWS, len(self.splits.train))

    def exhaustive(self) -> float:
        """Return the seconds that all candidates would take for all rows."""
        return len(self.splits.train) * sum(p.seconds_per_row for p in (*self.probes, *self.alive))

    def halve(self, seconds: float) -> int:
        """Leave the worse half, and return how many rows the next round has; as many as now: none.

        Args:
            seconds: that are left for it.
        """
        last = len(self.alive) <= FINALISTS
        keep = len(self.alive) if last else math.ceil(len(self.alive) / 2)
        available = self.available
        rows = available if last else min(available, 2 * self.rows)

        def fitting() -> tuple[int, int]:
            """On rank 0 alone: clocks differ."""
            kept = keep
            while kept > 2 and self._cost(kept) * (rows - self.rows) > seconds and not last:
                kept -= 1
            more = seconds / self._cost(kept)
            return kept, min(rows, self.rows + math.floor(max(0.0, more)))

        kept, rows = runtime.on_main(fitting)
        if rows < 1.2 * self.rows and rows < available:  # too few more to tell anything
            rows = self.rows
        if rows > self.rows:
            self.probes += self.alive[kept:][::-1]
            self.alive = self.alive[:kept]
        return rows

    def _cost(self, count: int) -> float:
        """Return the seconds that a row takes with the best so many candidates."""
        return sum(probe.seconds_per_row for probe in self.alive[:count])

    def found(self) -> BackboneSearch:
        """Return the whole, without its time."""
        finalists, left = self.alive[: 2 * FINALISTS], self.alive[2 * FINALISTS :]
        every = [*finalists, *left, *self.probes[::-1]]
        probed = tuple(self._probed(probe, probe in finalists) for probe in every)
        named = {str(p.candidate): self.statistics[str(p.candidate)] for p in finalists}
        tests = runtime.on_main(lambda: run_paired_tests(named, self.figure))
        return BackboneSearch(
            figure=self.figure,
            probed=probed,
            tests=tests,
            first_rows=min(self.judged_by.values()),
            available=len(self.splits.train),
            refused=tuple(dict.fromkeys(self.refused)),
            seconds=0.0,
            exhaustive=self.exhaustive(),
        )

    def _probed(self, probe: Probe, finalist: bool) -> Probed:
        name = str(probe.candidate)
        value = self.values[name]
        low, high, method = interval(self.statistics[name], self.figure, value)
        return Probed(
            candidate=probe.candidate,
            rows=self.judged_by[name],
            score=Measured(value=value, low=low, high=high, method=method),
            seconds_per_row=probe.seconds_per_row,
            parameters=probe.parameters,
            model_bytes=probe.model_bytes,
            first=self.first[name],
            finalist=finalist,
        )
