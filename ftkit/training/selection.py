"""Which validation's weights are kept, and whether one brought a gain: for every kind of training.

A figure such as accuracy takes few values on few validation rows, so equal figures are the rule
there. Among them the lower loss decides, which every row moves. Of images, which training sees
changed in every epoch, the last epoch is kept where validation rows are few: the best of many
epochs would be the one that they were luckiest with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ftkit.recipe import LOWER_IS_BETTER, HeadOnly, Recipe

FEWEST_IMAGES = 40
"""Fewer validation images do not choose an epoch; docs/choosing.md has what that gave."""
LEAST_GAIN = 1e-4
"""Share by which the loss must fall at an equal figure to count as a gain for early stopping; else
a loss that creeps would never end a run. scikit-learn's `tol` is 1e-4, too."""


def choose_epoch(recipe: Recipe, rows: int) -> bool:
    """Return whether validation rows choose the epoch whose weights are kept; else it is the last.

    They do where there are enough of them, where a head is trained alone, where the rows are no
    images, and where the recipe names the figure to choose by or stops early.

    Args:
        rows: of the validation split.
    """
    asked = recipe.train.best_by is not None or recipe.train.early_stopping is not None
    of_images = recipe.task.noun == "images" and not isinstance(recipe.strategy, HeadOnly)
    return asked or rows >= FEWEST_IMAGES or not of_images


def rank(figures: Mapping[str, float], by: str) -> tuple[float, float]:
    """Return (figure, loss) so signed that the better of two validations is the larger pair.

    A figure that is no number is worse than any.
    """
    return _signed(figures[by], by in LOWER_IS_BETTER), _signed(figures["loss"], True)


def best_validation(validations: Sequence[Mapping[str, float]], by: str) -> int:
    """Return the position of the validation whose weights are kept: the earliest of the best."""
    return max(range(len(validations)), key=lambda number: rank(validations[number], by))


def without_gain(validations: Sequence[Mapping[str, float]], by: str) -> int:
    """Return how many validations there were since the last one that brought a gain.

    A better figure is a gain, and so is a lower loss at an equal figure.
    """
    found: tuple[int, tuple[float, float] | None] = (0, None)
    for figures in validations:
        found = count_validation(*found, rank(figures, by))
    return found[0]


def count_validation(
    waited: int, gain: Sequence[float] | None, now: tuple[float, float]
) -> tuple[int, tuple[float, float]]:
    """Return (validations since the last gain, rank of that gain) after one validation more.

    Args:
        waited: what was returned before; 0 at first.
        gain: what was returned before; None at first.
        now: the `rank` of this validation.
    """
    if gain is None or _gains(now, gain):
        return 0, now
    return waited + 1, (gain[0], gain[1])


def _gains(now: tuple[float, float], before: Sequence[float]) -> bool:
    if now[0] != before[0]:
        return now[0] > before[0]
    return now[1] - before[1] > LEAST_GAIN * abs(before[1])


def _signed(value: float, lower_is_better: bool) -> float:
    if math.isnan(value):
        return -math.inf
    return -value if lower_is_better else value
