"""Which image files the words after `ftkit predict RUN` name: files, folders, patterns of both."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image

from ftkit.data.findings import rows_of
from ftkit.data.folders import LeftOut, images_below, is_run, look_into, mentions
from ftkit.data.image_formats import has_image_name, is_image_file
from ftkit.data.named_data import named_paths
from ftkit.data.table_files import READERS, SPLITS, Source
from ftkit.errors import DataError
from ftkit.errors.addresses import is_address
from ftkit.errors.names import first_few
from ftkit.hub.names import PREFIX


def named_images(inputs: Sequence[str], label_names: Sequence[str]) -> Source | None:
    """Return the images that these words name; None when they name a data set or nothing.

    What is no image among them is left out with a note. An image beside class folders is a row
    without a label. A folder is a data set where it says the labels of its images: by a table, or
    by folders that are called as splits or known classes.

    Raises:
        DataError: an image that is named is not there.
    """
    if any(text.startswith(PREFIX) or is_address(text) for text in inputs):
        return None
    paths = [path for text in inputs for path in named_paths(text)]
    if len(paths) == 1 and os.path.isdir(paths[0]) and _says_labels(paths[0], label_names):
        return None
    left, found = LeftOut(None), list[str]()
    for path in paths:
        if os.path.isdir(path) and is_run(path):
            raise DataError(f"'{path}': ftkit wrote this folder; give a folder of images")
        if os.path.isdir(path):
            found += images_below(str(path), left)
        elif os.path.isfile(path) and is_image_file(str(path), path.name):
            found.append(str(path))
        elif os.path.exists(path):
            left.add("files other than images", path)
        elif has_image_name(path.name):
            raise DataError(f"'{path}': there is no such file")
        else:
            return None
    if not found:
        return None
    if len(paths) == 1 and os.path.isdir(paths[0]) and _class_folders(paths[0], label_names):
        return _labelled_by_folders(found, paths[0], left.notes())
    rows = Dataset.from_dict({"image": found}, features=Features({"image": Image(decode=False)}))
    return Source({"given": rows}, notes=left.notes())


def _labelled_by_folders(images: list[str], folder: Path, notes: tuple[str, ...]) -> Source:
    """Return these images of a folder with the class folders that they are in as labels."""
    inside = [Path(image).relative_to(folder).parts[:-1] for image in images]
    classes = [_composed(parts[0]) if parts else None for parts in inside]
    names = sorted({name for name in classes if name is not None})
    loose = [Path(image).name for image, name in zip(images, classes, strict=True) if name is None]
    has = "has" if len(loose) == 1 else "have"
    said = f"{rows_of(len(loose))} beside the class folders {has}"
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=names)})
    labels = [-1 if name is None else names.index(name) for name in classes]
    rows = Dataset.from_dict({"image": images, "label": labels}, features=features)
    return Source({"given": rows}, notes=(*notes, f"{said} no label ({first_few(loose)})"))


def _says_labels(folder: Path, label_names: Sequence[str]) -> bool:
    """Return whether a folder is a data set rather than images in any folders."""
    inside = look_into(folder, LeftOut(folder))
    tables = [file for file in inside.others if file.suffix.lower() in READERS]
    if inside.images:  # they are answered too, and have no label where no table gives one
        return mentions(tables, map(str, inside.images))
    folders = {_composed(path.name).lower() for path in inside.folders}
    known = _class_folders(folder, label_names)
    return bool(tables or known or folders & {*SPLITS, "data"})


def _class_folders(folder: Path, label_names: Sequence[str]) -> set[str]:
    """Return the classes that the model knows, and that folders of this folder are called like."""
    there = look_into(folder, LeftOut(folder)).folders
    return {_composed(path.name) for path in there} & set(map(_composed, label_names))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
