"""`ftkit list` and `ftkit show`: which recipes there are, and what one of them says."""

from __future__ import annotations

from rich.table import Table

from ftkit import registry
from ftkit.machine.streams import Console, json_text


def list_recipes() -> None:
    """Show every installed recipe."""
    shown = Table(box=None, pad_edge=False)
    for column in ("recipe", "strategies", "about"):
        shown.add_column(column)
    for name, recipe in registry.recipes().items():
        kinds = [recipe.strategy.kind, *(other.kind for other in recipe.alternatives)]
        shown.add_row(name, ", ".join(kinds), recipe.description)
    Console(markup=False, emoji=False).print(shown)
    print("\n--strategy chooses one of them, or auto, with --budget TIME: what fits into the time")


def show(recipe: str) -> None:
    """Print a recipe as JSON, every default written out.

    Parameters
    ----------
    recipe
        Name of an installed recipe, path of a .py or .json file, or a Hub model of ftkit's.
    """
    print(json_text(registry.find(recipe).to_json()))
