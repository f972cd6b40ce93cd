"""Finds recipes: by name in installed packages, by the path of a Python or JSON file, on the Hub.

Packages announce recipes in the entry point group `ftkit.recipes`, as ftkit's own does: each entry
is a module that exports `recipe`, or a package of such modules. The recipe in `vit_cifar.py` is
called `vit-cifar`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from types import ModuleType

from ftkit.errors import FtkitError, RecipeError, nearest
from ftkit.recipe import Recipe
from ftkit.recipe.strangers import harmless

GROUP = "ftkit.recipes"


def names() -> list[str]:
    """Return the names of all installed recipes, sorted. Imports none of them."""
    return sorted(_modules()[0])


def recipes() -> dict[str, Recipe]:
    """Return every installed recipe by its name, in the order of the names."""
    modules, _ = _modules()
    return {name: _recipe_of(modules[name]) for name in sorted(modules)}


def find(name: str, asked: Collection[str] = ()) -> Recipe:
    """Return the recipe of that name, the one in that .py or .json file, or of that Hub model.

    Of one that is not the user's own, without what only he may decide, see
    `ftkit.recipe.strangers`.

    Args:
        asked: paths of the fields that the command sets.

    Raises:
        RecipeError: there is none, or its file does not hold a valid recipe.
        HubError: `OWNER/NAME` is not on the Hub, or was not published by ftkit.
    """
    path = Path(os.path.expanduser(name))
    if path.suffix in {".py", ".json"}:
        if not path.is_file():
            raise RecipeError(f"recipe '{name}': there is no such file")
        if path.suffix == ".py":
            return _from_python(path)
        return harmless(_from_json(path), asked, name)
    modules, gone = _modules()
    if name not in modules and name.count("/") == 1:
        return harmless(_from_hub(name), asked, name)
    if name not in modules:
        raise RecipeError(
            f"there is no recipe '{name}'{nearest(name, modules) or '.'} 'ftkit list' shows all of "
            f"them; a path to a .py or .json file works too, and a model that ftkit published"
            f"{''.join(gone)}"
        )
    return _recipe_of(modules[name])


def is_own(name: str) -> bool:
    """Return whether the recipe of that name is the user's own: installed, or his Python file."""
    suffix = Path(name).suffix
    return suffix == ".py" or (suffix != ".json" and name in _modules()[0])


def _modules() -> tuple[dict[str, str], list[str]]:
    """Return the module of each recipe name, and a clause for each package that is gone."""
    found: dict[str, str] = {}
    gone: list[str] = []
    for entry in metadata.entry_points(group=GROUP):
        try:
            spec = importlib.util.find_spec(entry.module)
        except ModuleNotFoundError:  # of the package around it
            spec = None
        if spec is None:
            gone.append(
                f"; the package '{entry.module}' that announces recipes in '{GROUP}' is gone, "
                f"reinstall {entry.dist.name if entry.dist else 'it'}"
            )
            continue
        if spec.submodule_search_locations is None:
            found[_name_of(entry.module)] = entry.module
            continue
        if entry.dist is not None and entry.dist.name == "ftkit":
            _check_owner(entry.module)
        for module in pkgutil.iter_modules(list(spec.submodule_search_locations)):
            if not module.name.startswith("_"):
                found[_name_of(module.name)] = f"{entry.module}.{module.name}"
    return found, gone


def _check_owner(package: str) -> None:
    """Refuse a foreign top-level package `recipes`: torchtune's wheel installs one over ours."""
    spec = importlib.util.find_spec(package)
    try:
        owner = getattr(importlib.import_module(package), "OWNER", None)
    except Exception:  # torchtune's refuses to be imported
        owner = None
    if owner != "ftkit":
        place = Path((spec and spec.origin) or "").parent
        raise RecipeError(
            f"the package '{package}' at {place} is not ftkit's: "
            f"another distribution (torchtune has one) took the name. Reinstall ftkit after it, or "
            f"use two virtual environments"
        )


def _name_of(module: str) -> str:
    return module.rpartition(".")[2].replace("_", "-")


def _recipe_of(module: str) -> Recipe:
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # whatever somebody's module may raise, with its name
        raise RecipeError(f"{module}: {_message_of(error)}") from error
    return _checked(loaded, module)


def _from_python(path: Path) -> Recipe:
    spec = importlib.util.spec_from_file_location(f"ftkit_recipe_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:  # whatever a person's file may raise, with its path
        raise RecipeError(f"{path}: {_message_of(error)}") from error
    return _checked(loaded, str(path))


def _checked(module: ModuleType, name: str) -> Recipe:
    value = getattr(module, "recipe", None)
    if not isinstance(value, Recipe):
        raise RecipeError(
            f"{name} must export `recipe`, a ftkit.Recipe; it has "
            f"{'none' if value is None else type(value).__name__}"
        )
    return value


def _message_of(error: Exception) -> str:
    """Return the message of an error of ftkit's own, and the kind too of any other."""
    return str(error) if isinstance(error, FtkitError) else f"{type(error).__name__}: {error}"


def _from_json(path: Path) -> Recipe:
    try:
        return Recipe.from_json(path.read_text(encoding="utf-8"))
    except (FtkitError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from None


def _from_hub(name: str) -> Recipe:
    """Return the recipe that a model on the Hub was published with, as it stands there.

    Raises:
        HubError: there is no such model, or no recipe in it.
        RecipeError: it is not a recipe of this version.
    """
    # The Hub's client takes a tenth of a second to import, which others need not wait for.
    from huggingface_hub import hf_hub_download

    from ftkit.hub.download import resolve
    from ftkit.hub.errors import hub_errors, patiently

    commit = resolve("model", name, None, what="recipe")
    with hub_errors("recipe", name):
        file = patiently(lambda: hf_hub_download(name, "recipe.json", revision=commit))
    try:
        return Recipe.from_json(Path(file).read_text(encoding="utf-8"))
    except (RecipeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe '{name}': {error}") from None
