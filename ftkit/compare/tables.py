"""Runs beside each other: tables of what each measured."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from ftkit.compare.finished_runs import Run
from ftkit.compare.statistics import Paired
from ftkit.compare.summary import Comparison, Row
from ftkit.compare.verdict import shown_p
from ftkit.errors import RunError
from ftkit.errors.names import visible
from ftkit.machine.numbers import fixed, plain, size, span, with_ends
from ftkit.runs.result import Measured, RunResult


def table(results: Sequence[RunResult]) -> Table:
    """Return a row for each run: its first figure with interval, what it trained, what it took.

    Raises:
        RunError: there is no run.
    """
    if not results:
        raise RunError("no run to show: give the folders of finished runs")
    tested = sorted({f"{result.n:,} test rows of {result.dataset}" for result in results})
    shown = Table(
        title=visible("; ".join(tested)),
        caption="in brackets: 95 % interval over test rows",
        box=box.SIMPLE_HEAD,
    )
    figures = {_first(result) for result in results}
    figure = figures.pop() if len(figures) == 1 else None
    shown.add_column("recipe", overflow="fold")
    shown.add_column("strategy", no_wrap=True)
    for name in (figure or "score", "trained", "train", "model"):
        shown.add_column(name, justify="right", no_wrap=True)
    for result in results:
        shown.add_row(
            result.recipe,
            str(result.strategy["kind"]),
            ("" if figure else f"{_first(result)} ")
            + with_interval(result.metrics[_first(result)]),
            share(result.parameters_trained, result.parameters_total),
            f"{result.seconds.features + result.seconds.train:.0f} s",
            size(result.model_bytes),
        )
    return shown


def sheet(result: RunResult) -> Table:
    """Return what one run measured, a line for each figure."""
    shown = Table(
        title=f"{result.recipe}, {result.strategy['kind']}: {result.n:,} test rows",
        caption="in brackets: 95 % interval over test rows",
        box=box.SIMPLE_HEAD,
        show_header=False,
    )
    shown.add_column(no_wrap=True)
    shown.add_column()
    for name, figure in result.metrics.items():
        shown.add_row(name.replace("_", " "), with_interval(figure))
    shown.add_row(
        "parameters trained", f"{result.parameters_trained:,} of {result.parameters_total:,}"
    )
    seconds = result.seconds
    shown.add_row(
        "seconds",
        f"{seconds.features + seconds.train:.0f} training, {seconds.evaluate:.0f} evaluation, "
        f"{seconds.total:.0f} in all",
    )
    memory = max(result.peak_memory_bytes.values())
    shown.add_row("peak memory", size(memory))
    return shown


def _first(result: RunResult) -> str:
    """Return the name of the figure that stands for the run: accuracy, or r2 of a regression."""
    return next(iter(result.metrics))


def overview(found: Comparison, width: int) -> list[Table]:
    """Return the table of a comparison, in two parts when it is wider than that.

    Args:
        width: of the terminal in characters.
    """
    names = headings(found)
    parts = [range(len(names))] if width >= WIDE else [range(4), range(4, len(names))]
    tables = []
    for columns in parts:
        shown = Table(box=box.SIMPLE_HEAD)
        shown.add_column("strategy", overflow="fold")
        for column in columns:
            shown.add_column(names[column], justify="right", no_wrap=True)
        for row in found.rows:
            every = cells(row, found)
            shown.add_row(visible(row.label), *(every[column] for column in columns))
        tables.append(shown)
    tables[0].title = f"{found.n:,} test rows of {found.dataset}"
    tables[-1].caption = CAPTION
    return tables


CAPTION = "in brackets: 95 % interval over test rows; p: paired tests, adjusted for all together"
WIDE = 118
"""The characters of a table in one piece."""


def headings(found: Comparison) -> tuple[str, ...]:
    """Return the names of the columns; there is no p without a best or a baseline."""
    return (
        found.figure,
        "seeds",
        *(["p, best"] if found.best else []),
        *([f"p, {found.baseline}"] if found.baseline else []),
        "trained",
        "train",
        "memory",
        "model",
        "latency",
    )


def cells(row: Row, found: Comparison) -> tuple[str, ...]:
    """Return what stands under `headings`."""
    to_best = p_value(row.to_best, "best" if row.label == found.best else "")
    over = p_value(row.over_baseline, "baseline" if row.label == found.baseline else "")
    return (
        with_interval(row.score),
        span(*map(fixed, row.spread)) if row.spread else str(len(row.runs)),
        *([to_best] if found.best else []),
        *([over] if found.baseline else []),
        share(row.trained, row.total),
        duration(row.seconds),
        size(row.memory),
        size(row.model_bytes) if row.model_bytes else "–",
        latency_of(row),
    )


def latency_of(row: Row) -> str:
    """Return the median latency, and its quartiles where they were measured."""
    if row.latency is None:
        return "–"
    said = f"{plain(1000 * row.latency)} ms"
    if row.quartiles is None:
        return said
    low, high = (plain(1000 * end) for end in row.quartiles)
    return f"{said} [{low}, {high}]"


def rung_line(runs: Sequence[Run]) -> str:
    """Return what the last run reached, and what it bought over the rung before it."""
    run, earlier = runs[-1], [run for run in runs[:-1] if run.result.seed == runs[-1].result.seed]
    trained = share(run.result.parameters_trained, run.result.parameters_total)
    said = (
        f"{run.label:<10} seed {run.result.seed}  {run.figure} {with_interval(run.score)}  "
        f"{trained} trained in {duration(run.seconds)}"
    )
    if not earlier:
        return said
    before = earlier[-1]
    gained, dearer = run.score.value - before.score.value, round(run.seconds - before.seconds)
    return f"{said}; {fixed(gained, sign='+')} over {before.label} for {dearer:+d} s"


def with_interval(figure: Measured) -> str:
    """Return a figure, and its interval in brackets."""
    return with_ends(figure.value, figure.low, figure.high)


def with_bounds(paired: Paired) -> str:
    """Return a difference, and its interval in brackets, whose ends may be infinite."""
    return with_ends(paired.difference, paired.low, paired.high, sign="+").replace("inf", "∞")


def p_value(paired: Paired | None, otherwise: str = "") -> str:
    """Return the p-value of a test, or what stands in a row that has none."""
    if paired is None:
        return otherwise or "–"
    return shown_p(paired).removeprefix("=")


def share(trained: int, total: int) -> str:
    """Return the share of the parameters that are trained."""
    return f"{trained / total:.1%}" if total else "0.0%"


def duration(seconds: float) -> str:
    """Return seconds with as many digits as matter."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
