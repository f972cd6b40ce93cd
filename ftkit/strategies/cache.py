"""Cached features on disk: files that are written shard by shard, prove themselves, and make room.

    $FTKIT_CACHE/features/<key>/
        about.json            what the features were made from; its time is that of the last use
        features.safetensors  all rows, one tensor; an ordinary file that anyone can load or map
        shards/00000, ...     the SHA-256 of each shard's bytes, written once the shard is there

A shard without its sum, or with another one, does not count: it is computed again, and it alone. So
a process may be killed at any moment, and a damaged file is mended. Knows bytes only, no torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ftkit.errors import RunError
from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import is_mine, private_folder
from ftkit.recipe.explain import shown

log = logging.getLogger(__name__)
SHARD_ROWS = 512
"""Rows that are computed, written and summed at once: what a kill costs at most."""
LIMIT = "20GB"
"""Room for all cached features, where $FTKIT_CACHE_SIZE says nothing else."""


@dataclass(frozen=True)
class Store:
    """The cached features of one key: N rows of the same shape and type."""

    folder: Path
    rows: int
    shape: tuple[int, ...]
    """Of one row."""
    dtype: str
    """As safetensors names it: F32, F16, BF16."""

    @property
    def file(self) -> Path:
        """The safetensors file, whole where no shard is missing."""
        return self.folder / "features.safetensors"

    @property
    def shards(self) -> int:
        """Number of shards; the last may be shorter."""
        return -(-self.rows // SHARD_ROWS)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        size = {"F32": 4, "F16": 2, "BF16": 2}[self.dtype]
        for length in self.shape:
            size *= length
        return size

    def header(self) -> bytes:
        """Return how a safetensors file of one tensor begins: length, then JSON, 8-byte aligned."""
        tensor = {
            "dtype": self.dtype,
            "shape": [self.rows, *self.shape],
            "data_offsets": [0, self.rows * self.row_bytes],
        }
        text = json.dumps({"features": tensor}).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def open(self, about: Mapping[str, Any]) -> None:
        """Make the folder and the file at its full size, or start afresh where it begins otherwise.

        Raises:
            RunError: it cannot be written.
        """
        header = self.header()
        with _disk_errors_in_one_line(self.folder):
            (private_folder(self.folder) / "shards").mkdir(exist_ok=True)
            size = len(header) + self.rows * self.row_bytes
            if self.file.exists():
                with self.file.open("rb") as file:
                    whole = file.read(len(header)) == header
                if not whole or self.file.stat().st_size != size:
                    log.warning("features: %s is damaged and made again", self.file)
                    self.file.unlink()
            if not self.file.exists():
                self._require_room(size)
                fresh = _name_of_this_process(self.file)
                with fresh.open("wb") as file:
                    file.write(header)
                    file.truncate(size)
                fresh.replace(self.file)
            _write(self.folder / "about.json", json.dumps(dict(about), indent=2))

    def _require_room(self, size: int) -> None:
        """Refuse a file that the disk cannot hold; it is made at its full size and filled later."""
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise RunError(
                f"features of {self.rows:,} rows take {size / 1e9:,.1f} GB, and "
                f"{free / 1e9:,.1f} GB are free in {self.folder.parent}; use fewer rows or "
                f"strategy.views, --set strategy.cache=false, or set FTKIT_CACHE to a folder on "
                f"another disk"
            )

    def write(self, shard: int, values: bytes) -> None:
        """Put the bytes of one shard in their place, and then the sum that makes them count.

        Raises:
            RunError: it cannot be written.
        """
        first, count = self._byte_range(shard)
        assert len(values) == count, (len(values), count)
        with _disk_errors_in_one_line(self.folder):
            with self.file.open("r+b") as file:
                file.seek(first)
                file.write(values)
            _write(self._sum_file(shard), hashlib.sha256(values).hexdigest())

    def missing(self) -> list[int]:
        """Return the numbers of shards that are not there or not as they were written.

        Reads the file once, a piece at a time.
        """
        absent = []
        for shard in range(self.shards):
            try:
                expected = self._sum_file(shard).read_text(encoding="utf-8")
                with self.file.open("rb") as file:
                    first, count = self._byte_range(shard)
                    file.seek(first)
                    found = _sum_of_next(file, count)
            except OSError:
                absent.append(shard)
                continue
            if found != expected:
                log.warning("features: shard %d of %s is damaged and made again", shard, self.file)
                absent.append(shard)
        return absent

    def rows_of(self, shard: int) -> range:
        """Return the rows of a shard."""
        return range(shard * SHARD_ROWS, min(self.rows, (shard + 1) * SHARD_ROWS))

    def _byte_range(self, shard: int) -> tuple[int, int]:
        rows = self.rows_of(shard)
        return len(self.header()) + rows.start * self.row_bytes, len(rows) * self.row_bytes

    def _sum_file(self, shard: int) -> Path:
        return self.folder / "shards" / f"{shard:05d}"


@dataclass(frozen=True)
class Entry:
    """One cache in the folder, as `ftkit cache list` shows it."""

    folder: Path
    about: dict[str, Any]
    bytes_on_disk: int
    used: float
    """Seconds since 1970 of its last use."""


def features_folder() -> Path:
    """Return the folder of all cached features."""
    return cache_folder() / "features"


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the name of what was made from these parts: any change gives another one."""
    text = json.dumps(dict(parts), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def entries() -> list[Entry]:
    """Return every cache, the one longest unused first."""
    found = []
    for folder in filter(is_mine, features_folder().glob("*")):
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            used = (folder / "about.json").stat().st_mtime
        except (OSError, ValueError):  # being made, or cut off while it was made
            about, used = {}, folder.stat().st_mtime
        found.append(Entry(folder, about, bytes_of(folder), used))
    return sorted(found, key=lambda entry: entry.used)


def prune(most: int, keep: Path | None = None) -> list[Entry]:
    """Remove caches, the longest unused first, until all take at most so many bytes.

    Whoever has mapped one of them goes on undisturbed: its file lives until it is let go.

    Args:
        keep: a folder that stays in any case.

    Returns:
        what was removed.
    """
    there = entries()
    total, removed = sum(entry.bytes_on_disk for entry in there), []
    for entry in there:
        if total <= most:
            break
        if entry.folder != keep:
            shutil.rmtree(entry.folder, ignore_errors=True)
            total -= entry.bytes_on_disk
            removed.append(entry)
    return removed


def limit() -> int:
    """Return the bytes that all cached features may take: $FTKIT_CACHE_SIZE, or 20 GB."""
    return parse_size(os.environ.get("FTKIT_CACHE_SIZE") or LIMIT)


def parse_size(text: str) -> int:
    """Return the bytes of "500MB", "20GB" or a plain number.

    Raises:
        RunError: it is no size.
    """
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]+)?) *([KMGT]?)B?", text.strip().upper())
    if match is None:
        raise RunError(
            f"cache size {shown(text)}: expected a number with KB, MB, GB or TB, as in 20GB"
        )
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2] or " "))


