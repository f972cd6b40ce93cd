"""A search space from the command line: which fields of a recipe are tried, and in what range.

strategy.learning_rate=1e-5..1e-3[log]    a range, by its logarithm
strategy.rank=4..32                       a range of whole numbers
strategy.rank=4,8,16                      choices
train.epochs=3                            a value: every trial has it
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftkit.errors import RecipeError
from ftkit.errors.addresses import shown
from ftkit.recipe import Recipe
from ftkit.recipe.settings import read_json

RANGE = re.compile(r"(?P<low>[-+.0-9e]+?)\.\.(?P<high>[-+.0-9e]+)(?P<log>\[log\])?", re.IGNORECASE)
EXAMPLES = "strategy.learning_rate=1e-5..1e-3[log], strategy.rank=4,8,16 or train.epochs=3"


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; whole numbers when both ends are."""

    low: float
    high: float
    log: bool = False

    @property
    def ends(self) -> tuple[float, ...]:
        """Values that must be allowed for all between to be."""
        return self.low, self.high


@dataclass(frozen=True)
class Choices:
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that must be allowed."""
        return self.values


Space = Mapping[str, "Range | Choices"]


def parse_space(changes: Sequence[str]) -> tuple[dict[str, Range | Choices], list[str]]:
    """Return what is tried for each field, and the changes that are plain values.

    Raises:
        RecipeError: a range makes no sense, or a field is given twice.
    """
    space: dict[str, Range | Choices] = {}
    fixed: list[str] = []
    for change in changes:
        path, _, text = change.partition("=")
        found = _dimension(change, text)
        if found is None:
            fixed.append(change)
        elif path in space:
            raise RecipeError(f"--set {change}: {path} is given twice")
        else:
            space[path] = found
    return space, fixed


def require_allowed(recipe: Recipe, space: Space) -> None:
    """Refuse before any training what the recipe does not allow.

    Raises:
        RecipeError: there is no such field, or no such value of it; or the space is empty.
    """
    if not space:
        raise RecipeError(
            f"sweep: nothing to try; give --set with a range or choices, as {EXAMPLES}"
        )
    for path, dimension in space.items():
        for value in dimension.ends:
            recipe.override({path: value})


def _dimension(change: str, text: str) -> Range | Choices | None:
    match = RANGE.fullmatch(text)
    if match:
        try:
            low, high = read_json(match["low"]), read_json(match["high"])
        except ValueError:
            raise RecipeError(f"--set {change}: expected two numbers, as in {EXAMPLES}") from None
        log = match["log"] is not None
        if not low < high < math.inf or (log and low <= 0):
            need = "0 < low < high" if log else "low < high"
            raise RecipeError(f"--set {change}: expected a range with {need}")
        return Range(low, high, log)
    if "," not in text or _is_json(text):
        return None
    parts = [part.strip() for part in text.split(",")]
    if any(shown(part) != part for part in parts):
        raise RecipeError(
            f"--set {change}: an address with more than host and path is not tried, for the study "
            f"would keep it; give one by --data"
        )
    return Choices(tuple(read_json(part) if _is_json(part) else part for part in parts))


def _is_json(text: str) -> bool:
    try:
        read_json(text)
    except ValueError:
        return False
    return True
