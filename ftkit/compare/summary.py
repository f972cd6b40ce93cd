"""What a comparison found: a row for each strategy, tests between them, a verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ftkit.compare.chosen_setting import Chosen, best_by_validation
from ftkit.compare.claims import Cost
from ftkit.compare.finished_runs import Run, by_label
from ftkit.compare.intervals import measured
from ftkit.compare.paired_tests import run_paired_tests
from ftkit.compare.perplexity_ranking import why_not_ranked
from ftkit.compare.row_statistics import StrategyStatistics, read_row_statistics
from ftkit.compare.statistics import Paired
from ftkit.compare.verdict import MARGIN, verdict
from ftkit.errors import RunError
from ftkit.errors.names import listed
from ftkit.recipe import LOWER_IS_BETTER
from ftkit.runs.result import Measured

PICKED = (
    "{} was picked for its figure on these test rows. The best of {} is lucky on average: its own "
    "figure and interval are not corrected for that, the tests and differences are."
)


@dataclass(frozen=True)
class Row:
    """One strategy: its figure over seeds, and its costs."""

    label: str
    runs: tuple[Run, ...]
    score: Measured
    """The mean over seeds, with a 95 % interval over test rows."""
    spread: tuple[float, float] | None
    """The lowest and the highest figure of the seeds; None for a single seed."""
    trained: int
    total: int
    """Numbers of parameters."""
    seconds: float
    """Seconds of training with features, the mean over seeds."""
    memory: int
    """The peak in bytes, on the device when it has memory of its own, else on the host. It is the
    least of the seeds, because later seeds count what earlier runs left in the process."""
    model_bytes: int
    latency: float | None
    """Seconds for one example at batch 1, of the seed in the middle."""
    quartiles: tuple[float, float] | None = None
    """The quartiles of the latency; None for runs of earlier versions."""
    threads: int | None = None
    """The CPU threads that it was measured with; None when that is not known."""
    shared: float | None = None
    """The figure on the seeds and rows of the tests; None for a strategy that was not tested."""
    to_best: Paired | None = None
    """How the best differs from this one; None for the best."""
    over_baseline: Paired | None = None
    """How this one differs from the baseline; None for the baseline."""
    front_of_seconds: bool = False
    """Whether no other strategy is as good in less time."""
    front_of_trained: bool = False
    """Whether no other strategy is as good with fewer trained parameters."""


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found."""

    figure: str
    """The name of what is compared, such as accuracy."""
    n: int
    """The number of test rows that all strategies share."""
    dataset: str
    rows: tuple[Row, ...]
    best: str | None
    """The label of the best strategy: by the figure on these rows, by the table for a strategy that
    does not share them, or by validation rows when all are settings of one strategy. None when they
    cannot be ranked."""
    baseline: str | None
    verdict: str
    notes: tuple[str, ...] = ()
    """What was left out, not run, or cannot be tested."""
    seeds: tuple[int, ...] = ()
    """The seeds that all tested strategies have; empty when nothing is tested."""

    @property
    def lower_is_better(self) -> bool:
        """Whether the figure is an error."""
        return self.figure in LOWER_IS_BETTER

    def row(self, label: str) -> Row:
        """Return the row of that label."""
        return next(row for row in self.rows if row.label == label)


def summarize(runs: Sequence[Run], notes: Sequence[str] = (), margin: float = MARGIN) -> Comparison:
    """Return what these runs show, in the order in which their labels first come.

    Args:
        margin: see `ftkit.compare.verdict`.

    Raises:
        RunError: there is no run, or they were measured on different things.
    """
    if not runs:
        raise RunError("no run to show: give the folders of finished runs")
    figures = sorted({run.figure for run in runs})
    tested = sorted({f"{run.result.dataset}, split {run.result.split}" for run in runs})
    for kinds in (figures, tested):
        if len(kinds) > 1:
            raise RunError(f"runs of {' and of '.join(kinds)} cannot be compared")
    groups = by_label(runs)
    said = list(notes)
    found: dict[str, StrategyStatistics] = {}
    for label, group in groups.items():
        try:
            found[label] = read_row_statistics(group)
        except RunError as error:
            said.append(f"{label}: {error}")
    said += _note_on_test_rows(found, groups)
    return compare_strategies(groups, found, said, margin, best_by_validation(groups))


