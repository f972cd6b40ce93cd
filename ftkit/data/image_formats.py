"""Files beside the images that Pillow reads: other pictures, what to do with each, and no pictures.

A photo that is not read must not look like rubbish: its owner is told how to make it one that is.
"""

from __future__ import annotations

from functools import cache
from pathlib import PurePath

from PIL import Image

RAW = (
    *(".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".raf", ".orf"),
    *(".rw2", ".pef", ".srw", ".raw", ".3fr", ".erf", ".kdc", ".mrw", ".x3f", ".iiq"),
)
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "HEIC": ((".heic", ".heif", ".hif"), "pip install pillow-heif, or save it as JPEG"),
    "JPEG XL": ((".jxl",), "save it as JPEG or PNG"),
    "a camera's raw file": (RAW, "save it as JPEG or TIFF"),
    "a drawing": ((".svg", ".svgz", ".ai", ".eps", ".ps", ".wmf", ".emf"), "save it as PNG"),
    "a document": ((".pdf", ".djvu"), "save its pages as PNG"),
    "a film": (
        (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".wmv", ".mpg", ".mpeg", ".3gp", ".flv"),
        "save its frames as JPEG",
    ),
    "DICOM": ((".dcm", ".dicom"), "save it as PNG of 8 or 16 bits"),
    "a layered drawing": ((".xcf", ".kra", ".clip"), "save it as PNG"),
}
"""Pictures that ftkit does not read: {what they are: (suffixes, what the user can do)}."""
ADVICE = {suffix: (kind, what) for kind, (suffixes, what) in KINDS.items() for suffix in suffixes}
HEIF = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
NO_IMAGES = {".h5", ".hdf", ".grib", ".bufr", ".iim"}
"""Suffixes that Pillow registers and cannot read."""
STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\x01\0", b"8BPS")
"""The first bytes of images, for files whose name does not say that they are images."""
LEFTOVERS = ("~", ".crdownload", ".part", ".partial", ".download", ".tmp", ".bak", ".swp", ".aria2")
"""Endings of files that a program did not finish, or keeps from an earlier state."""
OTHERS = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".xml", ".xmp", ".md", ".html")
"""Suffixes of files that often lie beside images. These files are not opened."""


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of pictures: those that are read, and those for which there is advice."""
    return (frozenset(Image.registered_extensions()) - NO_IMAGES) | ADVICE.keys()


def has_image_name(name: str) -> bool:
    """Return whether the suffix of a file is that of a picture."""
    return PurePath(name).suffix.lower() in image_suffixes()


def is_read(name: str) -> bool:
    """Return whether the suffix of a file is that of an image which ftkit reads."""
    return has_image_name(name) and PurePath(name).suffix.lower() not in ADVICE


def is_image_file(path: str, name: str) -> bool:
    """Return whether a file is a picture: by its name, or by its start if the name is silent."""
    lower = name.lower()
    suffix = lower[lower.rfind(".") :] if "." in lower else ""
    if suffix in image_suffixes():
        return True
    if lower.endswith(LEFTOVERS) or suffix in OTHERS:
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError:
        return False
    return start.startswith(STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def is_raw(name: str) -> bool:
    """Return whether a file is a camera's raw file, in which Pillow finds the small preview."""
    return PurePath(name).suffix.lower() in RAW


def is_heif(start: bytes) -> bool:
    """Return whether a file that begins so is a HEIC or HEIF image."""
    return start[4:8] == b"ftyp" and start[8:12] in HEIF


def why_no_image(start: bytes, name: str) -> str:
    """Return why Pillow does not know a file that begins so, and what to do."""
    kind = ADVICE.get(PurePath(name).suffix.lower())
    head = start.lstrip().lower()
    if not start:
        return "it is empty, so it is not an image"
    if is_heif(start):
        kind = ADVICE[".heic"]
    elif start[8:10] == b"CR" and start[:4] == b"II*\0":
        kind = ADVICE[".cr2"]
    elif head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in head):
        kind = ADVICE[".svg"]
    elif start[4:8] == b"ftyp" or start[:4] == b"\x1aE\xdf\xa3":
        kind = kind or ADVICE[".mp4"]
    elif start.startswith(b"%PDF"):
        kind = ADVICE[".pdf"]
    elif start[128:132] == b"DICM":
        kind = ADVICE[".dcm"]
    elif start.startswith(b"version https://git-lfs"):
        return "it is not an image but Git LFS's note of one; fetch it: git lfs pull"
    elif head.startswith((b"<!doctype html", b"<html")):
        return "it is not an image but a web page; load the image itself"
    if kind is None:
        return "it is not an image"
    return f"{kind[0]} is not read here, so it is not an image; {kind[1]}"
