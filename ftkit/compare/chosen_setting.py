"""Many settings of one strategy, as a sweep leaves them: the best is chosen on validation rows.

The test rows are not for choosing. The best of twenty equal trials by its test figure looks better
there than it is: at n = 360 and an accuracy of 0.95 by 1.8 points on average, and the 95 % interval
of that figure holds the truth in 79 of 100 cases (scripts/simulate_comparisons.py winner).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ftkit.compare.finished_runs import Run, recipe_in
from ftkit.errors import RunError
from ftkit.runs.validation import KeptValidation, kept_validation, sorting_key

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """The setting that is best on validation rows."""

    label: str
    note: str
    """How it was chosen."""


def best_by_validation(groups: Mapping[str, Sequence[Run]]) -> Chosen | None:
    """Return the best of several settings of one recipe and strategy by its validation figure.

    It is the best as `ftkit sweep` has it: of equal figures the one with the lower validation loss,
    on the seeds that all have, or on those of each where they have none in common. None where the
    runs are of several strategies, or their validation figures are not known.

    Args:
        groups: runs by label.
    """
    runs = [run for group in groups.values() for run in group]
    kinds = {(run.result.recipe, str(run.result.strategy["kind"])) for run in runs}
    if len(groups) < 2 or len(kinds) > 1:
        return None
    recipes = [recipe_in(run.folder) for run in runs]
    names = [r.best_by if r else run.figure for r, run in zip(recipes, runs, strict=True)]
    name, found = names[0], dict[str, dict[int, KeptValidation]]()
    if len(set(names)) > 1:
        return None
    for label, group in groups.items():
        for run in group:
            try:
                kept = kept_validation(run.folder, run.result, name)
            except RunError as error:
                log.warning("%s: the validation rows say nothing of it: %s", run.folder, error)
                return None
            if kept is None:
                return None
            found.setdefault(label, {})[run.result.seed] = kept
    common = sorted(set.intersection(*(set(seeds) for seeds in found.values())))
    means = {label: _mean(seeds, common or sorted(seeds)) for label, seeds in found.items()}
    best = min(means, key=lambda label: sorting_key(means[label].figure, means[label].loss, name))
    equal = sum(mean.figure == means[best].figure for mean in means.values()) > 1
    by_loss = equal and means[best].loss is not None
    note = (
        f"These are {len(groups)} settings of one strategy: {best} is named because its validation "
        f"{name}, {means[best].figure:.4f}, is the best"
        f"{', and of equal ones its validation loss the lowest' if by_loss else ''}; test rows are "
        f"not for choosing."
    )
    return Chosen(best, note)


def _mean(seeds: Mapping[int, KeptValidation], of: Sequence[int]) -> KeptValidation:
    """Return the mean over these seeds."""
    losses = [seeds[seed].loss for seed in of]
    known = [loss for loss in losses if loss is not None]
    return KeptValidation(
        float(np.mean([seeds[seed].figure for seed in of])),
        float(np.mean(known)) if len(known) == len(losses) else None,
    )
