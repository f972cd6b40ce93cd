"""What a report shows of every strategy, whatever its task: learning curves, settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ftkit.compare.finished_runs import Run
from ftkit.compare.report.charts import Line
from ftkit.compare.report.shown_rows import recipe_of
from ftkit.errors import RunError
from ftkit.recipe.settings import by_path
from ftkit.runs.finished import read_journal

log = logging.getLogger(__name__)
LONGEST = 1e12
"""A run never takes so many seconds; an entry that says so is damaged."""
NOT_SETTINGS = ("name", "description", "alternatives", "expect")


def curve_figure(runs: Sequence[Run]) -> str:
    """Return the figure that validations have; BLEU, for one, is measured at the end alone."""
    recipes = filter(None, map(recipe_of, runs))
    return next((r.task.chosen_by for r in recipes if r.task.chosen_by), runs[0].figure)


def line_of(run: Run, series: int, figure: str) -> Line | None:
    """Return the validation figure over seconds of training; None for a run without a journal.

    Args:
        series: number of its colour.
    """
    try:
        entries = read_journal(run.folder)
    except RunError as error:
        log.warning("the report draws no curve of %s: %s", run.label, error)
        return None
    name, before = f"validation_{figure}", run.result.seconds.features
    points = [(before + e["seconds"], e[name]) for e in entries if e.keys() >= {name, "seconds"}]
    points = [(seconds, value) for seconds, value in points if 0 < seconds < LONGEST]
    if not points:
        return None
    x, y = zip(*points, strict=True)
    return Line(run.label, x, y, series)


def settings_that_differ(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return each setting in which runs or their strategies differ, with its values by run."""
    found: list[dict[str, str]] = []
    trained = []
    for run in runs:
        recipe = recipe_of(run)
        values = by_path({"strategy": run.result.strategy})
        if recipe and run.result.parameters_trained:
            values = by_path(recipe.model_dump(mode="json")) | values
            trained.append(len(found))
        found.append({name: _written(value) for name, value in values.items()})
    names = list(dict.fromkeys(name for values in found for name in values))
    rows = [(name, [values.get(name, "–") for values in found]) for name in names]
    return [
        (name, values)
        for name, values in rows
        if len({values[place] for place in trained}) > 1
        or (name.startswith("strategy.") and len(set(values)) > 1)
        if name.split(".")[0] not in NOT_SETTINGS and name != "train.seed"
    ]


def _written(value: Any) -> str:
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
