"""Characters: how a text file is written, and its lines, each of which must be written so.

No encoding is guessed from letters, as some libraries do it: nobody would see a wrong guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ftkit.errors import DataError

BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def encoding_of(file: Path, asked: str | None) -> str:
    """Return the encoding that was asked for, or that the file begins by saying, or UTF-8.

    UTF-16 that does not say so has a zero in every other byte of its first letters.
    """
    with file.open("rb") as opened:
        start = opened.read(4)
    silent = None
    if len(start) == 4 and start.count(0) == 2 and start[0] + start[2] and start[1] + start[3] == 0:
        silent = "utf-16-le"
    elif len(start) == 4 and start.count(0) == 2 and start[0] + start[2] == 0:
        silent = "utf-16-be"
    return asked or BOMS.get(start[:3]) or BOMS.get(start[:2]) or silent or "utf-8"


def lines_of(file: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a file.

    Raises:
        DataError: there is no such encoding, or a line is not written in it.
    """
    number = 0
    try:
        with file.open(encoding=encoding, newline="") as opened:
            for number, line in enumerate(opened, 1):  # noqa: B007 - is named where it breaks
                yield line
    except LookupError:
        raise DataError(f"data.encoding = '{encoding}': Python knows no such encoding") from None
    except UnicodeError as error:
        where = f"line {_line_of(file, encoding, number + 1)}"
        what = getattr(error, "object", b"")[getattr(error, "start", 0) :][:1].hex().upper()
        name = encoding.removesuffix("-sig").upper()
        raise DataError(
            f"data '{file}', {where}: byte 0x{what} is not {name}; "
            f"say how it is written, as in --set data.encoding={_likely_encoding(file)}"
        ) from None


def _line_of(file: Path, encoding: str, otherwise: int) -> int:
    """Return the line whose bytes do not fit, because files are decoded in blocks."""
    if not encoding.lower().startswith("utf-8"):
        return otherwise
    with file.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return otherwise


def _likely_encoding(file: Path) -> str:
    """Return the encoding in which a file that is not UTF-8 may be written.

    Windows' cp1252 has dashes, quotes and the euro where latin-1 has control characters.
    """
    try:
        with file.open(encoding="cp1252", newline="") as opened:
            for _ in opened:
                pass
    except UnicodeError:
        return "latin-1"
    return "cp1252"
