"""Checksums of files, as LFS and git name them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

CARD = "README.md"


def sha256_of(file: Path) -> str:
    """Return the checksum by which LFS names a file."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def checksum_of_files(files: Iterable[Path]) -> str:
    """Return one checksum of the contents of files, in their order."""
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()


def git_sha1(content: bytes) -> str:
    """Return the checksum by which git names a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def model_checksums(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a model in `folder` and below, by its path there.

    Its card, which people edit, and hidden files are left out: no model is loaded from them.
    """
    files = {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}
    return {
        path.as_posix(): sha256_of(file)
        for path, file in files.items()
        if path.name != CARD and not any(part.startswith(".") for part in path.parts)
    }
