"""What a finished run reached on the validation rows, and which of several runs that makes best."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from ftkit.recipe import LOWER_IS_BETTER
from ftkit.runs.finished import read_journal
from ftkit.runs.result import RunResult


class KeptValidation(NamedTuple):
    """Validation figure and loss of the weights that a run kept."""

    figure: float
    loss: float | None = None
    """None when it is not known."""


def kept_validation(folder: Path, result: RunResult, name: str) -> KeptValidation | None:
    """Return the validation figures of the weights that a run kept; None when they are not known.

    It is in run.json. Runs of earlier versions have it in log.jsonl alone, where the best
    validation is that of the weights that were kept.

    Args:
        folder: of the run.
        result: its run.json.
        name: of the figure by which it chose its weights.

    Raises:
        RunError: log.jsonl is needed and damaged.
    """
    kept = result.validation
    if name in kept:
        return KeptValidation(kept[name], kept.get("loss"))
    key = f"validation_{name}"
    found = [
        KeptValidation(float(entry[key]), entry.get("validation_loss"))
        for entry in read_journal(folder)
        if key in entry
    ]
    return min(found, key=lambda each: sorting_key(each.figure, each.loss, name), default=None)


def sorting_key(figure: float | None, loss: float | None, name: str) -> tuple[float, float]:
    """Return a key that sorts runs, the best first: by the figure, then by the lower loss.

    What is not known comes last.
    """

    def known(value: float | None, sign: int) -> float:
        return math.inf if value is None or math.isnan(value) else sign * value

    return known(figure, 1 if name in LOWER_IS_BETTER else -1), known(loss, 1)
