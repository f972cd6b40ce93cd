"""How columns are usually called, in small letters."""

from __future__ import annotations

from collections.abc import Collection, Iterable

LABEL_NAMES = ("label", "labels", "class", "target", "category")
IMAGE_NAMES = ("image", "img", "file_name", "filename", "file", "path", "image_path", "filepath")
TEXT_NAMES = ("text", "sentence", "content", "review", "tweet", "document")
SPLIT_NAMES = ("split", "fold", "subset", "partition", "set", "usage")
KNOWN = {*LABEL_NAMES, *IMAGE_NAMES, *TEXT_NAMES, *SPLIT_NAMES}


def usually_named(usual: Collection[str], there: Iterable[str]) -> list[str]:
    """Return the columns with a usual name, whatever their case and the spaces around them.

    Those come first, and alone, that are called exactly so.
    """
    columns = list(there)
    exact = [name for name in usual if name in columns]
    return exact or [name for one in usual for name in columns if name.strip().lower() == one]
