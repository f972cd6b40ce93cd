"""Where rows come from: an embedded set, a local file or folder, or the Hub."""

from __future__ import annotations

import re
from glob import glob, has_magic
from pathlib import Path

import pyarrow as pa
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    Value,
    load_dataset,
    load_from_disk,
)
from PIL.Image import registered_extensions

from ftkit.data.embedded import GROUPS, embedded_data
from ftkit.data.files import READERS, SPLITS, Source, by_split, read_tables
from ftkit.data.parts import streamed
from ftkit.data.remote import fetch, is_remote
from ftkit.embedded import PREFIX
from ftkit.errors import DataError
from ftkit.hub import hub_errors, loading_errors, patiently
from ftkit.pull import is_hub_id, resolve, whole
from ftkit.recipe import Data

KEPT = "rows.parquet"
"""What each split's folder of `ftkit.data_of` holds."""
BETWEEN_NAMES = re.compile(r"""[\s,;"'/\\]+""")
"""What stands before and after a file's name in a table, or in the name itself."""


def read(data: Data) -> Source:
    """Return the rows that `data.path` names.

    Raises:
        DataError: the path or its content is not what ftkit can read.
        HubError: it is no local path, and the Hub does not give it.
    """
    if data.stream and not is_hub_id(data.path):
        raise DataError(
            f"data '{data.path}': only data sets of the Hub are streamed; leave data.stream out"
        )
    if data.path.startswith(PREFIX):
        name = data.path.removeprefix(PREFIX)
        return Source(embedded_data(name, data.copies == "together"), group=GROUPS.get(name))
    path = Path(data.path).expanduser()
    if is_remote(data.path):
        path = fetch(data.path, tuple(READERS))
    if path.is_dir():
        return _read_folder(path, data)
    if path.is_file():
        return read_tables({"train": [path]}, data)
    if has_magic(data.path):
        files = sorted(Path(name) for name in glob(str(path), recursive=True))
        if not files:
            raise DataError(f"data '{data.path}': no file has such a name")
        return read_tables(by_split(files), data)
    if not is_hub_id(data.path):
        raise DataError(f"data '{data.path}': there is no such file or folder")
    commit = resolve("dataset", data.path, data.revision)
    return Source(_stream_hub(data, commit) if data.stream else _splits(_read_hub(data, commit)))


def _stream_hub(data: Data, commit: str) -> dict[str, Dataset]:
    with (
        loading_errors("data set", data.path, DataError),
        hub_errors("data set", data.path, data.revision),
    ):
        return patiently(lambda: streamed(data, commit))


def _read_hub(data: Data, commit: str) -> DatasetDict | Dataset:

    def load(again: bool) -> DatasetDict | Dataset:
        mode = "reuse_cache_if_exists" if again else "reuse_dataset_if_exists"
        with hub_errors("data set", data.path, data.revision):
            return patiently(
                lambda: load_dataset(data.path, data.config, revision=commit, download_mode=mode)
            )

    with loading_errors("data set", data.path, DataError):
        return whole("dataset", data.path, commit, load)


def _splits(found: DatasetDict | Dataset) -> dict[str, Dataset]:
    return dict(found) if isinstance(found, DatasetDict) else {"train": found}


