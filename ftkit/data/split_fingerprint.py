"""What tells whether rows are those that a run began with: a name of the content of each split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from datasets import Dataset

from ftkit.data.splits import ROLES, Splits

HASHED_BYTES = 1 << 18
"""So many bytes of an image file are hashed, beside its size. Hashing whole files would read 50,000
photos of 2 MB once more."""
AT_ONCE = 1000
Fingerprint = Mapping[str, Mapping[str, Any]]


def fingerprint(splits: Splits) -> dict[str, dict[str, Any]]:
    """Return for each split its number of rows, and checksums of its inputs and of its labels.

    They follow from the content of the rows and their order, and not from where files lie.
    """
    names = splits.label_names
    return {role: _of_split(getattr(splits, role), names) for role in ROLES}


def what_changed(before: Fingerprint, now: Fingerprint) -> str:
    """Return which splits have other rows than before, and how they differ; "" when none has."""
    found = []
    for role, split in now.items():
        was = before.get(role, split)
        if was.get("rows") != split["rows"]:
            found.append(f"{role} has {split['rows']:,} rows, before {was.get('rows'):,}")
            continue
        other = [what for what in ("inputs", "labels") if was.get(what) != split[what]]
        if other:
            found.append(f"{role} has other {' and '.join(other)}")
    return ", ".join(found)


def _of_split(rows: Dataset, names: tuple[str, ...]) -> dict[str, Any]:
    inputs, labels = hashlib.sha256(), hashlib.sha256(repr(names).encode())
    others = [name for name in rows.column_names if name not in ("label", "index")]
    for start in range(0, len(rows), AT_ONCE):
        batch = rows[start : start + AT_ONCE]
        labels.update(repr(batch["label"]).encode())
        for name in others:
            for content in _contents(batch[name]):
                inputs.update(content)
    return {"rows": len(rows), "inputs": inputs.hexdigest()[:32], "labels": labels.hexdigest()[:32]}


def _contents(values: list[Any]) -> Iterator[bytes]:
    """Yield what is hashed of some values of a column; of an image file, its beginning."""
    for value in values:
        if isinstance(value, dict) and set(value) == {"bytes", "path"}:
            yield _of_image(value)
        else:
            yield repr(value).encode("utf-8", "surrogatepass")


def _of_image(value: Mapping[str, Any]) -> bytes:
    if value["bytes"] is not None:
        return hashlib.sha256(value["bytes"]).digest()
    try:
        with open(value["path"], "rb") as file:
            beginning = file.read(HASHED_BYTES)
            return hashlib.sha256(beginning + b"%d" % os.fstat(file.fileno()).st_size).digest()
    except (OSError, TypeError, ValueError):  # no file, as the screen says
        return b"none"
