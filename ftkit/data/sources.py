"""Where rows come from: an embedded set, a local file or folder, or the Hub."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, Image, Value, load_dataset, load_from_disk

from ftkit.data.class_folders import read_class_folders
from ftkit.data.column_kinds import Use
from ftkit.data.csv_tables import Uses
from ftkit.data.embedded import GROUPS, embedded_data
from ftkit.data.folders import FolderContent, LeftOut, images_below, is_run, look_into, mentions
from ftkit.data.image_formats import is_read
from ftkit.data.paths_outside import hub_caches
from ftkit.data.remote_files import fetch
from ftkit.data.split_parts import stream_splits
from ftkit.data.table_files import READERS, Source, is_table, read_named, read_tables
from ftkit.data.table_formats import ARCHIVES, unzipped
from ftkit.errors import DataError
from ftkit.errors.addresses import is_address, shown
from ftkit.hub.download import download_whole, resolve
from ftkit.hub.errors import hub_errors, loading_errors, patiently
from ftkit.hub.names import PREFIX, is_hub_id
from ftkit.recipe import Data

ROWS_FILE = "rows.parquet"
"""The file that `ftkit.data_of` writes into the folder of each split."""
TEXT = {"string", "large_string"}
PLAIN = re.compile(r"[\w./ -]+", re.ASCII)
"""Names of files that mean the same on every system."""
IMAGES = "expected the folder above the class folders, or a table that names images"
"""The advice to a user who names images instead of a folder or a table."""


def read_source(data: Data, uses: Uses | None = None) -> Source:
    """Return the rows that `data.path` names, the columns `data.as_text` as texts.

    Args:
        uses: what columns are read for, given those of the training split; where a file does not
            say their types, those of texts and classes stay as they are written.

    Raises:
        DataError: the path or its content is not what ftkit can read.
        HubError: it is no local path, and the Hub does not give it.
    """

    def wanted(features: Features) -> Mapping[str, Use]:
        names = [*data.as_text, *([data.split_column] if data.split_column else [])]
        asked: dict[str, Use] = dict.fromkeys(names, "text")
        return {**(uses(features) if uses else {}), **asked}

    found = _read(data, wanted)
    for name in data.as_text:
        for split, rows in found.splits.items():
            kind = rows.features.get(name)
            if isinstance(kind, Value) and kind.dtype not in TEXT:
                found.splits[split] = rows.cast_column(name, Value("string"))
    return found


def _read(data: Data, uses: Uses) -> Source:
    if data.stream and not is_hub_id(data.path):
        raise DataError(
            f"data '{data.path}': only data sets of the Hub are streamed; leave data.stream out"
        )
    if data.path.startswith(PREFIX):
        name = data.path.removeprefix(PREFIX)
        return Source(embedded_data(name, data.copies == "together"), group=GROUPS.get(name))
    path = local(data.path)
    if is_address(data.path):
        path = fetch(data.path, tuple(READERS))
    if os.path.isfile(path) and path.suffix.lower() in ARCHIVES:
        path = _only_folder(unzipped(path))
    if os.path.isdir(path):
        return replace(_read_folder(path, data, uses), roots=(path,))
    if os.path.isfile(path) and is_read(path.name):
        raise DataError(f"data '{data.path}': it is an image; {IMAGES}")
    if os.path.isfile(path):
        return _below_its_folder(read_tables([path], data, uses))
    if os.path.lexists(path):
        kind = "a link that leads nowhere" if path.is_symlink() else "a pipe, a socket or a device"
        raise DataError(f"data '{data.path}': it is {kind}; expected a file or a folder")
    if has_magic(data.path):
        files = sorted(Path(name) for name in glob(str(path), recursive=True))
        if not files:
            raise DataError(f"data '{data.path}': no file has such a name")
        if all(is_read(file.name) for file in files):
            raise DataError(f"data '{data.path}': these are images; {IMAGES}")
        return _below_its_folder(read_tables(files, data, uses))
    if not is_hub_id(data.path):
        raise DataError(f"data '{data.path}': there is no such file or folder")
    commit = resolve("dataset", data.path, data.revision)
    rows = _stream_hub(data, commit) if data.stream else _splits(_read_hub(data, commit))
    return Source(rows, roots=hub_caches())


def _below_its_folder(source: Source) -> Source:
    return replace(source, roots=(source.folder,) if source.folder else ())


def local(name: str) -> Path:
    """Return the path of a name: ~ is the home folder, and accents may be composed or not."""
    path = os.path.expanduser(name)
    forms = [path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))]
    return Path(next(filter(os.path.lexists, forms), path))


def _stream_hub(data: Data, commit: str) -> dict[str, Dataset]:
    with (
        loading_errors("data set", data.path, DataError),
        hub_errors("data set", data.path, data.revision),
    ):
        return patiently(lambda: stream_splits(data, commit))


def _read_hub(data: Data, commit: str) -> DatasetDict | Dataset:

    def load(again: bool) -> DatasetDict | Dataset:
        mode = "reuse_cache_if_exists" if again else "reuse_dataset_if_exists"
        with hub_errors("data set", data.path, data.revision):
            return patiently(
                lambda: load_dataset(data.path, data.config, revision=commit, download_mode=mode)
            )

    with loading_errors("data set", data.path, DataError):
        return download_whole("dataset", data.path, commit, load)


def _splits(found: DatasetDict | Dataset) -> dict[str, Dataset]:
    return dict(found) if isinstance(found, DatasetDict) else {"train": found}


def _read_folder(folder: Path, data: Data, uses: Uses) -> Source:
    """Read what `save_to_disk` wrote, else tables, else class folders.

    Tables that name no image lose to class folders beside them.
    """
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        with loading_errors("data set", str(folder), DataError):
            return Source(_splits(load_from_disk(folder)))
    if is_run(folder):
        raise DataError(
            f"data '{folder}': ftkit wrote this folder; give a folder with your own rows"
        )
    left, notes = LeftOut(folder), list[str]()
    inside = look_into(folder, left)

    def tables_of(there: FolderContent) -> list[Path]:
        tables = _tables_in(there)
        if tables and _are_strays(tables, there.folders):
            names = ", ".join(table.name for table in tables)
            notes.append(
                f"class folders are read; {names} beside them names no image and is not used"
            )
            there.others = [file for file in there.others if file not in tables]
            return []
        return tables

    if tables := tables_of(inside):
        beside = LeftOut(folder)
        for file in inside.others:
            if file not in tables:
                beside.add("files that are no tables", file)
        source = read_tables(tables, data, uses)
        return replace(source, notes=(*source.notes, *beside.notes()))
    if (folder / "data").is_dir() and (tables := _tables_in(look_into(folder / "data", left))):
        return read_tables(tables, data, uses)
    if inside.folders and all((p / ROWS_FILE).is_file() for p in inside.folders):  # by `data_of`
        return read_named({p.name: [p / ROWS_FILE] for p in inside.folders}, data, uses)
    source = read_class_folders(folder, inside, left, tables_of, data, uses)
    return replace(source, notes=(*source.notes, *notes, *left.notes()))


def _only_folder(folder: Path) -> Path:
    """Return the one folder that holds all else, as in many archives; else the folder itself."""
    inside = look_into(folder, LeftOut(folder))
    alone = len(inside.folders) == 1 and not inside.images and not inside.others
    return _only_folder(inside.folders[0]) if alone else folder


def _tables_in(inside: FolderContent) -> list[Path]:
    """Return the tables in a folder, or its .txt files when nothing else is in it."""
    readable = [path for path in inside.others if is_table(path)]
    tables = [path for path in readable if READERS.get(path.suffix.lower()) != "text"]
    return tables or (readable if not inside.folders and not inside.images else [])


def _are_strays(tables: list[Path], subfolders: list[Path]) -> bool:
    """Return whether text tables name none of the images in two or more folders beside them."""
    if not all(READERS.get(table.suffix.lower()) in ("csv", "json") for table in tables):
        return False
    images = [list(images_below(str(folder), LeftOut(folder))) for folder in subfolders]
    if sum(map(bool, images)) < 2:
        return False
    return not mentions(tables, (file for inside in images for file in inside))


def as_images(
    rows: Dataset, column: str, folder: Path | None, pattern: str | None = None
) -> Dataset:
    """Return the rows with `column` as undecoded images, from file names or encoded bytes.

    Args:
        folder: where relative names start.
        pattern: `data.images`: another folder, or with a * for the name.
    """
    kind = getattr(rows.features[column], "dtype", "")
    if kind in TEXT or (isinstance(rows.features[column], Value) and kind.startswith("int")):
        _require_files(rows[column][:], column)
        pattern = pattern or "*"
        pattern = pattern if "*" in pattern else f"{pattern}/*"
        paths = [
            named_file(folder or Path(), pattern.replace("*", str(name)))
            if name not in (None, "")
            else None
            for name in rows[column]
        ]
        alone = len(rows.column_names) == 1  # without it there would be no rows
        named = Dataset.from_dict({column: paths}, Features({column: Value("string")}))
        rows = named if alone else rows.remove_columns(column).add_column(column, paths)
    try:
        return rows.cast_column(column, Image(decode=False))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"column '{column}' holds {rows.features[column]}, not images or names of image files"
        ) from error


def _require_files(names: list[Any], column: str) -> None:
    """Refuse addresses: a table may be a stranger's, so nothing that it names is fetched."""
    for row, name in enumerate(names):
        if isinstance(name, str) and is_address(name):
            raise DataError(
                f"column '{column}', row {row}: {shown(name)} is an address, and images are read "
                f"from files; download them first and name the files there"
            )


def named_file(folder: Path, name: str) -> str:
    """Return the path of a file that a table names.

    A name that is there is taken as it is. Else ~ is the home folder, a backslash parts folders,
    and an accent may be composed or not.
    """
    path = os.path.join(folder, name)
    if PLAIN.fullmatch(name) or os.path.exists(path):
        return path
    name = os.path.expanduser(name.replace("\\", "/"))
    forms = [os.path.join(folder, unicodedata.normalize(form, name)) for form in ("NFC", "NFD")]
    return next(filter(os.path.exists, forms), path)
