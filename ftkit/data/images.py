"""Image rows: those whose files are no images, or damaged ones, are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from datasets import Dataset

from ftkit.data.open_images import BadImage, OpenedImage, look_at_image, open_image
from ftkit.machine.threads import usable_cores

CHUNK = 256


def find_bad_images(
    rows: Dataset, column: str, see: Callable[[int, OpenedImage], None] | None = None
) -> dict[int, str]:
    """Return {position: reason} for every row whose image cannot be read. Decodes each one.

    Args:
        rows: with `column` as undecoded images.
        see: is given each one that can be read and its position, from several threads.
    """

    def check(position: int, row: Mapping[str, Any] | None) -> None:
        opened = open_image(row)
        if see is not None:
            see(position, opened)

    return _bad(rows, column, check)


def find_bad_heads(rows: Dataset, column: str) -> tuple[dict[int, str], dict[int, str]]:
    """Return {position: reason} and {position: oddity}, as `look_at_image` tells them."""
    oddities: dict[int, str] = {}

    def check(position: int, row: Mapping[str, Any] | None) -> None:
        if oddity := look_at_image(row):
            oddities[position] = oddity

    return _bad(rows, column, check), oddities


def _bad(
    rows: Dataset, column: str, check: Callable[[int, Mapping[str, Any] | None], None]
) -> dict[int, str]:
    """Return {position: reason} of each row for which `check` raises BadImage, in threads."""

    def check_chunk(start: int) -> dict[int, str]:
        bad = {}
        for position, row in enumerate(rows[start : start + CHUNK][column], start):
            try:
                check(position, row)
            except BadImage as error:
                bad[position] = str(error)
        return bad

    found: dict[int, str] = {}
    with ThreadPoolExecutor(usable_cores()) as pool:  # Pillow decodes without the interpreter lock
        for bad in pool.map(check_chunk, range(0, len(rows), CHUNK)):
            found |= bad
    return found
