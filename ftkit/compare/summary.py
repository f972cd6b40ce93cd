"""What a comparison found: a row for each strategy, tests between them, one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from ftkit.compare.evidence import Evidence, evidence, measured, paired
from ftkit.compare.rungs import listed
from ftkit.compare.runs import Run, by_label
from ftkit.compare.statistics import Paired, holm
from ftkit.errors import RunError
from ftkit.recipe import LOWER_IS_BETTER
from ftkit.result import Measured

LEVEL = 0.05
"""Of the tests, over all comparisons with the best together."""


@dataclass(frozen=True)
class Row:
    """One strategy: what it reached, over its seeds, and what that took."""

    label: str
    runs: tuple[Run, ...]
    score: Measured
    """Mean over seeds, with a 95 % interval over test examples."""
    spread: tuple[float, float] | None
    """Lowest and highest of the seeds; None of one seed."""
    trained: int
    total: int
    """Parameters."""
    seconds: float
    """Of training, features included, the mean over seeds."""
    memory: int
    """Peak in bytes, on the device where it has memory of its own, else on the host; the least of
    the seeds, as later ones count what runs before them have left in the process."""
    model_bytes: int
    latency: float | None
    """Seconds an example at batch 1."""
    to_best: Paired | None = None
    """What sets the best apart from this one, p adjusted by Holm; None of the best."""
    over_baseline: Paired | None = None
    """What sets this one apart from the baseline; None of the baseline."""
    front_of_seconds: bool = False
    """No other is as good in less time."""
    front_of_trained: bool = False
    """No other is as good with fewer trained parameters."""


@dataclass(frozen=True)
class Comparison:
    """All of it."""

    figure: str
    """What is compared, such as accuracy."""
    n: int
    """Test examples."""
    dataset: str
    rows: tuple[Row, ...]
    best: str
    baseline: str | None
    verdict: str
    notes: tuple[str, ...] = ()
    """What was left out, not run, or cannot be tested."""

    @property
    def lower_is_better(self) -> bool:
        """Whether the figure is an error."""
        return self.figure in LOWER_IS_BETTER

    def row(self, label: str) -> Row:
        """Return the row of that label."""
        return next(row for row in self.rows if row.label == label)


def summarize(runs: Sequence[Run], notes: Sequence[str] = ()) -> Comparison:
    """Return what these runs show, in the order in which their labels first come.

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
    found: dict[str, Evidence] = {}
    for label, group in groups.items():
        try:
            found[label] = evidence(group)
        except RunError as error:
            said.append(f"{label}: {error}")
    said += _own_rows(found, groups)
    rows = [_row(label, group, found.get(label)) for label, group in groups.items()]
    sign = -1 if figures[0] in LOWER_IS_BETTER else 1
    best = max(rows, key=lambda row: sign * row.score.value)
    baseline = _baseline(rows)
    tests = _tests(found, groups)
    rows = [
        replace(
            row,
            to_best=tests(row.label, best.label),
            over_baseline=tests(baseline.label, row.label) if baseline else None,
        )
        for row in rows
    ]
    rows = _marked(_adjusted(rows), sign)
    n = max((row.to_best.n for row in rows if row.to_best), default=runs[0].result.n)
    named = baseline.label if baseline else None
    return Comparison(
        figures[0],
        n,
        runs[0].result.dataset,
        tuple(rows),
        best.label,
        named,
        verdict(rows, best.label, named, n, sign),
        tuple(said),
    )


def _own_rows(found: dict[str, Evidence], groups: dict[str, list[Run]]) -> list[str]:
    """Return a sentence where seeds have test rows of their own: the data have no test split."""
    for label, one in found.items():
        single = groups[label][0].result.n
        if single < len(one.index):
            return [
                f"Test rows are drawn anew for each seed: {single:,} each, {len(one.index):,} "
                f"different ones in all."
            ]
    return []


def _row(label: str, runs: Sequence[Run], found: Evidence | None) -> Row:
    results = [run.result for run in runs]
    values = [run.score.value for run in runs]
    waits = [result.latency_seconds for result in results if result.latency_seconds is not None]
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
        float(np.median(waits)) if waits else None,
    )


def _baseline(rows: Sequence[Row]) -> Row | None:
    """Return the perceptron's row, else the first; None of a single row."""
    by_hand = [row for row in rows if row.runs[0].by_hand]
    return None if len(rows) < 2 else (by_hand or list(rows))[0]