@contextmanager
def _disk_errors_in_one_line(folder: Path) -> Iterator[None]:
    """Turn an error of the disk inside the block into one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"feature cache {folder} cannot be written: {error.strerror}; set FTKIT_CACHE to "
            f"another folder, or use --set strategy.cache=false"
        ) from error


def _sum_of_next(file: BinaryIO, count: int) -> str:
    """Return the SHA-256 of the next `count` bytes, or of fewer where the file ends."""
    found = hashlib.sha256()
    while count > 0 and (piece := file.read(min(count, 1 << 20))):
        found.update(piece)
        count -= len(piece)
    return found.hexdigest()


def bytes_of(folder: Path) -> int:
    """Return what a folder takes on disk; a file not yet filled takes less than its size."""
    total = 0
    for file in folder.rglob("*"):
        try:
            status = file.stat()
        except OSError:  # removed in the meantime
            continue
        total += getattr(status, "st_blocks", status.st_size // 512 + 1) * 512
    return total


def _write(file: Path, text: str) -> None:
    """Put a file in its place whole."""
    fresh = _name_of_this_process(file)
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)


def _name_of_this_process(file: Path) -> Path:
    """Return a name beside `file` that no other process uses."""
    return file.with_name(f"{file.name}.{os.getpid()}.part")
