"""Image rows: any file that Pillow reads becomes right RGB, and files that are none are found."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image, ImageOps

NARROWEST = 200
"""Most times that an image may be longer than it is wide. Processors that scale the short side, as
ConvNeXt's to 256, made 10 GB and 36 s of one image of 20,000 by 1 (2 cores)."""


class BadImage(ValueError):
    """A row's image cannot be read; the message says why."""


def open_rgb(row: Mapping[str, Any]) -> Image.Image:
    """Return the image of a row as 8-bit RGB, turned as its EXIF orientation says.

    Alpha is dropped, as `transformers` does when it loads an image: what is trained on is what a
    pipeline later sees. Images of more than 8 bits are scaled to 8, where Pillow alone would clip.

    Args:
        row: {"bytes": encoded image or None, "path": file or None}, as `datasets.Image` stores it.

    Raises:
        BadImage: it is missing, cut off, too large to be safe, or no image at all.
    """
    source = io.BytesIO(row["bytes"]) if row["bytes"] is not None else row["path"]
    if source is None:
        raise BadImage("there is no image in this row")
    try:
        with Image.open(source) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise BadImage("it has more pixels than is safe to open")
            if max(image.size) > NARROWEST * min(image.size):
                raise BadImage(
                    f"it is {image.width:,} by {image.height:,} pixels, and one side is more than "
                    f"{NARROWEST} times the other; cut it into pieces"
                )
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise BadImage("there is no such file") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):  # far more
        raise BadImage("it has more pixels than is safe to open") from None
    except Image.UnidentifiedImageError:
        raise BadImage("it is not an image") from None
    except BadImage:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:
        raise BadImage(f"it cannot be read ({error})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB, deep greys scaled by their range instead of clipped."""
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        values = np.asarray(image, dtype=np.float64)
        if image.mode == "F":
            scale = 255.0 if values.max(initial=0) <= 1 else 1.0
        else:
            scale = 1 / 257 if image.mode != "I" or values.max(initial=0) > 255 else 1.0
        image = Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def find_bad_images(
    rows: Dataset, column: str, see: Callable[[int, Image.Image], None] | None = None
) -> dict[int, str]:
    """Return {position: reason} for every row whose image cannot be read. Decodes each one.

    Args:
        rows: with `column` as undecoded images.
        see: is given position and image of each one that can be read, from several threads.
    """

    def check(start: int) -> dict[int, str]:
        bad = {}
        for offset, row in enumerate(rows[start : start + CHUNK][column]):
            try:
                image = open_rgb(row)
            except BadImage as error:
                bad[start + offset] = str(error)
                continue
            if see is not None:
                see(start + offset, image)
        return bad

    found: dict[int, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the interpreter lock
        for bad in pool.map(check, range(0, len(rows), CHUNK)):
            found |= bad
    return found


CHUNK = 256