def _tests(
    found: dict[str, Evidence], groups: dict[str, list[Run]]
) -> Callable[[str, str], Paired | None]:
    """Return a function from two labels to what sets the second apart, on the seeds of both."""

    def test(first: str, second: str) -> Paired | None:
        if first == second or first not in found or second not in found:
            return None
        seeds = {run.result.seed for run in groups[first]} & {
            run.result.seed for run in groups[second]
        }
        if not seeds:
            return None

        def shared(label: str) -> Evidence:
            both = [run for run in groups[label] if run.result.seed in seeds]
            return found[label] if len(both) == len(groups[label]) else evidence(both)

        with suppress(RunError):  # of rows that both were tested on there may be none
            return paired(shared(first), shared(second))
        return None

    return test


def _adjusted(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with the p-values of their tests against the best adjusted together."""
    tested = [row.to_best.p for row in rows if row.to_best]
    adjusted = iter(holm(tested))
    return [
        replace(row, to_best=replace(row.to_best, p=next(adjusted))) if row.to_best else row
        for row in rows
    ]


def _marked(rows: Sequence[Row], sign: int) -> list[Row]:
    """Return the rows, those of the Pareto fronts marked."""

    def on_front(row: Row, cost: str) -> bool:
        mine = sign * row.score.value, getattr(row, cost)
        others = ((sign * other.score.value, getattr(other, cost)) for other in rows)
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


def verdict(rows: Sequence[Row], best: str, baseline: str | None, n: int, sign: int = 1) -> str:
    """Return one sentence: what the evidence supports, and nothing more."""
    winner = next(row for row in rows if row.label == best)
    others = [row for row in rows if row.label != best]
    if not others:
        return f"One strategy was run, {best}; there is nothing to compare it with."
    untested = [row for row in others if row.to_best is None]
    if untested:
        return (
            f"{best} has the best figure at n = {n:,}, but no paired test could be made against "
            f"{listed([row.label for row in untested])}."
        )
    alike = [row for row in others if row.to_best and row.to_best.p >= LEVEL]
    if alike:
        cheapest = min([*alike, winner], key=lambda row: (row.trained, row.seconds))
        time = f" in {cheapest.seconds:.3g} s" if cheapest.trained else ""
        said = (
            f"{listed([*(row.label for row in alike), best])} cannot be told apart at n = {n:,}; "
            f"{cheapest.label} trains {_trained(cheapest, winner)}{time}"
        )
    else:
        second = max(others, key=lambda row: sign * row.score.value)
        gap = second.to_best
        assert gap is not None
        size, p = f"{abs(gap.difference):.3f}", shown_p(gap)
        than = f"all others at n = {n:,}, than {second.label} by {size}"
        if len(others) == 1:
            than = f"{second.label} at n = {n:,}, by {size}"
        said = f"{best} is better than {than} (p {p[0]} {p[1:]})"
        if _overlap(winner, second):
            said += ", though their ranges over seeds overlap"
    if baseline == best:
        return f"{said}."
    near = {row.label for row in alike}
    told = [row for row in others if row.trained and row.over_baseline]
    if baseline in near:  # those near to the best are near to it, which is said
        told = [row for row in told if row.label not in near]
    return f"{said}{_over_baseline(told, baseline, sign)}."


def _over_baseline(rows: Sequence[Row], baseline: str | None, sign: int) -> str:
    """Return which strategies are worse than the baseline, and which not shown to be better."""
    worse: list[str] = []
    unclear: list[str] = []
    for row in rows:
        test = row.over_baseline
        if test and not (test.p < LEVEL and sign * test.difference > 0):
            (worse if test.p < LEVEL else unclear).append(row.label)
    said = ""
    if worse:
        said += f"; {listed(worse)} {'is' if len(worse) == 1 else 'are'} worse than {baseline}"
    if unclear:
        said += f"; {listed(unclear)} could not be shown to beat {baseline}"
    return said


def _overlap(winner: Row, other: Row) -> bool:
    """Return whether the seeds of two strategies lie in ranges that overlap."""
    if winner.spread is None or other.spread is None:
        return False
    return max(winner.spread[0], other.spread[0]) <= min(winner.spread[1], other.spread[1])


def _trained(row: Row, other: Row) -> str:
    """Return how much a strategy trains: as a share where the other has about the same model."""
    if not row.trained:
        return "nothing"
    if row.trained == row.total == other.total:
        return "all parameters"
    if 0.8 * other.total < row.total < 1.2 * other.total:  # adapters add a little
        return f"{100 * row.trained / row.total:.2g} % of the parameters"
    return f"{row.trained:,} parameters"


def shown_p(test: Paired) -> str:
    """Return a p-value after its sign: =0.03, ≤0.006 where the test tells no more, <0.001."""
    if test.p < 0.001:
        return "<0.001"
    return f"{'≤' if test.at_most else '='}{test.p:.2g}"
