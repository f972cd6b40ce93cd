"""File names in tables that lead out of the data: a table may be the work of others.

It may name any file that its reader can open. Only a name that stays below the folder of the data,
links followed, is taken without asking.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import datasets
import pyarrow.compute as pc
from datasets import Dataset
from huggingface_hub import constants

from ftkit.errors import DataError


def require_inside(rows: Dataset, roots: Iterable[Path], name: str) -> None:
    """Refuse images that are files outside of these folders.

    Args:
        rows: with undecoded images in `image`; of others nothing is looked at.
        roots: none where the files were found instead of named.
        name: of the data, for the message.

    Raises:
        DataError: there is one.
    """
    within = [os.path.realpath(root) for root in roots]
    if not within or not isinstance(rows.features.get("image"), datasets.Image):
        return
    column = rows.select_columns(["image"]).with_format("arrow")[:]["image"]
    alone = pc.is_null(pc.struct_field(column, "bytes"))
    paths = pc.filter(pc.struct_field(column, "path"), alone).drop_null().to_pylist()
    real = _real_paths(paths)
    outside = [
        path
        for path, place in zip(paths, real, strict=True)
        if not any(
            place == root or place.startswith(root.rstrip(os.sep) + os.sep) for root in within
        )
    ]
    if outside:
        raise DataError(
            f"data '{name}': {len(outside):,} of {len(rows):,} rows name image files outside of "
            f"{within[0]}, such as {outside[0]}; if that is right, add --set data.outside=true"
        )


def hub_caches() -> tuple[Path, ...]:
    """Return the folders where files of the Hub's data sets lie."""
    return (Path(constants.HF_HUB_CACHE), Path(datasets.config.HF_DATASETS_CACHE))


def _real_paths(paths: list[str]) -> list[str]:
    """Return the targets of paths. Each folder is looked at once."""
    folders = {folder: os.path.realpath(folder) for folder in {os.path.dirname(p) for p in paths}}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        real = os.path.join(folders[folder], name)
        plain = name not in ("", ".", "..") and not os.path.islink(real)
        found.append(real if plain else os.path.realpath(real))
    return found
