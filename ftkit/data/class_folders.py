"""Folders of images: a folder for each class, with folders of splits above them or without.

A folder called like a split is one where it holds class folders or a table; where it holds images
as its neighbours do, it is a class.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image

from ftkit.data.csv_tables import Uses
from ftkit.data.folders import FolderContent, LeftOut, images_below, look_into
from ftkit.data.table_files import SPLITS, Source, read_named, split_meanings
from ftkit.errors import DataError
from ftkit.recipe import Data

TablesOf = Callable[[FolderContent], list[Path]]
"""A function that returns those tables in a folder that are data."""
FEATURES = Features({"image": Image()})


def read_class_folders(
    folder: Path, inside: FolderContent, left: LeftOut, tables_of: TablesOf, data: Data, uses: Uses
) -> Source:
    """Return the rows of a folder without tables of its own.

    Args:
        inside: what lies in the folder.
        left: gets what is left out.
        uses: what columns of tables are read for.

    Raises:
        DataError: there are no images, or splits and classes cannot be told apart.
    """
    roles = {} if data.folders == "classes" else _splits_among(folder, inside, left, tables_of)
    for image in inside.images:
        left.add("images beside the class folders, in none of them", image)
    if not roles:
        above = f"if the folders of {folder.resolve().parent} are the classes, give that"
        rows = _classes_of(folder, inside, left, above)
        alike = [path.name for path in inside.folders if _is_split(path)]
        note = f"folders called like splits are classes here: {', '.join(alike)}"
        deeper = _folder_of_class_folders(inside)
        hint = f"did you mean {deeper}?" if deeper else ""
        notes, walked = (note,) if alike else (), frozenset({"train"})
        return Source({"train": rows}, folder.resolve(), notes, hint=hint, found=walked)
    found: dict[str, Dataset] = {}
    tables: dict[str, list[Path]] = {}
    hint = ""
    for role, root in roles.items():
        there = look_into(root, left)
        if tables_of(there):
            tables[role] = tables_of(there)
        elif role == "train" or there.folders:
            for image in there.images:
                left.add("images beside the class folders, in none of them", image)
            found[role] = _classes_of(root, there, left, "--set data.folders=classes takes all")
            if role == "train" and (deeper := _folder_of_class_folders(there)):
                hint = f"the class folders are in {deeper}; move them one folder up"
        elif there.images and role != "test":
            left.add("folders of a split whose images have no class", root)
        elif there.images:  # for `ftkit predict`
            names = [str(image) for image in there.images]
            found[role] = Dataset.from_dict({"image": names}, features=FEATURES)
        else:
            left.add("folders without an image", root)
    read = read_named(tables, data, uses) if tables else Source({})
    splits = {role: (found | read.splits)[role] for role in roles if role in found | read.splits}
    places = {role: roles[role].resolve() for role in tables}
    walked = frozenset(found)
    return Source(splits, folder.resolve(), read.notes, hint=hint, folders=places, found=walked)


def _splits_among(
    folder: Path, inside: FolderContent, left: LeftOut, tables_of: TablesOf
) -> dict[str, Path]:
    """Return the folder of each split; empty when the folders are classes.

    Raises:
        DataError: there are both, or a split is there twice, or there is none for training.
    """
    called = {path: path.name.lower() for path in inside.folders if _is_split(path)}
    means = split_meanings(called.values())
    roles = {path: means[word] for path, word in called.items()}
    if not roles:
        return {}
    looks = {path: look_into(path, LeftOut(folder)) for path in roles}
    whole = any(looks[path].folders or tables_of(looks[path]) for path in roles)
    others = [path for path in inside.folders if path not in roles and _has_image(path)]
    if others and not whole:
        return {}
    if others:
        raise DataError(
            f"data '{folder}': beside the splits there is '{others[0].name}'; expected only "
            f"folders named {', '.join(SPLITS)}, or say by --set data.folders=classes that each "
            f"folder is a class"
        )
    if "train" not in roles.values():
        raise DataError(
            f"data '{folder}': there is no training split beside "
            f"{', '.join(path.name for path in roles)}; expected a folder named train"
        )
    twice = [p.name for p, role in roles.items() if [*roles.values()].count(role) > 1]
    if twice:
        raise DataError(
            f"data '{folder}': {' and '.join(map(repr, twice))} name the same split; keep one"
        )
    for path in inside.folders:
        if path not in roles:
            left.add("folders without an image", path)
    return {role: path for path, role in roles.items()}


def _classes_of(root: Path, inside: FolderContent, left: LeftOut, otherwise: str) -> Dataset:
    """Return the images below class folders.

    Args:
        otherwise: what to do where the images of this folder lie beside other folders of images.
    """
    images: list[str] = []
    labels: list[int] = []
    numbers: dict[str, int] = {}
    place = str(root.resolve())
    for folder in inside.folders:
        there = list(images_below(f"{place}/{folder.name}", left))
        if there:
            name = unicodedata.normalize("NFC", folder.name)
            images += there
            labels += [numbers.setdefault(name, len(numbers))] * len(there)
        else:
            left.add("folders without an image", folder)
    for file in inside.others:
        left.add("files beside the class folders", file)
    if not numbers:
        raise DataError(f"data '{root}': {_why_none(root, inside, otherwise)}")
    features = Features({**FEATURES, "label": ClassLabel(names=list(numbers))})
    return Dataset.from_dict({"image": images, "label": labels}, features=features)


def _why_none(root: Path, inside: FolderContent, otherwise: str) -> str:
    """Return why there is no class in a folder, and what to do."""
    if inside.images:
        beside = look_into(root.resolve().parent, LeftOut(root)).folders
        several = sum(bool(look_into(path, LeftOut(path)).images) for path in beside) > 1
        what_else = f"; {otherwise}" if several else ""
        return (
            f"expected a folder for each class; {len(inside.images):,} images lie here, in no "
            f"class folder{what_else}"
        )
    if inside.folders:
        return "there are class folders, but no file in any of them is an image"
    return "expected a folder for each class, or parquet, CSV, JSONL or text files; it has neither"


def _folder_of_class_folders(inside: FolderContent) -> Path | None:
    """Return the folder that holds the class folders, if all images lie deeper than one folder."""
    found = None
    while not inside.images and len(below := [*filter(_has_image, inside.folders)]) == 1:
        found, inside = below[0], look_into(below[0], LeftOut(below[0]))
    return found if inside.folders and not inside.images else None


def _has_image(folder: Path) -> bool:
    return next(images_below(str(folder), LeftOut(folder)), None) is not None


def _is_split(folder: Path) -> bool:
    return folder.name.lower() in SPLITS
