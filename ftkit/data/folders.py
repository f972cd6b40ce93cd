"""What lies in a folder: images below it in order, folders, tables, and all that is left out.

Nothing is left out without a word: `LeftOut` remembers what, and says it in one note for each kind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ftkit.data.image_formats import is_image_file
from ftkit.errors.names import HIDDEN, first_few
from ftkit.machine.cache_folder import cache_folder

MOST_NAMED = 5
BETWEEN_NAMES = re.compile(r"""[\s,;"'/\\]+""")
"""What separates the name of a file from other text in a table, or from the folders before it."""
SYSTEM = {
    *("@eadir", "lost+found", "$recycle.bin", "system volume information", "#recycle"),
    *("#snapshot", "__macosx", "__pycache__", "thumbs.db", "desktop.ini", "icon\r"),
}
"""Names that file managers, storage systems and version control leave behind, beside hidden ones.
"""
RUN = ("run.json", "checks.json", "log.jsonl", "checkpoints", "model", "plots")
"""A folder with recipe.json and one of these is a run."""
REPORTS = ("comparison.json", "baseline.json", "study.journal")
"""A folder with one of these was written by `ftkit compare` or `ftkit sweep`."""


class LeftOut:
    """The files and folders that are left out, by kind."""

    def __init__(self, root: Path | None) -> None:
        self.root, self.kinds = root, dict[str, list[str]]()

    def add(self, kind: str, path: str | Path) -> None:
        """Remember that this file or folder is not used."""
        self.kinds.setdefault(kind, []).append(str(path))

    def notes(self) -> tuple[str, ...]:
        """Return one note for each kind."""
        return tuple(
            f"not used: {len(paths):,} {_singular(kind) if len(paths) == 1 else kind} "
            f"({_named(paths, self.root)})"
            for kind, paths in self.kinds.items()
        )


@dataclass
class FolderContent:
    """What lies in one folder, not deeper, sorted by name."""

    folders: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def look_into(folder: Path, left: LeftOut) -> FolderContent:
    """Return what lies in a folder, and add what can never be data to `left`."""
    found = FolderContent()
    for entry, is_folder in _entries(str(folder), left):
        path = folder / entry.name
        if is_folder:
            found.folders.append(path)
        elif is_image_file(entry.path, entry.name):
            found.images.append(path)
        else:
            found.others.append(path)
    return found


def images_below(folder: str, left: LeftOut, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the images below a folder in the order of their paths, also those behind links.

    Args:
        above: the real paths of the folders that lead here: a link back to one has no end.
    """
    here = os.path.realpath(folder)
    if here in above:
        left.add("links back to a folder that they are in", folder)
        return
    for entry, is_folder in _entries(folder, left):
        if is_folder:
            yield from images_below(entry.path, left, (*above, here))
        elif is_image_file(entry.path, entry.name):
            yield entry.path
        else:
            left.add("files other than images", entry.path)


def is_run(folder: str | Path) -> bool:
    """Return whether ftkit wrote a folder as that of a run, a comparison or a sweep."""
    there = os.path.join(folder, "recipe.json")
    if os.path.isfile(there) and any(os.path.exists(os.path.join(folder, n)) for n in RUN):
        return True
    return any(os.path.isfile(os.path.join(folder, name)) for name in REPORTS)


def mentions(tables: Iterable[Path], images: Iterable[str]) -> bool:
    """Return whether the beginning of one of these tables names one of these images."""
    names = {BETWEEN_NAMES.split(file)[-1] for file in images}
    for table in tables:
        with table.open(encoding="utf-8", errors="replace") as text:
            if names & set(BETWEEN_NAMES.split(text.read(1 << 20))):
                return True
    return False


def _named(paths: list[str], root: Path | None) -> str:
    """Return the first few paths, below `root` without it, on one line."""
    few = paths[: MOST_NAMED + 1]
    short = [os.path.relpath(path, root) if root is not None else path for path in few]
    shown = [HIDDEN.sub(lambda found: ascii(found[0])[1:-1], path) for path in short]
    return first_few(shown, MOST_NAMED)


def _entries(folder: str, left: LeftOut) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """Yield the entries of a folder that may be data, by name, and whether each is a folder."""
    try:
        with os.scandir(folder) as there:
            entries = sorted(there, key=lambda entry: entry.name)
    except PermissionError:
        left.add("folders that may not be read", folder)
        return
    for entry in entries:
        is_folder, is_file = _kind(entry)
        what = "folders" if is_folder else "files"
        if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
            left.add(f"hidden or system {what}", entry.path)
        elif not _is_text(entry.name):
            left.add(f"{what} whose names are not UTF-8 and have to be changed", entry.path)
        elif is_folder and (is_run(entry.path) or _is_cache(entry.path)):
            left.add("folders that ftkit wrote", entry.path)
        elif is_folder or is_file:
            yield entry, is_folder
        elif entry.is_symlink():
            left.add("links that lead nowhere", entry.path)
        else:
            left.add("pipes, sockets or devices", entry.path)


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Return whether an entry, or the target of a link, is a folder, and whether it is a file."""
    try:
        return entry.is_dir(), entry.is_file()
    except OSError:  # a link to itself
        return False, False


def _singular(kind: str) -> str:
    return re.sub(r"\b(file|folder|image|link|table)s\b", r"\1", kind, count=1)


def _is_text(name: str) -> bool:
    """Return whether the bytes of a name are UTF-8. Other bytes stand in it as lone surrogates."""
    return name.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in name)


def _is_cache(folder: str) -> bool:
    try:
        return os.path.samefile(folder, cache_folder())
    except OSError:
        return False
