"""What a report shows of every strategy, whatever its task: learning curves, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ftkit.compare.runs import Run
from ftkit.report.charts import Line
from ftkit.report.inputs import recipe_of

NOT_SETTINGS = ("name", "description", "alternatives", "expect")


def curve_figure(runs: Sequence[Run]) -> str:
    """Return the figure that validations have: BLEU, for one, is measured at the end alone."""
    recipes = filter(None, map(recipe_of, runs))
    return next((r.task.chosen_by for r in recipes if r.task.chosen_by), runs[0].figure)


def line_of(run: Run, series: int, figure: str) -> Line | None:
    """Return the validation figure over seconds of training; None of a run without a journal.

    Args:
        series: number of its colour.
    """
    file = run.folder / "log.jsonl"
    if not file.is_file():
        return None
    entries = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    name, before = f"validation_{figure}", run.result.seconds.features
    points = [(before + e["seconds"], e[name]) for e in entries if name in e]
    points = [(seconds, value) for seconds, value in points if seconds > 0]
    if not points:
        return None
    x, y = zip(*points, strict=True)
    return Line(run.label, x, y, series)


def settings_that_differ(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return each setting in which trained runs differ, and those of the strategies, by run."""
    found: list[dict[str, str]] = []
    trained = []
    for run in runs:
        recipe = recipe_of(run)
        values = _flat({"strategy": run.result.strategy})
        if recipe and run.result.parameters_trained:
            values = _flat(recipe.model_dump(mode="json")) | values
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


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return found


def _written(value: Any) -> str:
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
