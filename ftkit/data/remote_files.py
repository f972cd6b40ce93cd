"""Files that lie elsewhere: whatever fsspec opens becomes a local copy, fetched once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import fsspec

from ftkit.errors import DataError
from ftkit.errors.addresses import shown, without_secrets
from ftkit.hub.errors import one_line
from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import private_folder


def fetch(url: str, suffixes: tuple[str, ...]) -> Path:
    """Return a folder with copies of the files that a URL names: a file, a folder or a pattern.

    A file is fetched again where its size, date or ETag has changed.

    Args:
        suffixes: of the files that a folder is searched for.

    Raises:
        DataError: there is none, it cannot be had, or a package for the protocol is missing.
    """
    try:
        system, path = fsspec.core.url_to_fs(url)
        web = url.startswith(("http://", "https://"))  # where a question mark is no pattern's
        if "*" in path if web else fsspec.core.has_magic(path):
            files = sorted(system.glob(path))
        elif not web and system.isdir(path):
            files = sorted(file for file in system.find(path) if file.endswith(suffixes))
        else:
            files = [path]
        if not files:
            raise DataError(f"data '{url}': there is no file there that ends in {suffixes}")
        names = [_name(file) for file in files]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(
                f"data '{url}': two files there are called {twice}; name one folder or file"
            )
        states = [_state(system.info(file)) for file in files]
        key = hashlib.sha256(repr((url, files, states)).encode()).hexdigest()[:16]
        folder = private_folder(cache_folder() / "data" / key)
        for file, name in zip(files, names, strict=True):
            target = folder / name
            if not target.exists():
                part = target.with_name(f".{target.name}.{os.getpid()}.part")
                system.get_file(file, str(part))
                part.replace(target)
        return folder
    except DataError:
        raise
    except FileNotFoundError as error:
        cause = error.__cause__  # as a refusal of the host
        why = f" ({without_secrets(one_line(cause), of=url)})" if cause else ""
        raise DataError(f"data '{shown(url)}': there is no such file{why}") from None
    except Exception as error:  # each protocol's client has errors of its own
        raise DataError(
            f"data '{shown(url)}': {without_secrets(one_line(error), of=url)}"
        ) from error


def _state(info: dict[str, Any]) -> list[str]:
    names = ("size", "mtime", "LastModified", "last_modified", "created", "ETag", "etag", "blob_id")
    return [str(info.get(name)) for name in names]


def _name(file: str) -> str:
    """Return the last part of a path or URL, without its query."""
    return file.rstrip("/").rpartition("/")[2].partition("?")[0] or "file"
