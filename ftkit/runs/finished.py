"""What a finished run left behind, read with care: its recipe, its journal, its model as verified.

Disks lose bytes, copies are cut off, people edit. Whatever a file of a run holds, reading it gives
what the run wrote, or one line that names the file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftkit.errors import RecipeError, RunError
from ftkit.hub.checksums import sha256_of
from ftkit.recipe import Recipe
from ftkit.recipe.settings import read_json
from ftkit.runs.result import FILE, RunResult

log = logging.getLogger(__name__)
RECIPE, JOURNAL, MODEL = "recipe.json", "log.jsonl", "model"
LOCK = "lock"
"""The file in checkpoints/ by which a process has taken a folder."""
BASELINE = "baseline.json"
"""The file that a baseline of a comparison has instead of a recipe."""
OLDER = (
    "an earlier version wrote this run, and noted the checksums of weights at most; the other "
    "files of its model are taken as they are"
)
LOADED = ("*.safetensors", "*config.json")
"""Files that decide what is loaded. One that the run did not write would change its model."""


def read_finished(folder: Path) -> RunResult:
    """Return the result of a finished run whose recipe can be read and whose model is as verified.

    Raises:
        RunError: it is not finished, or one of its files is damaged.
    """
    result = RunResult.read(folder)
    if result.model_sha256 or (folder / RECIPE).exists():
        read_recipe(folder)
    if result.model_sha256:
        require_verified(folder / MODEL)
    return result


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of a run.

    Raises:
        RunError: there is none, or its file is damaged.
    """
    file = folder / RECIPE
    try:
        return Recipe.from_json(_text_of(file))
    except (RecipeError, ValueError) as error:
        raise RunError(f"{file} is not the recipe of a run: {error}") from None


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of log.jsonl; none where a run left no such file.

    Raises:
        RunError: it holds something else than lines of figures.
    """
    file = folder / JOURNAL
    if not file.exists():
        return []
    try:
        lines = _text_of(file).splitlines()
    except ValueError as error:
        raise RunError(f"{file} is not the log of a run: {error}") from None
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = read_json(line)
        except ValueError as error:
            raise RunError(f"{file}, line {number}: {error}") from None
        if not isinstance(entry, dict):
            raise RunError(f"{file}, line {number}: expected an object, got {line[:40]!r}")
        for name, value in entry.items():
            if not _is_figure(name, value):
                raise RunError(
                    f"{file}, line {number}: {name} = {str(value)[:40]!r} is not a figure"
                )
        entries.append(entry)
    return entries


def run_in(folder: Path, resume: bool) -> Recipe | None:
    """Return the recipe of the run that a folder for a new run holds already; None of a free one.

    Args:
        resume: whether a run in it is wanted.

    Raises:
        RunError: the folder holds something else, or a run and `resume` is not set.
    """
    if not folder.exists() or (folder.is_dir() and _holds_nothing(folder)):
        return None
    if not (folder / RECIPE).is_file():
        raise RunError(f"output folder {folder} is not empty and holds no run; give another --out")
    there = read_recipe(folder)
    if not resume:
        state = "a finished" if (folder / FILE).exists() else "an unfinished"
        raise RunError(
            f"output folder {folder} holds {state} run of {there.name} ({there.strategy.kind}); "
            f"give another --out, or go on with it by --resume"
        )
    return there


def _holds_nothing(folder: Path) -> bool:
    """Return whether there is no file in a folder but the lock of a run that did not begin."""
    return not any(path.is_file() and path.name != LOCK for path in folder.rglob("*"))


def require_verified(folder: Path) -> None:
    """Refuse a model's folder that is not as its run verified it; without a run, do nothing.

    The run is the one whose model/ it is, or that lies in the same folder, as on the Hub. Of
    versions that wrote the checksums of weights alone, these are compared.

    Raises:
        RunError: a file is gone, or another than it was.
    """
    here = folder.resolve()
    for run in (here.parent, here.parent.parent, here):
        root = run / MODEL if run != here else here
        if (run / FILE).is_file() and here.is_relative_to(root):
            inside = here.relative_to(root).as_posix()
            wanted = _below(RunResult.read(run).model_sha256, inside)
            if reason := changed_file(folder, wanted):
                raise RunError(
                    f"{reason}: it is not the model that its run verified; bring that file back, "
                    f"or train again"
                )
            return


def knows_all_files(result: RunResult) -> bool:
    """Return whether a run has the checksums of all files of its model, not of weights alone."""
    return _knows_all(result.model_sha256)


def changed_file(folder: Path, wanted: Mapping[str, str], deep: bool = False) -> str:
    """Return which file of a folder does not have its checksum, and why; "" when all have.

    Args:
        wanted: checksums by path in the folder.
        deep: look for files that were added in folders below, too.
    """
    for name, checksum in wanted.items():
        file = folder / name
        try:
            if sha256_of(file) != checksum:
                return f"{file} has changed"
        except FileNotFoundError:
            return f"{file} is gone"
        except OSError as error:
            return f"{file} cannot be read ({error.strerror})"
    patterns = LOADED if _knows_all(wanted) else LOADED[:1]
    there = (f for pattern in patterns for f in (folder.rglob if deep else folder.glob)(pattern))
    added = sorted(file for file in there if file.relative_to(folder).as_posix() not in wanted)
    return f"{added[0]} was added" if added else ""


def _knows_all(names: Iterable[str]) -> bool:
    return any(not name.endswith(".safetensors") for name in names)


def _below(checksums: Mapping[str, str], inside: str) -> dict[str, str]:
    """Return the checksums of files that lie directly in a folder of model/, by their names."""
    start = "" if inside == "." else f"{inside}/"
    names = {name: name.removeprefix(start) for name in checksums if name.startswith(start)}
    return {short: checksums[name] for name, short in names.items() if "/" not in short}


def _is_figure(name: str, value: Any) -> bool:
    """Return whether an entry of a log may have this value: a number, some of them, or words."""
    if isinstance(value, list) and name == "gradient_norms":
        return all(_is_figure("", each) for each in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return isinstance(value, str) and name.endswith("_by")
    return isinstance(value, float) or abs(value) < 2**63


def _text_of(file: Path) -> str:
    """Return what a text file holds.

    Raises:
        RunError: it is gone or cannot be read.
        ValueError: it is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except FileNotFoundError:
        raise RunError(f"{file.parent} holds no run that can be read: {file} is gone") from None
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}") from None
