"""What a recipe of others may not decide: what sends, fetches, runs code or trusts.

Compiling is among these settings, because it starts programs of this machine.

A recipe is the user's own where it is installed (the files in `recipes/`, and what other packages
announce) or a .py file that he names. Any other one, as a .json file, in a run folder or on the
Hub, may have been written by anybody, and nothing in a folder can prove where it was made. So what
it says of these settings is shown and left out, until this user's own command says it again.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Collection
from typing import Any

from ftkit.errors import RecipeError
from ftkit.errors.addresses import is_address, shown
from ftkit.recipe import Recipe

log = logging.getLogger(__name__)
SWITCHES: dict[str, Any] = {
    "backbone.trust_remote_code": False,
    "backbone.allow_pickle": False,
    "train.push_checkpoints": None,
    "train.compile": False,
    "data.outside": False,
}
"""What they are where nobody asks for them."""


def harmless(recipe: Recipe, asked: Collection[str], name: str) -> Recipe:
    """Return a stranger's recipe without what only the user may decide, and say what it asks for.

    Args:
        asked: paths of the fields that the command sets, which are not spoken of.
        name: of the recipe, for the message.
    """
    wished = _switched_on(recipe)
    unasked = {path: value for path, value in wished.items() if not _is_asked(path, asked)}
    if unasked:
        log.warning(
            "'%s' may be the work of others, so %s, which it asks for, is left out; if you want "
            "that, add %s",
            name,
            " and ".join(path.rpartition(".")[2] for path in unasked),
            shlex.join(_words(unasked)),
        )
    return recipe.override({path: SWITCHES[path] for path in wished}) if wished else recipe


def require_asked(recipe: Recipe, asked: Collection[str], name: str) -> None:
    """Refuse to fetch the rows of a stranger's recipe from an address that the command lacks.

    The address may be one inside the user's own network.

    Args:
        asked: paths of the fields that the command sets.
        name: of the recipe, for the message.

    Raises:
        RecipeError: so it is.
    """
    path = shown(recipe.data.path)
    if is_address(path) and not _is_asked("data.path", asked):
        raise RecipeError(
            f"'{name}' may be the work of others, so its rows are not fetched from {path}; give "
            f"rows by --data, or, if you want those, add "
            f"{shlex.join(_words({'data.path': path}))}"
        )


def words_to_repeat(recipe: Recipe) -> list[str]:
    """Return the words of a command that a recipe of the user's own needs when read from a file."""
    path = shown(recipe.data.path)
    return _words(_switched_on(recipe) | ({"data.path": path} if is_address(path) else {}))


def _switched_on(recipe: Recipe) -> dict[str, Any]:
    """Return {path: value} of what the recipe asks for."""
    found = {}
    for path, usual in SWITCHES.items():
        section, _, field = path.partition(".")
        value = getattr(getattr(recipe, section), field, usual)  # a perceptron lacks some
        if value != usual:
            found[path] = value
    return found


def _is_asked(path: str, asked: Collection[str]) -> bool:
    return path in asked or path.partition(".")[0] in asked


def _words(values: dict[str, Any]) -> list[str]:
    found = []
    for path, value in values.items():
        found += ["--set", f"{path}={'true' if value is True else value}"]
    return found
