"""Runs beside each other: tables of what each measured."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from ftkit.errors import RunError
from ftkit.result import Measured, RunResult


def table(results: Sequence[RunResult]) -> Table:
    """Return a row for each run: accuracy with its interval, what it trained, what it took.

    Raises:
        RunError: there is no run.
    """
    if not results:
        raise RunError("no run to show: give the folders of finished runs")
    tested = sorted({f"{result.n:,} test rows of {result.dataset}" for result in results})
    shown = Table(
        title="; ".join(tested),
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
            + _with_interval(result.metrics[_first(result)]),
            f"{result.parameters_trained / result.parameters_total:.1%}",
            f"{result.seconds.features + result.seconds.train:.0f} s",
            f"{result.model_bytes / 1e6:.1f} MB",
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
        shown.add_row(name.replace("_", " "), _with_interval(figure))
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
    shown.add_row("peak memory", f"{memory / 1e9:.2f} GB")
    return shown


def _with_interval(figure: Measured) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _first(result: RunResult) -> str:
    """Return the name of the figure that stands for the run: accuracy, or r2 of a regression."""
    return next(iter(result.metrics))
