"""Where a command writes when nobody says where, and the home folder in a path that is given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftkit.recipe import Recipe


def at_home(path: Path | None) -> Path | None:
    """Return the path with ~ as the home folder, as a shell leaves it in --out=~/runs."""
    return None if path is None else Path(os.path.expanduser(path))


def default_folder(recipe: Recipe, smoke: bool, strategy: str | None = None) -> Path:
    """Return runs/RECIPE-STRATEGY-seedSEED, with -smoke where it is one."""
    from ftkit.recipe import AUTO

    kind = AUTO if strategy == AUTO else recipe.strategy.kind
    name = f"{recipe.name}-{kind}-seed{recipe.train.seed}"
    return Path("runs") / (name + "-smoke" if smoke else name)
