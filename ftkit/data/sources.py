"""Where rows come from: an embedded set, a local file or folder, or the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)
from PIL.Image import registered_extensions

from ftkit.data.embedded import embedded_data
from ftkit.data.parts import streamed
from ftkit.data.remote import fetch, is_remote
from ftkit.data.tables import find_bad_json, merged, read_csv_form, read_json_form, read_text_form
from ftkit.embedded import PREFIX
from ftkit.errors import DataError
from ftkit.hub import hub_errors, loading_errors, patiently, said
from ftkit.pull import is_hub_id, resolve, whole
from ftkit.recipe import Data

READERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".txt": "text",
}
SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
KEPT = "rows.parquet"
"""What each split's folder of `ftkit.data_of` holds."""
BETWEEN_NAMES = re.compile(r"""[\s,;"'/\\]+""")
"""What stands before and after a file's name in a table, or in the name itself."""


@dataclass(frozen=True)
class Source:
    """Every split of a source as it is there, and the folder its relative file names start from."""

    splits: dict[str, Dataset]
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    """What was decided about it, one sentence each."""


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
        return Source(embedded_data(data.path.removeprefix(PREFIX)))
    path = Path(data.path).expanduser()
    if is_remote(data.path):
        path = fetch(data.path, tuple(READERS))
    if path.is_dir():
        return _read_folder(path, data)
    if path.is_file():
        return _read_tables({"train": [path]}, data)
    if has_magic(data.path):
        files = sorted(Path(name) for name in glob(str(path), recursive=True))
        if not files:
            raise DataError(f"data '{data.path}': no file has such a name")
        return _read_tables(_by_split(files), data)
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
            return _read_tables(_by_split(tables), data)
    if not subfolders:
        raise DataError(
            f"data '{folder}': expected a folder for each class, or parquet, CSV, JSONL or text "
            f"files; it has neither"
        )
    if all((p / KEPT).is_file() for p in subfolders):  # what `data_of` wrote
        return _read_tables({p.name: [p / KEPT] for p in subfolders}, data)
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
        [file for file in _files_below(folder) if file.suffix.lower() in registered_extensions()]
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
        files = [_files_below(folder) for folder in classes]
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


def _by_split(tables: list[Path]) -> dict[str, list[Path]]:
    """Group files by the split that begins their name, as in train-00000-of-00002.parquet.

    Raises:
        DataError: two words for one split are there, as val and validation.
    """
    found: dict[str, list[Path]] = {}
    named: dict[str, tuple[str, Path]] = {}
    for table in tables:
        word = re.split(r"[-_.]", table.stem.lower())[0]
        split = SPLITS.get(word, "train")
        if word in SPLITS:
            other, first = named.setdefault(split, (word, table))
            if other != word:
                raise DataError(
                    f"data '{table.parent}': {first.name} and {table.name} name the same split; "
                    f"keep one"
                )
        found.setdefault(split, []).append(table)
    return found


def _read_tables(files: dict[str, list[Path]], data: Data) -> Source:
    found: dict[str, Dataset] = {}
    notes: list[str] = []
    for split, tables in files.items():
        kinds = {table.suffix for table in tables}
        if len(kinds) > 1 or not kinds <= READERS.keys():
            raise DataError(
                f"data '{tables[0]}': expected files of one kind out of {', '.join(READERS)}; "
                f"found {', '.join(sorted(kinds))}"
            )
        reader = READERS[kinds.pop()]
        if reader == "csv":
            found[split], said_of_it = _read_csv(tables, data)
            notes += said_of_it
        elif reader == "json":
            found[split] = _read_json(tables, data)
        elif reader == "text":
            found[split], said_of_it = _read_lines(tables, data)
            notes += said_of_it
        else:
            found[split] = _load(reader, tables)
    return Source(found, tables[0].parent.resolve(), tuple(notes))


def _read_csv(tables: list[Path], data: Data) -> tuple[Dataset, list[str]]:
    """Return the rows of CSV files with equal columns, and what was found out about them."""
    written = [read_csv_form(table, data.encoding, data.separator) for table in tables]
    features = merged([(str(t), form.features) for t, form in zip(tables, written, strict=True)])
    parts, notes = [], []
    for table, form in zip(tables, written, strict=True):
        parts.append(_load("csv", [table], **replace(form, features=features).options()))
        if data.separator is None and form.separator != {".tsv": "\t"}.get(table.suffix, ","):
            notes.append(f"{table.name} is separated by {form.separator!r}")
        if data.encoding is None and form.encoding.startswith("utf-16"):
            notes.append(f"{table.name} is written in {form.encoding.upper()}")
        if not form.quoted:
            notes.append(f"{table.name}: quotes are part of the text")
    return concatenate_datasets(parts) if len(parts) > 1 else parts[0], notes


def _read_json(tables: list[Path], data: Data) -> Dataset:
    forms = [read_json_form(table, data.encoding) for table in tables]
    if any(form != forms[0] for form in forms):
        raise DataError(f"data '{tables[0]}': files of one split must be written in one encoding")
    try:
        return _load("json", tables, **forms[0])
    except DataError as error:
        for table in tables:
            lines = table.suffix == ".jsonl" or table.read_bytes()[:1] != b"["
            cause = find_bad_json(table, data.encoding) if lines else None
            if cause:
                raise DataError(f"data '{table}', {cause}") from error
        raise


def _read_lines(tables: list[Path], data: Data) -> tuple[Dataset, list[str]]:
    """Return a row for each line with something on it, as `text`, and what was left out."""
    encodings = [read_text_form(table, data.encoding) for table in tables]
    for table in tables:
        if not table.stat().st_size:
            raise DataError(f"data '{table}': there are no rows in it")
    parts = [_load("text", [t], encoding=e) for t, e in zip(tables, encodings, strict=True)]
    lines = concatenate_datasets(parts)
    kept = [number for number, line in enumerate(lines["text"][:]) if line.strip()]
    if not kept:
        raise DataError(f"data '{tables[0]}': there are no rows in it")
    empty = len(lines) - len(kept)
    notes = [f"{tables[0].name}: {empty:,} empty lines are left out"] if empty else []
    return lines.select(kept) if empty else lines, notes


def _load(reader: str, tables: list[Path], **options: Any) -> Dataset:
    names = [str(table) for table in tables]
    try:
        rows = load_dataset(reader, data_files=names, split="train", **options)
        if reader == "parquet":
            rows.data.validate(full=True)  # texts that are no UTF-8 are seen only when looked at
        return rows
    except Exception as error:  # libraries raise anything over a file that is not what it says
        empty = isinstance(error.__cause__ or error, StopIteration)
        cause = "there are no rows in it" if empty else said(error)
        raise DataError(f"data '{names[0]}': {cause}") from error


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


def _files_below(folder: Path) -> list[Path]:
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
