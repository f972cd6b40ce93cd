"""What the words after `ftkit predict RUN` name: files, patterns of files, data sets, or texts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path

from ftkit.data.image_formats import has_image_name
from ftkit.errors.addresses import is_address
from ftkit.hub.names import PREFIX


def named_paths(text: str) -> Iterator[Path]:
    """Yield the paths that a word names. It is a pattern only when no file has it as its name."""
    path = os.path.expanduser(text)
    matches = [] if os.path.exists(path) or not has_magic(path) else glob(path, recursive=True)
    yield from map(Path, sorted(matches) or (path,))


def names_data(text: str) -> bool:
    """Return whether a word names data instead of being a text to answer."""
    one_word = not text.split()[1:]
    if text.startswith(PREFIX) or (is_address(text) and one_word):
        return True
    if len(text) > 1000 or "\n" in text:
        return False
    path = Path(os.path.expanduser(text))
    if os.path.exists(path) or (one_word and has_image_name(path.name)):
        return True
    if has_magic(text) and (glob(str(path), recursive=True) or (one_word and "/" in text)):
        return True
    if not one_word or text.count("/") == 1 or not path.suffix:
        return one_word and text.count("/") == 1
    from ftkit.data.table_files import is_table  # it imports what reads tables

    return is_table(path)