def _read_folder(folder: Path, data: Data) -> Source:
    """Read what `save_to_disk` wrote, tables, or class folders, in this order.

    Tables that name no image lose to class folders beside them.
    """
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        with loading_errors("data set", str(folder), DataError):
            return Source(_splits(load_from_disk(folder)))
    subfolders = sorted(p for p in folder.iterdir() if p.is_dir() and not _is_noise(p))
    notes: tuple[str, ...] = ()
    for place in (folder, folder / "data"):
        tables = _tables_in(place)
        if tables and place == folder and _are_strays(tables, subfolders):
            there = ", ".join(table.name for table in tables)
            notes = (f"class folders are read; {there} beside them names no image and is not used",)
        elif tables:
            return read_tables(by_split(tables), data)
    if not subfolders:
        raise DataError(
            f"data '{folder}': expected a folder for each class, or parquet, CSV, JSONL or text "
            f"files; it has neither"
        )
    if all((p / KEPT).is_file() for p in subfolders):  # what `data_of` wrote
        return read_tables({p.name: [p / KEPT] for p in subfolders}, data)
    roles = {p: SPLITS.get(p.name.lower()) for p in subfolders}
    if all(roles.values()) and "train" not in roles.values():
        raise DataError(
            f"data '{folder}': there is no training split beside "
            f"{', '.join(p.name for p in subfolders)}; expected a folder named train"
        )
    if "train" in roles.values():
        twice = [p.name for p, role in roles.items() if role and [*roles.values()].count(role) > 1]
        if twice:
            raise DataError(
                f"data '{folder}': {' and '.join(map(repr, twice))} name the same split; keep one"
            )
        strange = [p.name for p, role in roles.items() if role is None]
        if strange:
            raise DataError(
                f"data '{folder}': beside the splits there is '{strange[0]}'; expected only "
                f"folders named {', '.join(SPLITS)}"
            )
        roots = {role: p for p, role in roles.items() if role}
        return Source(_read_class_folders(roots), notes=notes)
    return Source(_read_class_folders({"train": folder}), notes=notes)


def _tables_in(folder: Path) -> list[Path]:
    """Return the tables in a folder, or its .txt files where there is nothing else in it."""
    there = sorted(p for p in folder.glob("*") if not _is_noise(p))
    tables = [p for p in there if p.suffix in READERS and READERS[p.suffix] != "text"]
    alone = all(p.is_file() for p in there)
    return tables or [p for p in there if alone and p.suffix in READERS]


def _are_strays(tables: list[Path], subfolders: list[Path]) -> bool:
    """True for text tables that name none of the images in two or more folders beside them."""
    if any(table.suffix == ".parquet" for table in tables):
        return False
    images = [
        [file for file in files_below(folder) if file.suffix.lower() in registered_extensions()]
        for folder in subfolders
    ]
    if sum(map(bool, images)) < 2:
        return False
    names = {BETWEEN_NAMES.split(file.name)[-1] for inside in images for file in inside}
    for table in tables:
        with table.open(encoding="utf-8", errors="replace") as text:
            if names & set(BETWEEN_NAMES.split(text.read(1 << 20))):  # it names them from the start
                return False
    return True


def _read_class_folders(roots: dict[str, Path]) -> dict[str, Dataset]:
    """Read images whose class is the name of their folder; deeper folders count for their class."""
    found = {}
    for split, root in roots.items():
        classes = sorted(p for p in root.iterdir() if p.is_dir() and not _is_noise(p))
        if not classes:
            raise DataError(f"data '{root}': expected a folder for each class, found none")
        files = [files_below(folder) for folder in classes]
        names = [folder.name for folder, inside in zip(classes, files, strict=True) if inside]
        if not names:
            raise DataError(f"data '{root}': there are class folders, but no file in any of them")
        images = [str(file.resolve()) for inside in files for file in inside]
        labels = [
            name for name, inside in zip(names, filter(None, files), strict=True) for _ in inside
        ]
        features = Features({"image": Image(), "label": ClassLabel(names=names)})
        found[split] = Dataset.from_dict({"image": images, "label": labels}, features=features)
    return found


def as_images(rows: Dataset, column: str, folder: Path | None) -> Dataset:
    """Return the rows with `column` as undecoded images, from file names or encoded bytes."""
    if isinstance(rows.features[column], Value) and rows.features[column].dtype in TEXT:
        folder = folder or Path()
        paths = [None if name is None else str(folder / name) for name in rows[column]]
        rows = rows.remove_columns(column).add_column(column, paths)
    try:
        return rows.cast_column(column, Image(decode=False))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"column '{column}' holds {rows.features[column]}, not images or names of image files"
        ) from error


TEXT = {"string", "large_string"}


def files_below(folder: Path) -> list[Path]:
    """Return every file below `folder`, without what lies in hidden folders."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(_is_noise(Path(part)) for part in parts):
            found.append(path)
    return found


def _is_noise(path: Path) -> bool:
    """True for what file managers and version control leave behind."""
    return path.name.startswith((".", "__")) or path.name.lower() in {"thumbs.db", "desktop.ini"}
