"""Parts of a source: of a split, as in train[:80%], and of data that is larger than the disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from datasets import (
    Dataset,
    Image,
    IterableDataset,
    ReadInstruction,
    concatenate_datasets,
    get_dataset_split_names,
    load_dataset,
)

from ftkit.data.splits import ROLES
from ftkit.errors import DataError
from ftkit.recipe import Data

log = logging.getLogger(__name__)

MOST_HELD = 10_000
"""So many rows of a stream are held at once; the next row is drawn from them."""


def with_parts(splits: Mapping[str, Dataset], data: Data) -> dict[str, Dataset]:
    """Return the splits, and beside them each part that `data` names, as in train[:80%]+extra.

    The notation is that of `datasets`: [FROM:TO] in rows or percent, joined by +.

    Raises:
        DataError: a part is written in another way, or of a split that is not there.
    """
    found = dict(splits)
    for role in ROLES:
        name = getattr(data, role)
        if "[" in name or "+" in name:
            found[name] = _part(splits, name, data.path)
    return found


def _part(splits: Mapping[str, Dataset], name: str, path: str) -> Dataset:
    sizes = {split: len(rows) for split, rows in splits.items()}
    try:
        places = ReadInstruction.from_spec(name).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        raise DataError(
            f"data '{path}': '{name}' is no part of its splits {', '.join(sizes)}; expected one "
            f"such as train[:80%] or train[1000:2000]"
        ) from error
    parts = [splits[one.splitname].select(range(one.from_, one.to)) for one in places]
    return concatenate_datasets(parts) if len(parts) > 1 else parts[0]


def stream_splits(data: Data, commit: str) -> dict[str, Dataset]:
    """Return some rows of each split of a Hub data set, without a copy of the others on the disk.

    As many as `data.train_rows`, `validation_rows` and `test_rows` ask for, and what is cut from
    train where the others are missing; drawn by `datasets`' shuffle of streams: files in a random
    order, and of the rows that come one of `MOST_HELD` at a time.
    """
    names = get_dataset_split_names(data.path, data.config, revision=commit)
    wanted: dict[str, int | None] = {data.train: data.train_rows}
    for role, fraction in (("test", data.test_fraction), ("validation", data.validation_fraction)):
        if getattr(data, role) in names:
            wanted[getattr(data, role)] = getattr(data, f"{role}_rows")
        elif data.train_rows:
            wanted[data.train] = round((wanted[data.train] or 0) + fraction * data.train_rows) + 1
    found = {}
    for name, most in wanted.items():
        if name not in names:
            raise DataError(
                f"data '{data.path}' has no split '{name}'; splits are {', '.join(names)}. "
                f"Streaming takes whole splits; use --set data.train=SPLIT"
            )
        rows = load_dataset(data.path, data.config, revision=commit, split=name, streaming=True)
        found[name] = _take_rows(rows, most)
        log.info("data: %d rows of split '%s' taken from its stream", len(found[name]), name)
    return found


def _take_rows(rows: IterableDataset, most: int | None) -> Dataset:
    """Return so many rows, or all when None, as they are stored: images are not decoded."""
    for column, feature in (rows.features or {}).items():
        if isinstance(feature, Image):
            rows = rows.cast_column(column, Image(decode=False))
    features = rows.features
    if most is not None:
        rows = rows.shuffle(seed=0, buffer_size=min(MOST_HELD, 10 * most)).take(most)
    return Dataset.from_list(list(rows), features)