def compare_strategies(
    groups: Mapping[str, Sequence[Run]],
    found: Mapping[str, StrategyStatistics],
    notes: Sequence[str],
    margin: float = MARGIN,
    chosen: Chosen | None = None,
) -> Comparison:
    """Return what runs show whose row statistics are known.

    Args:
        groups: runs by label.
        found: what those of a label made of test rows, where that is known.
        chosen: where these are settings of one strategy.
    """
    first = next(iter(groups.values()))[0]
    figure, n = first.figure, first.result.n
    rows = [_row(label, group, found.get(label)) for label, group in groups.items()]
    why_not = why_not_ranked(groups, found)
    if why_not:
        rows = [replace(row, front_of_seconds=False, front_of_trained=False) for row in rows]
        return Comparison(
            figure, n, first.result.dataset, tuple(rows), None, None, why_not, tuple(notes)
        )
    picked = chosen.label if chosen else None
    tests = run_paired_tests(found, figure, about=picked)
    rows = [replace(row, shared=tests.values.get(row.label)) for row in rows]
    sign = -1 if figure in LOWER_IS_BETTER else 1
    best = picked or _best(rows, sign).label
    baseline = None if chosen else _baseline(rows)
    rows = [
        replace(
            row,
            to_best=tests.between(row.label, best),
            over_baseline=tests.between(baseline, row.label) if baseline else None,
        )
        for row in rows
    ]
    costs = [
        Cost(row.label, row.trained, row.total, row.seconds, len(row.runs), row.spread)
        for row in rows
    ]
    picked_note = [PICKED.format(best, len(rows))] if tests.pairs and len(rows) > 2 else []
    said = verdict(tests, costs, best, baseline, figure, margin, chosen is not None)
    return Comparison(
        figure,
        tests.n or n,
        first.result.dataset,
        tuple(_with_fronts(rows, sign)),
        best,
        baseline,
        said,
        (*notes, *latency_notes(rows), *([chosen.note] if chosen else picked_note)),
        tests.seeds if tests.pairs else (),
    )


def latency_notes(rows: Sequence[Row]) -> list[str]:
    """Return how latency was measured, and of which rows it was measured otherwise."""
    timed = [row for row in rows if row.latency is not None]
    known = sorted({row.threads for row in timed if row.threads is not None})
    said = []
    if known:
        count = " and ".join(f"{threads:,}" for threads in known)
        said.append(
            f"Latency is of one example at a time on the CPU with {count} "
            f"thread{'s' * (known != [1])}: the median, and in brackets the quartiles."
        )
    if len(known) > 1:
        said.append("Latencies with different numbers of threads cannot be compared.")
    older = [row.label for row in timed if row.threads is None]
    if older and known:
        said.append(f"The latency of {listed(older)} was measured by an earlier version.")
    return said


def _best(rows: Sequence[Row], sign: int) -> Row:
    """Return the best of the tested rows, or one that was not tested and stands above it.

    What was tested is ranked by its figure on the shared rows. What was not has its figure in the
    table alone, which is held against that of the best of the others.
    """
    tested = [row for row in rows if row.shared is not None]
    untested = [row for row in rows if row.shared is None]
    first = max(tested, key=lambda row: sign * (row.shared or 0.0), default=None)
    return max([first, *untested] if first else untested, key=lambda row: sign * row.score.value)


def _note_on_test_rows(
    found: Mapping[str, StrategyStatistics], groups: Mapping[str, Sequence[Run]]
) -> list[str]:
    """Return a sentence when seeds have test rows of their own, as in data without a test split."""
    for label, one in found.items():
        single = groups[label][0].result.n
        every = len(np.unique(np.concatenate([seed.index for seed in one.seeds.values()])))
        if single < every:
            return [
                f"Test rows are drawn anew for each seed: {single:,} each, {every:,} different "
                f"ones in all."
            ]
    return []


def _row(label: str, runs: Sequence[Run], found: StrategyStatistics | None) -> Row:
    results = [run.result for run in runs]
    values = [run.score.value for run in runs]
    timed = sorted(
        (result for result in results if result.latency_seconds is not None),
        key=lambda result: result.latency_seconds or 0.0,
    )
    typical = timed[(len(timed) - 1) // 2] if timed else None
    waited = typical.latency if typical else None
    return Row(
        label,
        tuple(runs),
        measured(runs, found),
        (min(values), max(values)) if len(values) > 1 else None,
        results[0].parameters_trained,
        results[0].parameters_total,
        float(np.mean([run.seconds for run in runs])),
        min(
            result.peak_memory_bytes.get("device") or result.peak_memory_bytes["host"]
            for result in results
        ),
        results[0].model_bytes,
        typical.latency_seconds if typical else None,
        (waited.low, waited.high) if waited else None,
        waited.threads if waited else None,
    )


def _baseline(rows: Sequence[Row]) -> str | None:
    """Return the label of the perceptron, else the first label; None for a single row."""
    by_hand = [row for row in rows if row.runs[0].by_hand]
    return None if len(rows) < 2 else (by_hand or list(rows))[0].label


def _with_fronts(rows: Sequence[Row], sign: int) -> list[Row]:
    """Return the rows with the Pareto fronts marked, by the shared rows if there are any."""
    alike = all(row.shared is not None for row in rows)

    def figure(row: Row) -> float:
        return sign * (row.shared if alike and row.shared is not None else row.score.value)

    def on_front(row: Row, cost: str) -> bool:
        mine = figure(row), getattr(row, cost)
        others = ((figure(other), getattr(other, cost)) for other in rows)
        return not any(
            score >= mine[0] and price <= mine[1] and (score, price) != mine
            for score, price in others
        )

    return [
        replace(
            row,
            front_of_seconds=on_front(row, "seconds"),
            front_of_trained=on_front(row, "trained"),
        )
        for row in rows
    ]
