"""Opening an image: any file that Pillow reads becomes right RGB, or one line says why not.

This file needs Pillow and NumPy alone, so that an exported model reads images as training did.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from ftkit.data.image_formats import is_heif, is_raw, why_no_image
from ftkit.machine.numbers import plain

NARROWEST = 200
"""An image may be at most so many times longer than it is wide. Processors that scale the short
side, as ConvNeXt's to 256, made 10 GB and 36 s of one image of 20,000 by 1 (2 cores)."""
MOST_REDUCED = 4
"""A JPEG may have so many times the safe number of pixels, because it is decoded at half the width.
"""
JPEG = b"\xff\xd8\xff"
HEAD_BYTES = 256
"""The first bytes of a file, by which ftkit tells what it is when Pillow does not know it."""
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
"""The last bytes of a whole file; cameras may write something of their own behind."""
ONE_PICTURE = {"MPO", "PSD", "ICO"}
"""Formats whose other frames are depths, layers or sizes of the first one."""
USUAL_SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".tif", ".webp", ".bmp")
"""Suffixes that a table may leave out."""


class BadImage(ValueError):
    """A row's image cannot be read; the message says why."""


@dataclass(frozen=True)
class OpenedImage:
    """An image, ready to be used."""

    image: Image.Image
    """The image as 8-bit RGB, upright."""
    oddity: str = ""
    """What the user may not expect of it, in words that follow "it is" or "they are"."""


def open_rgb(row: Mapping[str, Any] | None) -> Image.Image:
    """Return the image of a row as 8-bit RGB, see `open_image`."""
    return open_image(row).image


def open_image(row: Mapping[str, Any] | None) -> OpenedImage:
    """Return the image of a row as 8-bit RGB, turned as its EXIF orientation says.

    Alpha is dropped, as `transformers` does when it loads an image: what is trained on is what a
    pipeline later sees. Images of more than 8 bits are scaled to 8, where Pillow alone would clip.
    A JPEG with too many pixels is decoded at half its width and height.

    Args:
        row: {"bytes": encoded image or None, "path": file or None}, as `datasets.Image` stores it.

    Raises:
        BadImage: it is missing, cut off, too large to be safe, or no image at all.
    """
    with _unread(row) as (image, oddity):
        image.load()
        right = _to_rgb(ImageOps.exif_transpose(image))
    return OpenedImage(right, oddity)


def look_at_image(row: Mapping[str, Any] | None) -> str:
    """Return the oddity of a row's image, by its head and last bytes; decoded if these are odd.

    Raises:
        BadImage: as of `open_image`, but where the damage is in its midst.
    """
    with _unread(row) as (image, oddity):
        if not _ends_well(image):
            image.load()
        return oddity


def size_of_image(row: Mapping[str, Any] | None) -> tuple[int, int]:
    """Return the width and height in which `open_image` decodes a row's image, by its head alone.

    Raises:
        BadImage: as of `open_image`, but where the damage lies behind the head.
    """
    with _unread(row) as (image, _):
        return image.size


def _ends_well(image: Image.Image) -> bool:
    """Return whether the last bytes of its file are those with which its format ends."""
    file: Any = getattr(image, "fp", None)
    end = ENDS.get(image.format or "")
    if file is None or end is None:
        return False
    place = file.tell()
    file.seek(-min(len(end), file.seek(0, os.SEEK_END)), os.SEEK_END)
    last = file.read()
    file.seek(place)
    return last == end


@contextmanager
def _unread(row: Mapping[str, Any] | None) -> Iterator[tuple[Image.Image, str]]:
    """Yield the image of a row, its pixels not yet read, and its oddity.

    Raises:
        BadImage: it cannot be read, here or in the block.
    """
    if row is None or (row["bytes"] is None and not row["path"]):
        raise BadImage("there is no image in this row")
    name = row["path"] or ""
    try:
        with _stream(row) as file:
            start = file.read(HEAD_BYTES)
            if row["bytes"] is None and is_raw(name):
                raise BadImage(why_no_image(start, name))
            file.seek(0)
            with _open_unread(file, start, name) as image:
                yield image, _limit_size(image) or _has_frames(image)
    except FileNotFoundError:
        raise BadImage(_missing(name)) from None
    except BadImage:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:
        cause = getattr(error, "strerror", None) or str(error)  # its name is said elsewhere
        raise BadImage(f"it cannot be read ({cause})") from None


