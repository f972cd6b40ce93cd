"""Which image files the words after `ftkit predict RUN` name: files, folders, patterns of both."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

from datasets import Dataset, Features, Image

from ftkit.data.folders import LeftOut, images_below, is_run, look_into, mentions
from ftkit.data.image_formats import has_image_name, is_image_file
from ftkit.data.table_files import READERS, SPLITS, Source
from ftkit.errors import DataError
from ftkit.errors.addresses import is_address
from ftkit.hub.names import PREFIX


def named_images(inputs: Sequence[str], label_names: Sequence[str]) -> Source | None:
    """Return the images that these words name; None when they name a data set or nothing.

    What is no image among them is left out with a note. A folder is a data set where it says the
    labels of its images: by a table, or by folders that are called as splits or known classes.

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
    rows = Dataset.from_dict({"image": found}, features=Features({"image": Image(decode=False)}))
    return Source({"given": rows}, notes=left.notes())


def named_paths(text: str) -> Iterator[Path]:
    """Yield the paths that a word names. It is a pattern only when no file has it as its name."""
    path = os.path.expanduser(text)
    matches = [] if os.path.exists(path) or not has_magic(path) else glob(path, recursive=True)
    yield from map(Path, sorted(matches) or (path,))


def _says_labels(folder: Path, label_names: Sequence[str]) -> bool:
    """Return whether a folder is a data set rather than images in any folders."""
    inside = look_into(folder, LeftOut(folder))
    tables = [file for file in inside.others if file.suffix.lower() in READERS]
    if inside.images:
        return mentions(tables, map(str, inside.images))
    known = {unicodedata.normalize("NFC", name) for name in label_names}
    folders = {unicodedata.normalize("NFC", path.name) for path in inside.folders}
    return bool(tables or folders & known or {name.lower() for name in folders} & {*SPLITS, "data"})
