"""Backbones that a command leaves to measurement: `--backbone auto`, `--backbones A,B,C`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ftkit.cli.request import parse_changes
from ftkit.errors import RecipeError
from ftkit.errors.names import visible
from ftkit.machine.streams import Console
from ftkit.machine.terminal import rank
from ftkit.recipe import AUTO, Backbone, Mlp, Recipe
from ftkit.recipe.backbone import AXES


def named(backbone: str | None, backbones: str | None) -> tuple[str, ...]:
    """Return the names of the backbones to choose from, none where there is nothing to choose.

    `auto` stands for those at hand.

    Raises:
        RecipeError: both flags are given, or a name is missing.
    """
    if backbones is None:
        return (AUTO,) if backbone == AUTO else ()
    if backbone not in (None, AUTO):
        raise RecipeError(
            f"--backbone {backbone} and --backbones: the one names a backbone, the other leaves "
            f"the choice to measurement; give one of them"
        )
    names = tuple(name.strip() for name in backbones.split(","))
    if "" in names:
        raise RecipeError(
            f"--backbones {backbones}: expected names with commas between, such as A,B,C, or auto"
        )
    return names


def to_choose_from(names: Sequence[str], recipe: Recipe) -> tuple[str, ...]:
    """Return these names with `auto` replaced by the backbones at hand.

    Raises:
        RecipeError: backbones of this recipe cannot be compared.
    """
    from ftkit.planning.backbone_names import backbones_at_hand, require_probes

    require_probes(recipe)
    found = [backbones_at_hand(recipe) if name == AUTO else (name,) for name in names]
    return tuple(dict.fromkeys(name for each in found for name in each))


def left_open(recipe: Recipe) -> Recipe:
    """Return the recipe under a name of its own: what it says of its backbone may not hold."""
    return recipe.override({"name": f"{recipe.name}-auto", "description": "", "expect": ()})


def settled(changes: Sequence[str]) -> frozenset[str]:
    """Return what the user has said of the backbone by --set, by the names of the settings.

    Raises:
        RecipeError: it is something else than how any backbone is used.
    """
    paths = [path for path in parse_changes(changes) if path.partition(".")[0] == "backbone"]
    names = frozenset(path.partition(".")[2] for path in paths)
    if others := names - {*AXES}:
        raise RecipeError(
            f"--set {'.'.join(filter(None, ('backbone', min(others))))} is for one backbone, and "
            f"several are to be chosen from; set {', '.join(AXES)} alone, or name one by --backbone"
        )
    return names


def words_for(chosen: Backbone | Mlp, own: Backbone | Mlp) -> tuple[str | None, list[str]]:
    """Return (its id, what --set takes) that make the backbone that was chosen of a recipe's own.

    The id is None where it is the same.
    """
    differing = [name for name in AXES if getattr(chosen, name) != getattr(own, name)]
    words = [f"backbone.{name}={json.dumps(getattr(chosen, name))}" for name in differing]
    plain = [word.replace('"', "") for word in words]
    return (None if chosen.id == own.id else chosen.id), plain


def compare_backbones(
    recipe: Recipe, names: Sequence[str], fixed: frozenset[str], out: Path | None, limit: float
) -> Recipe:
    """Print a table of probes and what it says, and return the recipe with the chosen backbone."""
    from ftkit.planning.backbone_report import FILE, PAGE, PICTURE, sentences, table, write
    from ftkit.planning.backbone_search import search_backbones

    folder = out or Path("runs") / f"backbones-{recipe.name}"
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).exists():
        raise RecipeError(f"--out {folder}: this folder holds other things; give a new one")
    found = search_backbones(recipe, names, fixed, limit)
    if rank() == 0:
        console = Console(markup=False, emoji=False)
        console.print(table(found, console.width))
        print("\n".join(map(visible, sentences(found))))
        write(found, folder, folder)
        print(f"report   {folder / PAGE}, {folder / PICTURE}, {folder / FILE}")
    return found.chosen.candidate.of(recipe)
