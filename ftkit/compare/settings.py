"""Many settings of one strategy, as a sweep leaves them: the best is chosen on validation rows.

The test rows are not for choosing. The best of twenty equal trials by its test figure looks better
there than it is: at n = 360 and an accuracy of 0.95 by 1.8 points on average, and the 95 % interval
of that figure holds the truth in 79 of 100 cases (scripts/simulate_comparisons.py winner).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ftkit.compare.runs import Run, recipe_in
from ftkit.recipe import LOWER_IS_BETTER


@dataclass(frozen=True)
class Chosen:
    """The setting that validation rows say is best."""

    label: str
    note: str
    """How it was chosen."""


def best_by_validation(groups: Mapping[str, Sequence[Run]]) -> Chosen | None:
    """Return the best of several settings of one recipe and strategy by its validation figure.

    None where the runs are of several strategies, or their validation figures are not known.

    Args:
        groups: runs by label.
    """
    runs = [run for group in groups.values() for run in group]
    kinds = {(run.result.recipe, str(run.result.strategy["kind"])) for run in runs}
    if len(groups) < 2 or len(kinds) > 1:
        return None
    names = {_best_by(run) for run in runs}
    if len(names) > 1:
        return None
    (name,) = names
    figures: dict[str, float] = {}
    for label, group in groups.items():
        seen = [_validation(run, name) for run in group]
        if any(value is None for value in seen):
            return None
        figures[label] = float(np.mean([value for value in seen if value is not None]))
    sign = -1 if name in LOWER_IS_BETTER else 1
    best = max(figures, key=lambda label: sign * figures[label])
    return Chosen(
        best,
        f"These are {len(groups)} settings of one strategy: {best} is named because its validation "
        f"{name}, {figures[best]:.4f}, is the best; test rows are not for choosing.",
    )


def _best_by(run: Run) -> str:
    """Return the name of the figure by which the run chose its weights."""
    recipe = recipe_in(run.folder)
    return recipe.best_by if recipe else run.figure


def _validation(run: Run, name: str) -> float | None:
    """Return the validation figure of the weights that a run kept; None where it is not known.

    It is in run.json; in those of earlier versions it is not, but log.jsonl has it.
    """
    kept = run.result.validation.get(name)
    file = run.folder / "log.jsonl"
    if kept is not None or not file.is_file():
        return kept
    entries = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    seen = [entry[f"validation_{name}"] for entry in entries if f"validation_{name}" in entry]
    if not seen:
        return None
    return float(min(seen) if name in LOWER_IS_BETTER else max(seen))