def _stream(row: Mapping[str, Any]) -> BinaryIO:
    """Return the open file of a row. Anything but a file is refused: it could block for ever."""
    if row["bytes"] is not None:
        return io.BytesIO(row["bytes"])
    mode = os.stat(row["path"]).st_mode
    if stat.S_ISDIR(mode):
        raise BadImage("it cannot be read (it is a folder)")
    if not stat.S_ISREG(mode):
        raise BadImage("it cannot be read (it is a pipe, a socket or a device, and not a file)")
    return open(row["path"], "rb")


def _open_unread(file: BinaryIO, start: bytes, name: str) -> Image.Image:
    """Return the image in a file, with its pixels not yet read.

    Raises:
        BadImage: Pillow knows no such file, or it is far too large.
    """
    try:
        if start.startswith(JPEG):  # Image.open would refuse a large one before it can be reduced
            try:
                return JpegImageFile(file)
            except (SyntaxError, IndexError, TypeError, KeyError, EOFError, struct.error):
                raise Image.UnidentifiedImageError from None
        if is_heif(start) and find_spec("pillow_heif"):
            import_module("pillow_heif").register_heif_opener()
        return Image.open(file)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        size = re.search(r"\((\d+) pixels\)", str(error))
        raise BadImage(_too_large(int(size[1]) if size else None)) from None
    except Image.UnidentifiedImageError:
        raise BadImage(why_no_image(start, name)) from None


def _limit_size(image: Image.Image) -> str:
    """Require an image of a size and shape that is safe to open, and return how it is reduced."""
    width, height = image.size
    pixels, limit = width * height, Image.MAX_IMAGE_PIXELS or math.inf
    if max(image.size) > NARROWEST * min(image.size):
        raise BadImage(
            f"it is {width:,} by {height:,} pixels, and one side is more than "
            f"{NARROWEST} times the other; cut it into pieces"
        )
    if pixels <= limit:
        return ""
    if not isinstance(image, JpegImageFile) or pixels > MOST_REDUCED * limit:
        raise BadImage(_too_large(pixels, image.size))
    image.draft(image.mode, (width // 2, height // 2))
    return f"larger than {limit / 1e6:.0f} megapixels, and read at half the width"


def _too_large(pixels: int | None, size: tuple[int, int] | None = None) -> str:
    """Return the reason for refusing an image that would take too much memory."""
    shape = f" ({size[0]:,} by {size[1]:,})" if size else ""
    count = f"{pixels:,} pixels{shape}, " if pixels else ""
    return (
        f"it has {count}more pixels than is safe to open ({Image.MAX_IMAGE_PIXELS:,}); "
        f"save it smaller, or as JPEG, of which {MOST_REDUCED} times as many are read"
    )


def _has_frames(image: Image.Image) -> str:
    """Return a remark on an image of several frames or pages, or nothing."""
    if image.format in ONE_PICTURE:
        return ""
    try:
        several = bool(getattr(image, "is_animated", False))
    except Exception:  # the frames that are not used may be broken in any way
        return ""
    return "of several frames or pages, of which the first is used" if several else ""


def _missing(name: str) -> str:
    """Return the reason for refusing a file that is not there."""
    if os.path.islink(name):
        return "there is no such file: it is a link that leads nowhere"
    suffix = next((suffix for suffix in USUAL_SUFFIXES if os.path.exists(name + suffix)), None)
    if suffix is None:
        return "there is no such file"
    return f"there is no such file, but one that ends in {suffix}: --set 'data.images=*{suffix}'"


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB, deep greys scaled by their range instead of clipped."""
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray(
            (values * _scale(image.mode, values)).round().clip(0, 255).astype("u1")
        )
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale(mode: str, values: np.ndarray) -> float:
    """Return the factor that makes 8-bit values of deeper ones.

    Raises:
        BadImage: they lie in no usual range, and would be clipped.
    """
    if mode not in {"I", "F"}:
        return 1 / 257
    if not np.isfinite(values).all():
        raise BadImage("some of its numbers are not finite; save it with numbers alone")
    low, high = values.min(initial=0), values.max(initial=0)
    for top, scale in ((1, 255.0), (255, 1.0)) if mode == "F" else ((255, 1.0), (65535, 1 / 257)):
        over = top / 100 if mode == "F" else 0  # what resizing may add
        if -over <= low and high <= top + over:
            return scale
    raise BadImage(
        f"its numbers go from {plain(low, 6)} to {plain(high, 6)}, and those of images from 0 to "
        f"{'1 or 255' if mode == 'F' else '255 or 65535'}; scale all images of the data by the "
        f"same numbers and save them again"
    )
